"""Records joined into clusters of duplicates, each with the one that stands for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.data_builders.duplicates.links import Links
from eosin.data_builders.duplicates.neighbours import Pairs
from eosin.data_builders.duplicates.prints import Prints
from eosin.data_builders.duplicates.union import components

IMAGE_METHODS = ("exact", "hash", "embedding")
_SURENESS = ("exact", "hash", "text", "embedding")


@dataclass(frozen=True)
class Member:
    """A record with duplicates.

    Attributes:
        row: of its first fingerprint.
        representative: the first fingerprint of the record that stands for the cluster.
        method: what linked it most surely.
        distance: by that method, to its nearest duplicate.
    """

    row: int
    representative: int
    method: str
    distance: float


def clusters(prints: Prints, links: Links, match: str) -> list[Member]:
    """The members of all clusters of two records or more, in the order of the fingerprints.

    Args:
        prints: of the data.
        links: pairs of fingerprints.
        match: what two records must share: `image`, all their images; `both`, all their images and their text; `any`, an image or the
            text: for groups that must not be torn apart.
    """
    first_rows, record_of = records_of(prints)
    count = len(first_rows)
    if match == "any":
        pairs = links.of(*_SURENESS)
        labels = components(count, record_of[pairs.left], record_of[pairs.right])
    else:
        labels = _same_content(prints, links, record_of, first_rows, with_text=match == "both")
    return list(_members(prints, links, labels, record_of, first_rows))


def records_of(prints: Prints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first fingerprint row of each record, and the number of its record for each row; a record's rows follow each other."""
    new = np.array([place <= 0 for place in prints.place.tolist()], dtype=bool)
    return np.flatnonzero(new), np.cumsum(new) - 1


def _same_content(
    prints: Prints, links: Links, record_of: NDArray[np.int64], first_rows: NDArray[np.int64], *, with_text: bool
) -> NDArray[np.int64]:
    """Records are one cluster when they show the same images in the same order, and say the same.

    Without images there is nothing to compare but what is said: by images alone such records are no duplicates.
    """
    images = links.of(*IMAGE_METHODS)
    image_roots = components(len(prints), images.left, images.right)
    texts = links.of("text")
    text_roots = components(len(prints), texts.left, texts.right)
    seen: dict[tuple[int, ...], int] = {}
    labels = np.empty(len(first_rows), np.int64)
    stops = np.append(first_rows, len(prints))[1:]
    for number, (start, stop) in enumerate(zip(first_rows.tolist(), stops.tolist(), strict=True)):
        key = tuple(image_roots[start:stop].tolist()) if prints.place[start] >= 0 else ()
        if with_text:
            key = (*key, -1, int(text_roots[start]))
        elif not key:
            key = (-1 - start,)
        labels[number] = seen.setdefault(key, number)
    return labels


def _members(
    prints: Prints, links: Links, labels: NDArray[np.int64], record_of: NDArray[np.int64], first_rows: NDArray[np.int64]
) -> Iterator[Member]:
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    inside = np.isin(labels, labels[order][starts[sizes > 1]])
    stands = {}
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        numbers = order[start : start + size]
        stands[int(labels[numbers[0]])] = min(numbers.tolist(), key=lambda number: _rank(prints, int(first_rows[number])))
    methods = _surest(links, labels, record_of)
    for number in np.flatnonzero(inside).tolist():
        method, distance = methods.get(number, ("text", 0.0))
        yield Member(int(first_rows[number]), int(first_rows[stands[int(labels[number])]]), method, distance)


def _rank(prints: Prints, row: int) -> tuple[int, str]:
    """The largest image stands for its cluster, of equals the one whose id comes first."""
    return -int(prints.size[row]), prints.records[row]


def _surest(links: Links, labels: NDArray[np.int64], record_of: NDArray[np.int64]) -> dict[int, tuple[str, float]]:
    """Record number -> method and distance of its surest link within the cluster."""
    found: dict[int, tuple[str, float]] = {}
    for method in _SURENESS:
        pairs: Pairs | None = links.pairs.get(method)
        if pairs is None:
            continue
        left, right = record_of[pairs.left], record_of[pairs.right]
        inside = (labels[left] == labels[right]) & (left != right)
        best: dict[int, float] = {}
        for one, other, distance in zip(left[inside].tolist(), right[inside].tolist(), pairs.distance[inside].tolist(), strict=True):
            for number in (one, other):
                best[number] = min(best.get(number, distance), distance)
        found = {**{number: (method, round(distance, 5)) for number, distance in best.items()}, **found}
    return found
