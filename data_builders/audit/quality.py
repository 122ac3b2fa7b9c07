"""What else is wrong with data: labels that contradict each other, outliers, rare and missing classes, shifts between the sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.data_builders.duplicates.links import Links, Vectors
from eosin.data_builders.duplicates.prints import Prints
from eosin.data_builders.duplicates.union import components
from eosin.numerics import unit_rows

# Robust standard deviations from the median. A normal variable is never so far; stains are not normal, and tissue is not either.
OUTLYING = 8.0
# A class with less than this share of the mean is rare.
RARE = 0.1
# Cohen's d of 0.8 is called large (Cohen 1988).
LARGE_SHIFT = 0.8
LARGE_RATIO = 1.5
_CHANNELS = ("mean density, red", "mean density, green", "mean density, blue", "spread, red", "spread, green", "spread, blue")


@dataclass(frozen=True)
class Flaw:
    """Something about a row, or about a whole data set where `row` is None.

    Attributes:
        finding: its name.
        data: number of the data set.
        row: fingerprint of the record.
        other: another record's that belongs to it.
        score: how bad, in the unit that `detail` names.
        detail: in words.
    """

    finding: str
    data: int
    row: int | None
    other: int | None
    score: float
    detail: str


def label_conflicts(prints: Prints, links: Links) -> Iterator[Flaw]:
    """Records whose image another record has under another label."""
    pairs = links.of("exact", "hash")
    labels = components(len(prints), pairs.left, pairs.right)
    first: dict[int, dict[str, int]] = {}
    for row in np.unique(np.concatenate([pairs.left, pairs.right])).tolist():
        label = prints.labels[row]
        if label is not None:
            first.setdefault(int(labels[row]), {}).setdefault(label, row)
    for row in np.unique(np.concatenate([pairs.left, pairs.right])).tolist():
        label = prints.labels[row]
        others = {name: place for name, place in first.get(int(labels[row]), {}).items() if name != label}
        if label is not None and others:
            name = min(others)
            yield Flaw("label_conflict", int(prints.data[row]), row, others[name], 1.0, f"labelled {label}, there {name}")


def unreadable(prints: Prints) -> Iterator[Flaw]:
    """Images that could not be decoded."""
    for row in np.flatnonzero((prints.size == 0) & (prints.place >= 0)).tolist():
        yield Flaw("unreadable", int(prints.data[row]), row, None, 0.0, "the image could not be decoded")


def colour_outliers(prints: Prints, number: int) -> Iterator[Flaw]:
    """Images of one data set whose colours are far from all others'."""
    rows = np.flatnonzero((prints.data == number) & ~np.isnan(prints.colour[:, 0]))
    if len(rows) < 20:
        return
    deviations = np.abs(_robust(prints.colour[rows]))
    for place in np.flatnonzero(deviations.max(1) > OUTLYING).tolist():
        worst = int(deviations[place].argmax())
        score = round(float(deviations[place, worst]), 2)
        yield Flaw("outlier", number, int(rows[place]), None, score, f"{_CHANNELS[worst]}: {score:.1f} robust deviations from the median")


def vector_outliers(prints: Prints, vectors: Vectors, number: int) -> Iterator[Flaw]:
    """Images of one data set whose embedding is far from the mean of their class."""
    classes: dict[str, list[int]] = {}
    for place in np.flatnonzero(prints.data[vectors.rows] == number).tolist():
        classes.setdefault(prints.labels[int(vectors.rows[place])] or "", []).append(place)
    for name, places in sorted(classes.items()):
        if len(places) < 20:
            continue
        values = vectors.values[places]
        cosines = values @ unit_rows(values.mean(0, keepdims=True))[0]
        deviations = -_robust(cosines[:, None])[:, 0]
        for place in np.flatnonzero(deviations > OUTLYING).tolist():
            score = round(float(deviations[place]), 2)
            detail = f"embedding: {score:.1f} robust deviations from the mean of {name or 'all'}"
            yield Flaw("outlier", number, int(vectors.rows[places[place]]), None, score, detail)


def _robust(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Deviations [n, k] from the median in units of the scaled median deviation; a column that hardly varies has none."""
    centred = values.astype(np.float64) - np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-4))


def class_balance(prints: Prints, number: int) -> tuple[Counter[str], list[Flaw]]:
    """Records by label of one data set, and its rare classes."""
    rows = np.flatnonzero((prints.data == number) & (prints.place <= 0)).tolist()
    counts = Counter(label for row in rows if (label := prints.labels[row]) is not None)
    mean = sum(counts.values()) / max(len(counts), 1)
    rare = [
        Flaw(
            "rare_class",
            number,
            None,
            None,
            round(count / mean, 4),
            f"{name}: {count} records, the mean of {len(counts)} classes is {mean:.0f}",
        )
        for name, count in sorted(counts.items())
        if count < RARE * mean
    ]
    return counts, rare


def missing_classes(counts: dict[int, Counter[str]], trained: set[int]) -> Iterator[Flaw]:
    """Classes of the evaluation data that no training data have."""
    known = {name for number in trained for name in counts[number]}
    if not known:
        return
    for number in sorted(counts.keys() - trained):
        for name in sorted(counts[number].keys() - known):
            yield Flaw(
                "missing_class",
                number,
                None,
                None,
                float(counts[number][name]),
                f"{name}: {counts[number][name]} records, none to train on",
            )


def shifts(prints: Prints, trained: NDArray[np.bool_]) -> tuple[dict[str, Any], list[Flaw]]:
    """Stain and size of the evaluation data beside the training data: all numbers, and those that are large."""
    sides = [_measured(prints, side) for side in (trained, ~trained)]
    found: dict[str, Any] = {}
    flaws = []
    if all(len(colour) > 1 for colour, _ in sides):
        (one, _), (other, _) = sides
        pooled = np.sqrt((one.var(0) + other.var(0)) / 2)
        effect = np.divide(other.mean(0) - one.mean(0), pooled, out=np.zeros_like(pooled), where=pooled > 1e-6)
        found["stain"] = {name: round(float(value), 3) for name, value in zip(_CHANNELS, effect, strict=True)}
        for name, value in found["stain"].items():
            if abs(value) > LARGE_SHIFT:
                flaws.append(Flaw("stain_shift", int(prints.data[~trained][0]), None, None, value, f"{name}: Cohen's d is {value:+.2f}"))
    if all(len(size) for _, size in sides):
        medians = [float(np.median(size)) for _, size in sides]
        ratio = medians[1] / medians[0]
        found["median_side"] = {"train": round(medians[0], 1), "against": round(medians[1], 1)}
        if max(ratio, 1 / ratio) > LARGE_RATIO:
            detail = f"the median side of images is {medians[1]:.0f} px, in training {medians[0]:.0f} px"
            flaws.append(Flaw("size_shift", int(prints.data[~trained][0]), None, None, round(ratio, 3), detail))
    return found, flaws


def _measured(prints: Prints, used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours [n, 6] and sides (root of the pixels) [n] of decoded images."""
    decoded = used & (prints.size > 0)
    return prints.colour[decoded].astype(np.float64), np.sqrt(prints.size[decoded].astype(np.float64))
