"""`balance`: a sample of a data set in which rare looks are as frequent as common ones, by clusters of its embeddings.

Two artefacts: `clusters` holds the centroids as embeddings, and in `files/assignment.parquet` each record with its cluster, its cosine
to the centroid and whether it was drawn; the other holds the drawn records. Centroids are learned from a sample of the vectors; all
vectors are read a block at a time. What grows with the data set is about 40 bytes a record.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.artefacts.files import read_json, replacing, write_json
from eosin.artefacts.parquet import open_parquet
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.cluster_tree import ClusterTree, Integers, grow_tree, nearest, quotas
from eosin.data_builders.exports.samples import tasks_of
from eosin.data_builders.nearest import case_blocks
from eosin.data_builders.subjects import read_rows, stable_number
from eosin.errors import ConfigError, InputError
from eosin.numerics import Floats
from eosin.pipeline import Step
from eosin.records import RECORD_TYPES, Embedding, Record, Reject

KINDS = ("labelled_images", "image_text", "conversations", "tiles")
ASSIGNMENT, SUMMARY = "files/assignment.parquet", "files/summary.json"
# A task of the second step reads one row group of the assignment.
RECORDS_A_TASK = 4096
_CARRIED_FACTS = ("classes", "label_set", "groups_unknown")
_SCHEMA = pa.schema([("id", pa.string()), ("cluster", pa.int32()), ("cosine", pa.float32()), ("drawn", pa.bool_())])


@dataclass(frozen=True)
class BalanceConfig:
    """What is sampled, and how.

    Attributes:
        data: what is sampled.
        embeddings: of its images, by the same ids; conversations name their image in `extra["image_id"]`.
        split: of the data; the sample holds no other.
        records: in the sample.
        clusters: of each level, finest first.
        choose: within a cluster: `random`, or `central`, those nearest to its centroid.
        iterations: of each k-means.
        sample: the most vectors that centroids are learned from.
        seed: of every draw.
    """

    builder: Literal["balance"] = "balance"
    data: str = input_path(*KINDS)
    embeddings: str = input_path("embeddings")
    split: str = "train"
    records: int = 10000
    clusters: tuple[int, ...] = (1000, 100)
    choose: Literal["random", "central"] = "random"
    iterations: int = 20
    sample: int = 131072
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.clusters or min(self.clusters) < 1 or any(b >= a for a, b in zip(self.clusters, self.clusters[1:], strict=False)):
            raise ConfigError(f"clusters is {list(self.clusters)}; numbers that fall from level to level are wanted, such as [1000, 100]")
        if min(self.records, self.iterations) < 1 or self.sample < self.clusters[0]:
            raise ConfigError(
                f"records {self.records} and iterations {self.iterations} must be at least 1, sample {self.sample} at least clusters[0]"
            )


def balance_steps(config: BalanceConfig, out: Path) -> Generator[Step, Artefact, None]:
    """Two steps: the clusters, then the sample, an artefact of the data's kind.

    Raises:
        ConfigError: the data have no such split.
    """
    inputs = open_inputs(config)
    data, embeddings = inputs.artefacts["data"], inputs.artefacts["embeddings"]
    tasks = tuple(tasks_of(data, (config.split,), RECORDS_A_TASK))
    settings = {key: value for key, value in settings_of(config).items() if key != "builder"}
    title = str(data.plan.facts.get("title", data.kind))
    work = FindClusters(data, embeddings, config, str(out / "clusters"))
    plan = Plan("embeddings", "build", settings, inputs.refs, (Task("clusters", 0, sum(config.clusters)),), {"title": f"{title}: clusters"})
    summary = functools.partial(read_json, out / "clusters" / SUMMARY)
    found = yield Step("clusters", plan, work, inputs.paths, summary)
    facts = {key: data.plan.facts[key] for key in _CARRIED_FACTS if key in data.plan.facts}
    facts["title"] = f"{title}, balanced"
    plan = Plan(data.kind, "build", settings, (*inputs.refs, found.ref("clusters")), tasks, facts)
    yield Step(data.kind, plan, TakeDrawn(data, found), {**inputs.paths, "clusters": str(found.path.resolve())})


@dataclass(frozen=True)
class FindClusters:
    """The one task that finds clusters, assigns every record and draws the sample; picklable."""

    data: Artefact
    embeddings: Artefact
    config: BalanceConfig
    folder: str

    def __call__(self, task: Task) -> Iterator[Embedding]:
        """The centroids, finest level first; the assignment is written before the first is told.

        Raises:
            InputError: too few records have an embedding.
            ConfigError: there are more clusters than vectors.
        """
        rows = _Rows.of(self.data, self.config.split, self.config.seed)
        tree = self._tree(rows)
        self._assign(rows, tree)
        sizes = np.bincount(rows.cluster[rows.cluster >= 0], minlength=len(tree.centroids[0])).astype(np.int64)
        if sizes.sum() < self.config.records:
            raise InputError(
                f"records asks for {self.config.records}; of {len(rows.cluster)} in {self.config.split} {sizes.sum()} have an embedding: "
                "ask for fewer, or embed the others"
            )
        given = quotas(tree, sizes, self.config.records, self.config.seed)
        self._write(rows, rows.drawn(given, self.config.choose), given)
        yield from _centroids(tree, sizes, given)

    def _tree(self, rows: _Rows) -> ClusterTree:
        """Clusters of a sample of the vectors that belong to a record."""
        mine = [place for place, row in enumerate(_embedding_ids(self.embeddings)) if rows.holds(stable_number(self.config.seed, row))]
        chosen = np.asarray(mine, dtype=np.int64)
        if len(chosen) > self.config.sample:
            chosen = np.sort(np.random.default_rng(self.config.seed).choice(chosen, self.config.sample, replace=False))
        if not len(chosen):
            raise InputError(
                f"{self.embeddings.path} holds no record of {self.data.path}, split {self.config.split}: they are joined by id"
            )
        parts: list[Floats] = []
        reached = 0
        for block in case_blocks(self.embeddings):
            inside = chosen[np.searchsorted(chosen, reached) : np.searchsorted(chosen, reached + len(block.vectors))] - reached
            parts.append(block.vectors[inside])
            reached += len(block.vectors)
        return grow_tree(np.concatenate(parts), self.config.clusters, self.config.iterations, self.config.seed)

    def _assign(self, rows: _Rows, tree: ClusterTree) -> None:
        for block in case_blocks(self.embeddings):
            keys = np.asarray([stable_number(self.config.seed, row["id"]) for row in block.rows], dtype=np.int64)
            places, records = rows.matches(keys)
            if len(places):
                cluster, cosine = nearest(block.vectors, tree.centroids[0])
                rows.cluster[records] = cluster[places]
                rows.cosine[records] = cosine[places]

    def _write(self, rows: _Rows, drawn: NDArray[np.bool_], given: Integers) -> None:
        folder = Path(self.folder)
        missing = rows.cluster < 0
        with replacing(folder / ASSIGNMENT) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
            for start in range(0, len(drawn), RECORDS_A_TASK):
                piece = slice(start, min(start + RECORDS_A_TASK, len(drawn)))
                ids = [row["id"] for row in read_rows(self.data, self.config.split, piece.start, piece.stop, ["id"])]
                columns = [
                    pa.array(ids, pa.string()),
                    pa.array(rows.cluster[piece], mask=missing[piece]),
                    pa.array(rows.cosine[piece], mask=missing[piece]),
                    pa.array(drawn[piece]),
                ]
                writer.write_table(pa.table(columns, schema=_SCHEMA))
        told = {
            "records": len(drawn),
            "drawn": int(drawn.sum()),
            "without_embedding": int(missing.sum()),
            "clusters_drawn_from": int((given > 0).sum()),
            "assignment": ASSIGNMENT,
        }
        write_json(folder / SUMMARY, told)


@dataclass(frozen=True)
class _Rows:
    """The records of the split as arrays of [records], in their order.

    Attributes:
        keys: hash of the id of the record's image.
        draw: hash of seed and id: the order of the draw.
        order: of the keys, ascending.
        cluster: of the finest level; -1 where there is no embedding.
        cosine: to its centroid.
    """

    keys: Integers
    draw: Integers
    order: Integers
    cluster: NDArray[np.int32]
    cosine: Floats

    @classmethod
    def of(cls, data: Artefact, split: str, seed: int) -> _Rows:
        """Read the ids; pixels are not read."""
        count = data.manifest["splits"][split]
        keys, draw = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        talks = data.kind == "conversations"
        for number, row in enumerate(read_rows(data, split, 0, count, ["id", "extra"] if talks else ["id"])):
            image = str(json.loads(row["extra"]).get("image_id", row["id"])) if talks else row["id"]
            keys[number], draw[number] = stable_number(seed, image), stable_number(seed, "draw", row["id"])
        order = np.argsort(keys, kind="stable").astype(np.int64)
        return cls(keys[order], draw, order, np.full(count, -1, dtype=np.int32), np.zeros(count, dtype=np.float32))

    def holds(self, key: int) -> bool:
        """Whether a record has this key."""
        place = int(np.searchsorted(self.keys, key))
        return place < len(self.keys) and int(self.keys[place]) == key

    def matches(self, keys: Integers) -> tuple[Integers, Integers]:
        """Places in `keys` and records, for every pair of equal keys."""
        first, last = np.searchsorted(self.keys, keys, "left"), np.searchsorted(self.keys, keys, "right")
        counts = last - first
        places = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.order[np.repeat(first, counts) + within]

    def drawn(self, given: Integers, choose: Literal["random", "central"]) -> NDArray[np.bool_]:
        """Of each cluster as many as it gives: the first by the hash, or by the cosine."""
        order = np.lexsort((self.draw, -self.cosine, self.cluster) if choose == "central" else (self.draw, self.cluster))
        order = order[self.cluster[order] >= 0]
        clusters = self.cluster[order]
        starts = np.searchsorted(clusters, np.arange(len(given)))
        rank = np.arange(len(order)) - starts[clusters]
        found = np.zeros(len(self.cluster), dtype=np.bool_)
        found[order[rank < given[clusters]]] = True
        return found


def _embedding_ids(embeddings: Artefact) -> Iterator[str]:
    for shard in embeddings.shards():
        with open_parquet(shard) as file:
            for batch in file.iter_batches(columns=["id"]):
                yield from batch.column("id").to_pylist()


def _centroids(tree: ClusterTree, sizes: Integers, given: Integers) -> Iterator[Embedding]:
    """Each centroid with its level, its parent, and, at the finest level, how many records it holds and gives."""
    for level, centroids in enumerate(tree.centroids):
        for number, vector in enumerate(centroids):
            extra: dict[str, Any] = {"level": level, "number": number}
            if level < len(tree.parents):
                extra["parent"] = int(tree.parents[level][number])
            if level == 0:
                extra |= {"records": int(sizes[number]), "drawn": int(given[number])}
            name = f"clusters/{level}/{number:06d}"
            yield Embedding(id=name, source="clusters", licence="computed", group=name, vector=tuple(map(float, vector)), extra=extra)


@dataclass(frozen=True)
class TakeDrawn:
    """The drawn records of a task, each with its cluster in `extra["cluster"]`; picklable."""

    data: Artefact
    clusters: Artefact

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """Records in their order, and rejects for those without an embedding; what was not drawn stands in the assignment."""
        table: RecordTable[Any] = RecordTable(self.data, RECORD_TYPES[self.data.kind], task.split, cached_groups=1)
        with open_parquet(self.clusters.path / ASSIGNMENT) as file:
            rows = file.read_row_group(task.start // RECORDS_A_TASK).to_pylist()
        for number, row in enumerate(rows, task.start):
            if row["cluster"] is None:
                yield Reject(row["id"], "no_embedding", "the embeddings hold no record of this id")
            elif row["drawn"]:
                record = table[number]
                yield dataclasses.replace(record, extra={**record.extra, "cluster": row["cluster"]})
