"""A cleaned copy of training data: what leaks goes to the rejects, each with the finding that names it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact, Plan, RecordTable, Task, open_artefact
from eosin.data_builders.audit.leakage import LEAKS
from eosin.data_builders.audit.sides import DataSet
from eosin.data_builders.duplicates.fingerprints import RECORDS_A_TASK
from eosin.pipeline import Step, chunked
from eosin.records import RECORD_TYPES, Finding, Record, Reject


def removal_steps(data: Sequence[DataSet], audit: Artefact) -> Iterator[Step]:
    """A step for each training data set, named after its folder, with its number where two have one name."""
    trained = [one for one in data if one.trained]
    names = [one.artefact.path.resolve().name for one in trained]
    for number, (one, name) in enumerate(zip(trained, names, strict=True)):
        splits = one.artefact.manifest["splits"]
        wanted = splits if one.split is None else {one.split: splits[one.split]}
        tasks = tuple(task for split, count in wanted.items() for task in chunked("records", split, count, RECORDS_A_TASK))
        facts = {**one.artefact.plan.facts, "title": f"{one.artefact.plan.facts.get('title', one.artefact.kind)}, audited"}
        refs = (one.artefact.ref("data"), audit.ref("audit"))
        plan = Plan(one.artefact.kind, "audit", {"name": one.name, "removed": list(LEAKS)}, refs, tasks, facts)
        step_name = name if names.count(name) == 1 else f"{name}-{number}"
        yield Step(step_name, plan, Remove(one.artefact, audit, one.name), {"data": str(one.artefact.path.resolve())})


@dataclass(frozen=True)
class Remove:
    """Copies a task's records but those that leak; picklable."""

    data: Artefact
    audit: Artefact
    name: str

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The records in their order."""
        leaks = _leaks(str(self.audit.path.absolute()), self.audit.digest, self.name)
        record_type: type[Any] = RECORD_TYPES[self.data.kind]
        table = RecordTable(self.data, record_type, task.split, cached_groups=1)
        for row in range(task.start, task.stop):
            record: Record = table[row]
            leak = leaks.get(record.id)
            yield record if leak is None else Reject(record.id, leak[0], leak[1])


@functools.lru_cache(maxsize=4)
def _leaks(folder: str, digest: str, name: str) -> dict[str, tuple[str, str]]:
    """Record -> (finding, message), of its first finding; read once a process."""
    found: dict[str, tuple[str, str]] = {}
    for finding in open_artefact(folder, "audit").records(Finding):
        if finding.finding in LEAKS and finding.data == name and finding.record is not None:
            found.setdefault(finding.record, (finding.finding, f"{finding.detail}; in {finding.against}: {finding.other}"))
    return found
