"""The audit itself: fingerprints of every data set, then one reduce that writes the findings, their counts and the report."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, Task
from eosin.artefacts.files import SCRATCH, read_json, write_json
from eosin.config import settings_of
from eosin.data_builders.audit.leakage import LEAKS, METHODS, Leak, shared_content, shared_groups, templates
from eosin.data_builders.audit.quality import (
    Flaw,
    class_balance,
    colour_outliers,
    label_conflicts,
    missing_classes,
    shifts,
    unreadable,
    vector_outliers,
)
from eosin.data_builders.audit.report import write_report
from eosin.data_builders.audit.sides import DataSet
from eosin.data_builders.duplicates.builder import find_links
from eosin.data_builders.duplicates.fingerprints import fingerprints_step
from eosin.data_builders.duplicates.links import Links, Nearness, vectors_by_id
from eosin.data_builders.duplicates.prints import Prints, load_prints, of_rows
from eosin.pipeline import Engine, Step, run_step
from eosin.records import Finding

QUALITY = ("label_conflict", "unreadable", "outlier", "rare_class", "missing_class", "stain_shift", "size_shift")
FINDINGS = (*LEAKS, *QUALITY)
_SUMMARY = "summary.json"


@dataclass(frozen=True)
class AuditSettings:
    """What is looked for, and how much of it the report shows.

    Attributes:
        nearness: how near is near.
        shown: of each finding, so many stand in the report.
    """

    nearness: Nearness
    shown: int = 20


def take_fingerprints(data: Sequence[DataSet], folder: Path, engine: Engine) -> list[Artefact]:
    """The fingerprints of each data set, each artefact read once; those that are there already are taken as they are."""
    found: dict[str, Artefact] = {}
    for one in data:
        digest = one.artefact.digest
        if digest not in found:
            found[digest] = run_step(fingerprints_step(f"fingerprints of {one.name}", one.artefact), folder / digest[:16], engine)
    return [found[one.artefact.digest] for one in data]


def audit_step(data: Sequence[DataSet], prints: list[Artefact], embeddings: list[Artefact], settings: AuditSettings, out: Path) -> Step:
    """The `audit` artefact in `out`."""
    sides = {one.name: one.split or "all" for one in data}
    plan = Plan(
        "audit",
        "audit",
        {**settings_of(settings), "splits": sides},
        (*(one.ref for one in data), *(one.ref(f"embeddings[{number}]") for number, one in enumerate(embeddings))),
        (Task("audit", 0, 1),),
        {"title": "audit of training data against evaluation data"},
    )
    work = Audit(tuple(data), tuple(prints), tuple(embeddings), settings, str(out))
    paths = {one.name: str(one.artefact.path.resolve()) for one in data}
    return Step("audit", plan, work, paths, functools.partial(_finish, work))


@dataclass(frozen=True)
class Audit:
    """Compares all fingerprints; images are read for the report only."""

    data: tuple[DataSet, ...]
    prints: tuple[Artefact, ...]
    embeddings: tuple[Artefact, ...]
    settings: AuditSettings
    out: str

    def __call__(self, task: Task) -> Iterator[Finding]:
        """The findings; the summary goes to the scratch folder before the first of them."""
        prints = self._prints()
        trained = np.array([one.trained for one in self.data])[prints.data]
        methods = ("exact", "hash", "text", *(("embedding",) if self.embeddings else ()))
        links = find_links(prints, list(self.prints), methods, self.settings.nearness, list(self.embeddings))
        leaks = [*shared_groups(prints, trained), *(leak for name in METHODS for leak in shared_content(name, prints, links, trained))]
        flaws, facts = self._flaws(prints, links, trained)
        self._note(prints, leaks, flaws, {**facts, "templates": templates(prints, links, trained)})
        for number, leak in enumerate(leaks):
            yield self._finding(prints, f"{leak.finding}/{number}", leak.finding, leak.row, leak.other, leak.score, leak.detail)
        for number, flaw in enumerate(flaws):
            if flaw.row is None:
                yield self._of_data(f"{flaw.finding}/{number}", flaw)
            else:
                yield self._finding(prints, f"{flaw.finding}/{number}", flaw.finding, flaw.row, flaw.other, flaw.score, flaw.detail)

    def _prints(self) -> Prints:
        """All rows, then those of the splits that are asked for."""
        prints = load_prints(self.prints)
        wanted = [one.split for one in self.data]
        used = [wanted[number] in (None, split) for number, split in zip(prints.data.tolist(), prints.splits, strict=True)]
        return of_rows(prints, np.flatnonzero(used))

    def _flaws(self, prints: Prints, links: Links, trained: NDArray[np.bool_]) -> tuple[list[Flaw], dict[str, Any]]:
        flaws = [*label_conflicts(prints, links), *unreadable(prints)]
        vectors = vectors_by_id(prints, self.embeddings) if self.embeddings else None
        counts: dict[int, Counter[str]] = {}
        for number in range(len(self.data)):
            flaws += colour_outliers(prints, number)
            if vectors is not None:
                flaws += vector_outliers(prints, vectors, number)
            counts[number], rare = class_balance(prints, number)
            flaws += rare
        flaws += missing_classes(counts, {number for number, one in enumerate(self.data) if one.trained})
        shifted, large = shifts(prints, trained)
        classes = {self.data[number].name: dict(sorted(found.items())) for number, found in counts.items() if found}
        return [*flaws, *large], {"classes": classes, "shift": shifted}

    def _note(self, prints: Prints, leaks: list[Leak], flaws: list[Flaw], facts: dict[str, Any]) -> None:
        found = Counter([*(leak.finding for leak in leaks), *(flaw.finding for flaw in flaws)])
        leaking = {(int(prints.data[leak.row]), prints.records[leak.row]) for leak in leaks}
        known = {(int(prints.data[leak.other]), prints.records[leak.other]) for leak in leaks}
        records = Counter(prints.data[prints.place <= 0].tolist())
        summary = {
            "records": {one.name: records[number] for number, one in enumerate(self.data)},
            "findings": {name: found[name] for name in FINDINGS if found[name]},
            "leaking_train_records": len(leaking),
            "against_records_named": len(known),
            "without_hash": prints.problems,
            **facts,
        }
        scratch = Path(self.out) / SCRATCH
        scratch.mkdir(exist_ok=True)
        write_json(scratch / _SUMMARY, summary)

    def _finding(self, prints: Prints, name: str, finding: str, row: int, other: int | None, score: float, detail: str) -> Finding:
        return Finding(
            id=name,
            source=prints.sources[row],
            licence="none: ids only",
            group=prints.groups[row],
            finding=finding,
            data=self.data[int(prints.data[row])].name,
            record=prints.records[row],
            against=None if other is None else self.data[int(prints.data[other])].name,
            other=None if other is None else prints.records[other],
            score=score,
            detail=detail,
        )

    def _of_data(self, name: str, flaw: Flaw) -> Finding:
        data = self.data[flaw.data].name
        return Finding(
            id=name,
            source=data,
            licence="none: ids only",
            group=data,
            finding=flaw.finding,
            data=data,
            score=flaw.score,
            detail=flaw.detail,
        )


def _finish(work: Audit) -> dict[str, Any]:
    """The summary, once the report stands beside the findings."""
    out = Path(work.out)
    summary: dict[str, Any] = read_json(out / SCRATCH / _SUMMARY)
    write_report(out, work.data, summary, work.settings.shown)
    return json.loads(json.dumps(summary))  # type: ignore[no-any-return]
