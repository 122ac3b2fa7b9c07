"""Pairs of images: candidates from inverted lists over unit vectors (FAISS), confirmed by their hashes; neighbours by embedding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eosin.data_builders.duplicates.image_hash import RADIUS, Bits, distances
from eosin.data_builders.duplicates.union import Places, equal_pairs
from eosin.errors import MissingDependency
from eosin.numerics import Floats

if TYPE_CHECKING:
    from types import ModuleType

# Cosine of spectra: copies cropped by 5 % reach 0.86 and more, one unrelated pair of tiles in a thousand 0.77 to 0.85 (docs/audit.md).
CANDIDATE_COSINE = 0.82
# So many vectors or fewer are compared each with each; more go through inverted lists.
COMPARED_WHOLLY = 20_000
_QUERIES = 16_384
_PAIRS_AT_ONCE = 20_000
_VECTORS_A_LIST = 500
_TRAINED_ON = 40
_PROBED = 8
_LANES = 16
# Product quantisation moves a cosine by so much, seldom by more.
_ROUGHNESS = 0.04


@dataclass(frozen=True)
class Pairs:
    """Pairs of places, the smaller first, each pair once, sorted.

    Attributes:
        left: int64 [m].
        right: int64 [m].
        distance: float32 [m].
    """

    left: Places
    right: Places
    distance: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left)


def no_pairs() -> Pairs:
    """None."""
    return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def joined(parts: list[Pairs]) -> Pairs:
    """All pairs; of one that is there several times the smallest distance counts."""
    if not parts:
        return no_pairs()
    left, right = np.concatenate([part.left for part in parts]), np.concatenate([part.right for part in parts])
    left, right = np.minimum(left, right), np.maximum(left, right)
    distance = np.concatenate([part.distance for part in parts])
    order = np.lexsort((distance, right, left))
    left, right, distance = left[order], right[order], distance[order]
    first = np.ones(len(left), dtype=bool)
    first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return Pairs(left[first], right[first], distance[first])


def hash_pairs(signs: Bits, spectra: NDArray[np.floating[Any]], radius: int = RADIUS) -> Pairs:
    """Images within `radius` bits of each other, in any orientation, one of them perhaps cropped.

    Every pair of equal hashes is found by way of the first that has it. Candidates for the rest are neighbours by spectrum; each is
    confirmed by `distances`, so nothing outside the radius comes out. Of more than `COMPARED_WHOLLY` images the candidates are those of
    the nearest lists: what that misses is measured in docs/audit.md.

    Args:
        signs: uint64 [n, windows, 4].
        spectra: float16 or float32 [n, 2, d], unit rows.
        radius: in bits of 256.
    """
    keys = np.ascontiguousarray(signs[:, 0]).view("S32").ravel()
    first, again = equal_pairs(keys, np.ones(len(signs), dtype=bool))
    alone = np.ones(len(signs), dtype=bool)
    alone[again] = False
    places = np.flatnonzero(alone)
    found = [Pairs(first, again, np.zeros(len(first), np.float32))]

    def confirm(candidates: tuple[Places, Places]) -> Pairs:
        one, other = places[candidates[0]], places[candidates[1]]
        distance = distances(signs[one], signs[other])
        near = distance <= radius
        return Pairs(one[near], other[near], distance[near].astype(np.float32))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        near_by = neighbours(lambda rows: np.asarray(spectra[places[rows]], np.float32), len(places), CANDIDATE_COSINE, most=16)
        for left, right, _ in near_by:
            blocks = _blocks(len(left), _PAIRS_AT_ONCE)
            found.append(joined(list(pool.map(confirm, [(left[low:high], right[low:high]) for low, high in blocks]))))
    return joined(found)


Rows = slice
Vectors = Callable[[Rows], Floats]
Found = tuple[Places, Places, Floats]


def neighbours(vectors: Vectors, count: int, least: float, most: int) -> Iterator[Found]:
    """Candidate pairs (left, right, cosine), in blocks; a pair may come twice.

    Args:
        vectors: rows -> float32 [n, variants, d], unit; the first variant asks, all variants can be found.
        count: of the rows.
        least: the smallest cosine.
        most: neighbours a row at most, where inverted lists are used; their cosines are off by `_ROUGHNESS` or less, mostly.
    """
    if count > COMPARED_WHOLLY:
        yield from _by_lists(vectors, count, least, most)
        return
    for start, stop in _blocks(count, 1024):
        asking = vectors(slice(start, stop))[:, 0]
        for low, high in _blocks(count, 8192):
            cosines = np.einsum("qd,nvd->qnv", asking, vectors(slice(low, high)), optimize=True).max(-1)
            left, right = np.nonzero(cosines >= least)
            other = left + start != right + low
            yield left[other] + start, right[other] + low, cosines[left[other], right[other]]


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _by_lists(vectors: Vectors, count: int, least: float, most: int) -> Iterator[Found]:
    """By inverted lists of product-quantised vectors (Jegou et al. 2011; Andre et al. 2017): the cosines are rough."""
    index = _index(vectors, count)
    for start, stop in _blocks(count, _QUERIES):
        rough, right = index.search(_padded(vectors(slice(start, stop))[:, 0]), most)
        left = np.broadcast_to(np.arange(start, stop)[:, None], right.shape)
        near = (rough >= least) & (right != left) & (right >= 0)
        yield left[near], right[near].astype(np.int64), rough[near]


def _index(vectors: Vectors, count: int) -> Any:
    """Lists of about `_VECTORS_A_LIST` vectors, trained on rows evenly spread, all variants in them."""
    faiss = import_faiss()
    variants, dim = vectors(slice(0, 1)).shape[1:]
    width = dim + -dim % _LANES
    lists = max(16, 1 << (count * variants // _VECTORS_A_LIST).bit_length() - 1)
    index = faiss.index_factory(width, f"IVF{lists},PQ{width // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.nprobe = 6, _PROBED
    index.train(_padded(_sample(vectors, count, min(count, _TRAINED_ON * lists))))
    for start, stop in _blocks(count, _QUERIES):
        block = vectors(slice(start, stop))
        for variant in range(variants):
            index.add_with_ids(_padded(block[:, variant]), np.arange(start, stop))
    return index


def _padded(vectors: Floats) -> Floats:
    """With zeros behind, to a length that the processor's vector instructions take: another one is ten times slower."""
    return np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % _LANES)))


def _sample(vectors: Vectors, count: int, wanted: int) -> Floats:
    """About `wanted` rows, evenly spread: the same ones every time."""
    step = count / wanted
    blocks = []
    for start, stop in _blocks(count, _QUERIES):
        rows = np.unique(np.arange(np.ceil(start / step), np.ceil(stop / step)) * step // 1).astype(np.int64)
        blocks.append(vectors(slice(start, stop))[rows[(rows >= start) & (rows < stop)] - start, 0])
    return np.ascontiguousarray(np.concatenate(blocks))


def import_faiss() -> ModuleType:
    """FAISS.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency("faiss-cpu", "data") from error
    return faiss


def embedding_pairs(vectors: Floats, likeness: float, most: int = 5) -> Pairs:
    """Each row's `most` nearest neighbours with a cosine of at least `likeness`; the distance is 1 - cosine.

    Args:
        vectors: float32 [n, d], unit rows.
        likeness: the smallest cosine.
        most: neighbours a row.
    """
    found = []
    for left, right, _ in neighbours(lambda rows: vectors[rows, None], len(vectors), likeness - _ROUGHNESS, 2 * most):
        cosines = np.concatenate(
            [_cosines(vectors, left[low:high], right[low:high]) for low, high in _blocks(max(len(left), 1), _PAIRS_AT_ONCE)]
        )
        left, right, cosines = left[cosines >= likeness], right[cosines >= likeness], cosines[cosines >= likeness]
        order = np.lexsort((right, -cosines, left))
        left, right, cosines = left[order], right[order], cosines[order]
        rank = np.arange(len(left)) - np.searchsorted(left, left)
        near = rank < most
        found.append(Pairs(left[near], right[near], (1 - cosines[near]).astype(np.float32)))
    return joined(found)


def _cosines(vectors: Floats, left: Places, right: Places) -> Floats:
    return np.asarray(np.einsum("md,md->m", vectors[left], vectors[right]), np.float32)
