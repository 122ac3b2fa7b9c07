"""Training records that evaluation data hold too: by patient, video or article, by image, by text, by embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.data_builders.audit.identifiers import identifiers, perhaps_videos
from eosin.data_builders.duplicates.image_hash import distances
from eosin.data_builders.duplicates.links import Links
from eosin.data_builders.duplicates.neighbours import Pairs
from eosin.data_builders.duplicates.prints import Prints
from eosin.data_builders.duplicates.union import components

LEAKS = ("shared_group", "exact_image", "near_image", "near_text", "embedding")
METHODS = {"exact_image": "exact", "near_image": "hash", "near_text": "text", "embedding": "embedding"}
# A phrase that so many records of the training data say is a template: it tells nothing about where they come from.
MOST_SPEAKERS = 20


@dataclass(frozen=True)
class Leak:
    """A training record and what it shares with an evaluation record.

    Attributes:
        finding: one of `LEAKS`.
        row: fingerprint of the training record.
        other: fingerprint of the evaluation record.
        score: bits for `near_image`, 1 - likeness for `near_text` and `embedding`, else 0.
        detail: in words.
    """

    finding: str
    row: int
    other: int
    score: float
    detail: str


def shared_groups(prints: Prints, trained: NDArray[np.bool_]) -> Iterator[Leak]:
    """Training records of a patient, video, article or group that the evaluation data know, one finding each.

    Args:
        prints: of both sides.
        trained: bool [n], rows of training data.
    """
    first_of: dict[str, int] = {}
    first_perhaps: dict[str, int] = {}
    for row in _first_rows(prints, ~trained):
        sure, perhaps = _names(prints, row)
        for found, names in ((first_of, sure), (first_perhaps, perhaps)):
            for name in names:
                found.setdefault(name, row)
    for row in _first_rows(prints, trained):
        sure, perhaps = _names(prints, row)
        # What only may be a video's name counts where the other side is sure of it.
        shared = {name: first_perhaps[name] for name in sure if name in first_perhaps}
        shared |= {name: first_of[name] for name in sure | perhaps if name in first_of}
        if shared:
            # A patient or an article says more than the group that is called after it.
            shown = min(shared, key=lambda name: (name.startswith("group:"), name))
            yield Leak("shared_group", row, shared[shown], 0.0, shown)


def _first_rows(prints: Prints, used: NDArray[np.bool_]) -> Iterator[int]:
    return (row for row in np.flatnonzero(used & (prints.place <= 0)).tolist())


def _names(prints: Prints, row: int) -> tuple[set[str], set[str]]:
    """What a record belongs to, and the videos that it may belong to."""
    group, others = prints.groups[row], (prints.records[row], prints.slides[row] or "")
    return identifiers(prints.sources[row], group, others), perhaps_videos(group, others)


def shared_content(finding: str, prints: Prints, links: Links, trained: NDArray[np.bool_]) -> Iterator[Leak]:
    """Training records whose image or text the evaluation data hold; each with its nearest evaluation record.

    A record that is linked to the evaluation data only through other copies counts as well.

    Args:
        finding: a key of `METHODS`.
        prints: of both sides.
        links: pairs of their rows.
        trained: bool [n], rows of training data.
    """
    pairs = links.pairs.get(METHODS[finding])
    if pairs is None or not len(pairs):
        return
    labels = components(len(prints), pairs.left, pairs.right)
    first_other = _first_of_each(labels, ~trained)
    nearest = _nearest_across(pairs, trained)
    speakers = np.bincount(labels[trained], minlength=len(labels))
    seen: set[str] = set()
    for row in np.flatnonzero(trained & np.isin(labels, list(first_other))).tolist():
        label = int(labels[row])
        if finding == "near_text" and speakers[label] > MOST_SPEAKERS:
            continue
        other = nearest.get(row, first_other[label])
        key = f"{prints.data[row]} {prints.records[row]}"
        if key not in seen:
            seen.add(key)
            yield Leak(finding, row, other, *_score(finding, prints, pairs, row, other))


def templates(prints: Prints, links: Links, trained: NDArray[np.bool_]) -> int:
    """Phrases that are on both sides but are left out, for too many records say them."""
    pairs = links.pairs.get("text")
    if pairs is None or not len(pairs):
        return 0
    labels = components(len(prints), pairs.left, pairs.right)
    speakers = np.bincount(labels[trained], minlength=len(labels))
    return sum(int(speakers[label]) > MOST_SPEAKERS for label in _first_of_each(labels, ~trained))


def _first_of_each(labels: NDArray[np.int64], used: NDArray[np.bool_]) -> Mapping[int, int]:
    """Label -> its first row among those used."""
    places = np.flatnonzero(used)
    found, first = np.unique(labels[places], return_index=True)
    return dict(zip(found.tolist(), places[first].tolist(), strict=True))


def _nearest_across(pairs: Pairs, trained: NDArray[np.bool_]) -> dict[int, int]:
    """Training row -> its nearest row of the other side among the pairs."""
    across = trained[pairs.left] != trained[pairs.right]
    left, right, distance = pairs.left[across], pairs.right[across], pairs.distance[across]
    row, other = np.where(trained[left], left, right), np.where(trained[left], right, left)
    order = np.lexsort((other, distance, row))[::-1]
    return dict(zip(row[order].tolist(), other[order].tolist(), strict=True))


def _score(finding: str, prints: Prints, pairs: Pairs, row: int, other: int) -> tuple[float, str]:
    """Score and words of a leak."""
    if finding == "exact_image":
        return 0.0, "the same pixels"
    if finding == "near_image":
        places = np.searchsorted(prints.hashed, [row, other])
        bits = int(distances(prints.signs[places[:1]], prints.signs[places[1:]])[0])
        return float(bits), f"{bits} of 256 bits differ"
    low, high = min(row, other), max(row, other)
    found = pairs.distance[(pairs.left == low) & (pairs.right == high)]
    if not len(found):
        return 1.0, "through other copies"
    score = round(float(found[0]), 5)
    return score, f"likeness {1 - score:.3f}"
