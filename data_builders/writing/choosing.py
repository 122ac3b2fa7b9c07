"""Which tiles of a slide are worth a description: prompt retrieval, clusters, near duplicates (PathGen-1.6M, arXiv 2407.00203, 3.1).

Tiles are ranked by the prompts of their organ (the best prompt counts) and by the sentences of their slide's report (all count); more are
drawn from clusters of the slide's own tiles, so that what nobody asked for is there as well. A tile too much like one that was chosen
before is left out: PathGen's published limit is a cosine of 0.88.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.errors import MissingDependency
from eosin.numerics import Floats

Order = Sequence[tuple[int, str, float]]
_POINTS_A_CLUSTER = 256


@dataclass(frozen=True)
class Chosen:
    """A tile that was chosen: its row, what chose it (`prompt`, `report` or `cluster`), and its score there."""

    row: int
    by: str
    score: float


@dataclass(frozen=True)
class Twin:
    """A tile left out because it is too much like a chosen one, and their cosine."""

    row: int
    of: int
    likeness: float


def best_prompt(similarities: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """Score and number of each tile's best prompt.

    Args:
        similarities: cosines [tiles, prompts].
    """
    return similarities.max(axis=1), similarities.argmax(axis=1)


def best_rows(scores: NDArray[np.floating], count: int) -> list[int]:
    """The rows of the `count` highest scores, best first; ties go to the lower row."""
    return [int(row) for row in np.argsort(-scores, kind="stable")[:count]]


def clusters_of(vectors: Floats, count: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Spherical k-means: each row's cluster, and its cosine to the centre.

    Args:
        vectors: float32 [n, d], unit length.
        count: of clusters; no more than rows.
        seed: with it the result is the same on one machine.

    Raises:
        MissingDependency: faiss is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingDependency("faiss-cpu", "data") from error
    means = faiss.Kmeans(
        vectors.shape[1],
        min(count, len(vectors)),
        niter=20,
        # One start in some leaves two tissues in one cluster; the best of several hardly does.
        nredo=5,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_A_CLUSTER,
    )
    means.train(np.ascontiguousarray(vectors))
    scores, places = means.index.search(np.ascontiguousarray(vectors), 1)
    return places[:, 0].astype(np.intp), np.asarray(scores[:, 0], dtype=np.float32)


def in_turn(clusters: NDArray[np.intp], scores: NDArray[np.floating]) -> list[int]:
    """All rows, a row of each cluster in turn, those nearest to their centre first; large clusters begin."""
    names, sizes = np.unique(clusters, return_counts=True)
    order = [int(name) for name in names[np.argsort(-sizes, kind="stable")]]
    queues = {name: [int(row) for row in np.flatnonzero(clusters == name)] for name in order}
    for rows in queues.values():
        rows.sort(key=lambda row: (-float(scores[row]), row))
    longest = max(map(len, queues.values()), default=0)
    return [queues[name][turn] for turn in range(longest) for name in order if turn < len(queues[name])]


def without_twins(order: Order, vectors: Floats, limit: float, count: int) -> tuple[list[Chosen], list[Twin]]:
    """The first `count` tiles of an order that are not too much like one before them.

    Args:
        order: (row of `vectors`, what chose it, score), best first; a row may come again.
        vectors: float32 [n, d], unit length.
        limit: the cosine above which a tile is left out; 1 or more keeps all.
        count: how many are chosen at most.
    """
    chosen: list[Chosen] = []
    twins: list[Twin] = []
    seen: set[int] = set()
    held = np.empty((min(count, len(order)), vectors.shape[1]), dtype=np.float32)
    for row, by, score in order:
        if len(chosen) == count:
            break
        if row in seen:
            continue
        seen.add(row)
        likeness = held[: len(chosen)] @ vectors[row]
        if len(chosen) and limit < 1 and float(likeness.max()) > limit:
            twins.append(Twin(row, chosen[int(likeness.argmax())].row, float(likeness.max())))
            continue
        held[len(chosen)] = vectors[row]
        chosen.append(Chosen(row, by, score))
    return chosen, twins
