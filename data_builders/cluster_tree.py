"""Hierarchical k-means and balanced quotas over its tree.

Follows Vo et al. 2024, "Automatic data curation for self-supervised learning", 3.2 and 3.3. k-means puts many centroids where data are
dense; k-means of those centroids, and again, comes nearer and nearer to an even spread over the space. A sample that takes as much from
each cluster of the top level, as much from each of its children, and so on, holds rare looks as often as common ones. The paper's
resampling between levels is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.errors import ConfigError, MissingDependency
from eosin.numerics import Floats, unit_rows

Integers = NDArray[np.int64]

_POINTS_A_CENTROID, _FEWEST = 20, 8192


@dataclass(frozen=True)
class ClusterTree:
    """Clusters of clusters, finest level first.

    Attributes:
        centroids: of each level, float32 [clusters, d], unit length.
        parents: of each level but the last, the cluster of the next level, int64 [clusters].
    """

    centroids: tuple[Floats, ...]
    parents: tuple[Integers, ...]


def grow_tree(vectors: Floats, clusters: Sequence[int], iterations: int, seed: int) -> ClusterTree:
    """k-means of the vectors, then of the centroids, level by level.

    Args:
        vectors: float32 [n, d], unit length.
        clusters: of each level, finest first; each fewer than the one before.
        iterations: of each k-means.
        seed: of the first centroids.

    Raises:
        ConfigError: there are not more vectors than clusters.
        MissingDependency: FAISS is not installed.
    """
    points, centroids, parents = vectors, [], []
    for level, count in enumerate(clusters):
        if count > len(points):
            raise ConfigError(f"clusters asks for {count} at level {level}; there are {len(points)} vectors to make them from")
        found = _kmeans(points, count, iterations, seed + level)
        if level:
            parents.append(nearest(points, found)[0])
        centroids.append(found)
        points = found
    return ClusterTree(tuple(centroids), tuple(parents))


def _kmeans(points: Floats, count: int, iterations: int, seed: int) -> Floats:
    """Spherical k-means from the first centroids of `spread`: float32 [count, d]."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency("faiss-cpu", "data") from error
    # FAISS would draw a sample of its own, and warn on few points: all of these are wanted.
    every = -(-len(points) // count)
    model = faiss.Kmeans(
        points.shape[1], count, niter=iterations, seed=seed, spherical=True, min_points_per_centroid=1, max_points_per_centroid=every
    )
    model.train(np.ascontiguousarray(points), init_centroids=spread(points, count, seed))
    return unit_rows(np.asarray(model.centroids, dtype=np.float32))


def spread(points: Floats, count: int, seed: int) -> Floats:
    """First centroids far from one another: k-means++ (Arthur and Vassilvitskii 2007) over a sample of 20 points a cluster.

    Centroids drawn at random lie where points are dense, and k-means does not find the rare clusters from there.

    Args:
        points: float32 [n, d], unit length; n at least `count`.
        count: how many.
        seed: of the draws.

    Returns:
        float32 [count, d].
    """
    random = np.random.default_rng(seed)
    points = points[np.sort(random.choice(len(points), min(len(points), max(_POINTS_A_CENTROID * count, _FEWEST)), replace=False))]
    chosen = [int(random.integers(len(points)))]
    distances = np.full(len(points), np.inf)
    while len(chosen) < count:
        distances = np.minimum(distances, np.maximum(2.0 - 2.0 * (points @ points[chosen[-1]]).astype(np.float64), 0.0))
        distances[chosen] = 0.0
        total = distances.sum()
        if total > 0:
            chosen.append(int(random.choice(len(points), p=distances / total)))
        else:
            chosen.append(int(np.setdiff1d(np.arange(len(points)), chosen)[0]))
    return points[chosen]


def nearest(vectors: Floats, centroids: Floats) -> tuple[Integers, Floats]:
    """The nearest centroid of each vector, ties to the lower number, and the cosine to it.

    Args:
        vectors: float32 [n, d], unit length.
        centroids: float32 [k, d], unit length.
    """
    cosines = vectors @ centroids.T
    found = cosines.argmax(axis=1)
    return found.astype(np.int64), cosines[np.arange(len(vectors)), found]


def quotas(tree: ClusterTree, sizes: Integers, wanted: int, seed: int) -> Integers:
    """How many records each cluster of the finest level gives.

    Args:
        tree: the clusters.
        sizes: records of each cluster of the finest level, int64 [clusters].
        wanted: in all; at most the sum of the sizes, and reached exactly.
        seed: of who gives one more where a quota does not divide.
    """
    held = [sizes]
    for parents, above in zip(tree.parents, tree.centroids[1:], strict=True):
        held.append(np.bincount(parents, weights=held[-1], minlength=len(above)).astype(np.int64))
    random = np.random.default_rng(seed)
    given = fill(held[-1], wanted, random)
    for level in range(len(tree.parents) - 1, -1, -1):
        below = np.zeros(len(held[level]), dtype=np.int64)
        for parent in np.flatnonzero(given):
            children = np.flatnonzero(tree.parents[level] == parent)
            below[children] = fill(held[level][children], int(given[parent]), random)
        given = below
    return given


def fill(sizes: Integers, wanted: int, random: np.random.Generator) -> Integers:
    """Water-filling: all give alike, small ones all they have; the last few units go to clusters drawn at random.

    Args:
        sizes: int64 [clusters].
        wanted: at most their sum.
        random: draws who gives one more.

    Returns:
        int64 [clusters], none above its size, `wanted` in all.
    """
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(sizes, middle).sum()) <= wanted:
            low = middle
        else:
            high = middle - 1
    given = np.minimum(sizes, low)
    more = np.flatnonzero(sizes > low)
    chosen = random.permutation(more)[: wanted - int(given.sum())]
    given[chosen] += 1
    return given
