"""The nearest cases of another group, over an `embeddings` artefact of any size, a block of it at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.artefacts.parquet import open_parquet
from eosin.errors import InputError
from eosin.evidence import Citation
from eosin.numerics import Floats, top_k


@dataclass(frozen=True)
class CaseBlock:
    """A row group of an `embeddings` artefact, thumbnails left out.

    Attributes:
        rows: the columns of `COLUMNS` but the vector, a dictionary a row.
        vectors: float32 [n, d], unit length.
    """

    rows: Sequence[Mapping[str, Any]]
    vectors: Floats


COLUMNS = ["id", "source", "licence", "group", "label", "caption", "vector"]


def case_blocks(embeddings: Artefact) -> Iterator[CaseBlock]:
    """The artefact in its stable order, one row group in memory.

    Raises:
        InputError: vectors of several lengths.
    """
    for shard in embeddings.shards():
        with open_parquet(shard) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, columns=COLUMNS)
                column = table.column("vector").combine_chunks()
                flat = column.flatten().to_numpy(zero_copy_only=False)
                if len(flat) % len(table) or len(set(column.value_lengths().to_pylist())) > 1:
                    raise InputError(f"{shard}: its vectors are of several lengths; embed the images again")
                yield CaseBlock(table.drop_columns(["vector"]).to_pylist(), np.asarray(flat, dtype=np.float32).reshape(len(table), -1))


def vectors_of(embeddings: Artefact, ids: set[str]) -> dict[str, Floats]:
    """The vectors of these records; those that are not there are left out."""
    found: dict[str, Floats] = {}
    for block in case_blocks(embeddings):
        found.update({row["id"]: vector for row, vector in zip(block.rows, block.vectors, strict=True) if row["id"] in ids})
    return found


@dataclass
class _Best:
    """The best cases so far of each query: scores [q, k], descending; rows in the same places."""

    scores: NDArray[np.float32]
    rows: list[list[Mapping[str, Any]]]

    def merge(self, scores: NDArray[np.float32], rows: Sequence[Mapping[str, Any]], k: int) -> None:
        """Take in another block's scores [q, n]; -inf bars a case. Ties go to the case that comes first in the artefact."""
        joined = np.concatenate([self.scores, scores], axis=1)
        places = top_k(joined, k)
        held = self.scores.shape[1]
        self.rows = [
            [old[place] if place < held else rows[place - held] for place in row] for old, row in zip(self.rows, places, strict=True)
        ]
        self.scores = np.take_along_axis(joined, places, axis=1)


def nearest_cases(embeddings: Artefact, queries: Floats, groups: Sequence[str], k: int) -> list[list[Citation]]:
    """For each query the `k` most similar cases of other groups, best first; fewer where there are not so many.

    Args:
        embeddings: the cases.
        queries: float32 [q, d], unit length.
        groups: each query's own group, which is left out.
        k: how many.
    """
    best = _Best(np.empty((len(queries), 0), dtype=np.float32), [[] for _ in groups])
    own = np.asarray(groups, dtype=object)
    for block in case_blocks(embeddings):
        scores = queries @ block.vectors.T
        scores[own[:, None] == np.asarray([row["group"] for row in block.rows], dtype=object)[None, :]] = -np.inf
        best.merge(scores, block.rows, k)
    return [
        [citation(row, float(score)) for row, score in zip(rows, scores, strict=True) if np.isfinite(score)]
        for rows, scores in zip(best.rows, best.scores, strict=True)
    ]


def random_cases(embeddings: Artefact, seeds: Sequence[int], groups: Sequence[str], k: int) -> list[list[Citation]]:
    """For each query `k` cases of other groups, drawn without replacement by its seed.

    Every case gets a random key from the query's own generator; the `k` largest win, so one pass is enough.
    """
    draws = [np.random.default_rng(seed) for seed in seeds]
    best = _Best(np.empty((len(groups), 0), dtype=np.float32), [[] for _ in groups])
    own = np.asarray(groups, dtype=object)
    for block in case_blocks(embeddings):
        keys = np.stack([draw.random(len(block.rows), dtype=np.float32) for draw in draws]) if draws else np.empty((0, len(block.rows)))
        keys[own[:, None] == np.asarray([row["group"] for row in block.rows], dtype=object)[None, :]] = -np.inf
        best.merge(keys.astype(np.float32), block.rows, k)
    return [
        [citation(row, 0.0) for row, key in zip(rows, keys, strict=True) if np.isfinite(key)]
        for rows, keys in zip(best.rows, best.scores, strict=True)
    ]


def citation(row: Mapping[str, Any], score: float) -> Citation:
    """A row as it is cited."""
    return Citation(row["id"], score, row["source"], row["licence"], row["group"], row["label"], row["caption"])
