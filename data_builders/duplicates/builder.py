"""`dedup`: near duplicates of a data set found, then one of each kept, or their groups joined so that no split tears them apart."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eosin.artefacts import Artefact, Plan, RecordTable, Task, open_artefact
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.duplicates.clusters import clusters
from eosin.data_builders.duplicates.fingerprints import DATA_KINDS, RECORDS_A_TASK, fingerprints_step
from eosin.data_builders.duplicates.links import (
    Links,
    Nearness,
    exact_pairs,
    near_image_pairs,
    near_text_pairs,
    near_vector_pairs,
    vectors_by_id,
)
from eosin.data_builders.duplicates.prints import GreyPictures, Prints, load_prints
from eosin.data_builders.duplicates.union import components
from eosin.errors import ConfigError
from eosin.pipeline import Step, chunked
from eosin.progress import say
from eosin.records import RECORD_TYPES, ClusterMember, Record, Reject

METHODS = ("exact", "hash", "text", "embedding")


@dataclass(frozen=True)
class DedupConfig:
    """What is a duplicate, and what becomes of it.

    Attributes:
        data: the data set.
        embeddings: of its images by the same ids; for the method `embedding`.
        methods: of `exact`, `hash`, `text`, `embedding`.
        nearness: how near is near.
        match: what two records must share: `image`, all images; `both`, all images and the text; `any`, one image or the text. `auto`:
            `any` where groups are joined, else `both` for conversations (two questions about one image are no duplicates), else `image`.
        keep: `one` of each cluster; or `group`: all, in one group.
    """

    builder: Literal["dedup"] = "dedup"
    data: str = input_path(*DATA_KINDS)
    embeddings: str = input_path("embeddings", required=False)
    methods: tuple[Literal["exact", "hash", "text", "embedding"], ...] = ("exact", "hash")
    nearness: Nearness = field(default_factory=Nearness)
    match: Literal["auto", "image", "both", "any"] = "auto"
    keep: Literal["one", "group"] = "one"

    def __post_init__(self) -> None:
        if not self.methods:
            raise ConfigError(f"methods is empty; name some of {', '.join(METHODS)}")
        if ("embedding" in self.methods) != bool(self.embeddings):
            raise ConfigError("the method embedding and the input embeddings go together; name both or none")

    def matching(self, kind: str) -> str:
        """What `auto` means for data of this kind."""
        if self.match != "auto":
            return self.match
        if self.keep == "group":
            return "any"
        return "both" if kind == "conversations" else "image"


def dedup_steps(config: DedupConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The steps: `fingerprints`, `clusters`, and the data under the name of their kind.

    Raises:
        ConfigError, ArtefactError, InputError: an input does not fit.
    """
    inputs = open_inputs(config)
    data = inputs.artefacts["data"]
    match = config.matching(data.kind)
    methods = tuple(dict.fromkeys((*config.methods, *(("text",) if match == "both" else ()))))
    fingerprints = yield fingerprints_step("fingerprints", data)
    settings = {"methods": sorted(methods), "nearness": settings_of(config.nearness), "match": match}
    refs = (fingerprints.ref("fingerprints"), *(ref for ref in inputs.refs if ref.name != "data"))
    title = data.plan.facts.get("title", data.kind)
    plan = Plan("clusters", "build", settings, refs, (Task("clusters", 0, 1),), {"title": f"duplicates in {title}"})
    find = FindClusters(fingerprints, inputs.artefacts.get("embeddings"), methods, config.nearness, match)
    found = yield Step("clusters", plan, find, inputs.paths)
    tasks = [task for split, count in data.manifest["splits"].items() for task in chunked("records", split, count, RECORDS_A_TASK)]
    facts = {**data.plan.facts, "title": f"{title}, without duplicates" if config.keep == "one" else f"{title}, duplicates in one group"}
    plan = Plan(data.kind, "build", {"keep": config.keep}, (data.ref("data"), found.ref("clusters")), tuple(tasks), facts)
    results = functools.partial(_results, found, fingerprints)
    yield Step(data.kind, plan, Clean(data, found, config.keep), inputs.paths, results)
    _warn_of_torn(found)


@dataclass(frozen=True)
class FindClusters:
    """The reduce: all fingerprints at once, no image."""

    fingerprints: Artefact
    embeddings: Artefact | None
    methods: tuple[str, ...]
    nearness: Nearness
    match: str

    def __call__(self, task: Task) -> Iterator[Record]:
        """Every record that has duplicates."""
        prints = load_prints([self.fingerprints])
        found = clusters(prints, find_links(prints, [self.fingerprints], self.methods, self.nearness, self._embeddings()), self.match)
        for member in found:
            yield ClusterMember(
                id=prints.records[member.row],
                source="duplicates",
                licence="none: ids only",
                group=prints.groups[member.row],
                within=prints.splits[member.row],
                representative=prints.records[member.representative],
                method=member.method,
                distance=member.distance,
            )

    def _embeddings(self) -> list[Artefact]:
        return [] if self.embeddings is None else [self.embeddings]


def find_links(
    prints: Prints, fingerprints: list[Artefact], methods: tuple[str, ...], nearness: Nearness, embeddings: list[Artefact]
) -> Links:
    """The pairs by each of `methods`."""
    pairs = {}
    if "exact" in methods:
        pairs["exact"] = exact_pairs(prints)
    if "hash" in methods:
        pairs["hash"] = near_image_pairs(prints, nearness)
    if "text" in methods:
        pairs["text"] = near_text_pairs(prints, nearness)
    if "embedding" in methods:
        pairs["embedding"] = near_vector_pairs(prints, vectors_by_id(prints, embeddings), GreyPictures(fingerprints), nearness)
    return Links(pairs)


@dataclass(frozen=True)
class Clean:
    """Copies a task's records, duplicates rejected or regrouped; picklable."""

    data: Artefact
    clusters: Artefact
    keep: str

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The records in their order."""
        members = _members(str(self.clusters.path.absolute()), self.clusters.digest)
        merged = _merged_groups(str(self.clusters.path.absolute()), self.clusters.digest) if self.keep == "group" else {}
        record_type: type[Any] = RECORD_TYPES[self.data.kind]
        table = RecordTable(self.data, record_type, task.split, cached_groups=1)
        for row in range(task.start, task.stop):
            record: Record = table[row]
            member = members.get(record.id)
            if self.keep == "one" and member is not None and member.representative != record.id:
                how = f"{member.method}, distance {member.distance:g}"
                yield Reject(record.id, "duplicate", f"kept: {member.representative} ({how} from its nearest duplicate)")
            else:
                yield replace(record, group=merged.get(record.group, record.group))


@functools.lru_cache(maxsize=2)
def _members(folder: str, digest: str) -> dict[str, ClusterMember]:
    """By record id; read once a process."""
    return {member.id: member for member in open_artefact(folder, "clusters").records(ClusterMember)}


@functools.lru_cache(maxsize=2)
def _merged_groups(folder: str, digest: str) -> Mapping[str, str]:
    """Group -> the first name among the groups that share a cluster with it, directly or through others."""
    members = _members(folder, digest)
    names = sorted({member.group for member in members.values()})
    number = {name: place for place, name in enumerate(names)}
    left = [number[member.group] for member in members.values()]
    right = [number[members[member.representative].group] for member in members.values()]
    roots = components(len(names), np.array(left, np.int64), np.array(right, np.int64))
    return {name: names[int(root)] for name, root in zip(names, roots, strict=True)}


def _results(found: Artefact, fingerprints: Artefact) -> dict[str, Any]:
    members = _members(str(found.path.absolute()), found.digest).values()
    methods = [member.method for member in members]
    return {
        "clusters": len({member.representative for member in members}),
        "clustered": {method: methods.count(method) for method in METHODS if method in methods},
        "without_hash": load_prints([fingerprints]).problems,
        "torn": _torn(found),
    }


def _torn(found: Artefact) -> int:
    """Clusters whose records lie in several splits."""
    splits: dict[str, set[str]] = {}
    for member in _members(str(found.path.absolute()), found.digest).values():
        splits.setdefault(member.representative, set()).add(member.within)
    return sum(len(names) > 1 for names in splits.values())


def _warn_of_torn(found: Artefact) -> None:
    torn = _torn(found)
    if torn:
        say(f"warning: {torn} clusters of duplicates lie in several splits; draw the splits again by the joined groups (keep=group)")
