"""The recipe of `eosin index build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eosin.config import input_path
from eosin.errors import ConfigError
from eosin.records import SPLITS

IndexKind = Literal["flat", "ivf_flat", "hnsw"]


@dataclass(frozen=True)
class IndexConfig:
    """How an index of cases is built.

    Attributes:
        data: the embeddings.
        kind: `flat` is exact; `ivf_flat` and `hnsw` trade recall for speed.
        splits: whose records go in; all when empty. An index that serves evaluation holds training splits only.
        lists: k-means cells of `ivf_flat`; None for 4 * sqrt(rows), at least 39 rows a cell.
        probes: cells that a query of `ivf_flat` visits.
        neighbours: links a node of `hnsw`.
        construction: candidates while `hnsw` is built.
        candidates: candidates while `hnsw` is searched.
        seed: of the k-means of `ivf_flat`.
    """

    data: str = input_path("embeddings")
    kind: IndexKind = "flat"
    splits: tuple[str, ...] = ()
    lists: int | None = None
    probes: int = 32
    neighbours: int = 32
    construction: int = 80
    candidates: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown:
            raise ConfigError(f"splits: got {', '.join(unknown)}; allowed: {', '.join(SPLITS)}")
        counts = {"probes": self.probes, "neighbours": self.neighbours, "construction": self.construction, "candidates": self.candidates}
        for name, value in {**counts, "lists": 1 if self.lists is None else self.lists}.items():
            if value < 1:
                raise ConfigError(f"{name} must be 1 or more; got {value}")
