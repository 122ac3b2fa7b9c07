"""What scoring a run gives, and how answers that are one of several labels are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Score, balanced_accuracy, mean_of
from eosin.eval.predictions import Rows

# Past this many classes a confusion matrix is not read by anybody.
_MOST_CLASSES = 30


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered by each: counts [classes][classes + 1], the last column counts invalid answers."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Scored:
    """One run, scored.

    Attributes:
        statistics: by name; `main` is the one that summaries quote.
        main: its name.
        credit: what each question earned of the main score, in [0, 1].
        invalid: where no answer could be read.
        chance: the main score of a uniform guess, where that is defined.
        majority: the main score of always giving the most frequent answer, where that is defined.
        majority_by_topic: the same with the most frequent answer of each topic.
        confusion: for few classes.
        notes: such as sacrebleu's signature.
    """

    statistics: dict[str, Score]
    main: str
    credit: NDArray[np.float64]
    invalid: NDArray[np.bool_]
    chance: float | None = None
    majority: float | None = None
    majority_by_topic: float | None = None
    confusion: Confusion | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def classified(rows: Rows, gold: list[str], said: list[str | None], chances: list[float], *, by_topic: bool) -> Scored:
    """Accuracy over labels; None is an invalid answer, and so is whatever failed."""
    invalid = np.array([answer is None for answer in said], dtype=bool) | rows.failed
    correct = np.array([one == other for one, other in zip(said, gold, strict=True)], dtype=bool) & ~invalid
    classes = sorted(set(gold))
    number = {name: place for place, name in enumerate(classes)}
    numbers = np.array([number[name] for name in gold], dtype=np.int64)
    statistics: dict[str, Score] = {"accuracy": mean_of(correct), "balanced_accuracy": balanced_accuracy(numbers, correct)}
    return Scored(
        statistics,
        "accuracy",
        correct.astype(np.float64),
        invalid,
        chance=None if 0.0 in chances else float(np.mean(chances)),
        majority=majority_of(gold),
        majority_by_topic=majority_by_topic(gold, rows.topic) if by_topic else None,
        confusion=_confusion(gold, [None if bad else answer for answer, bad in zip(said, invalid, strict=True)]),
    )


def _confusion(gold: list[str], said: list[str | None]) -> Confusion | None:
    classes = sorted(set(gold) | {answer for answer in said if answer is not None})
    if len(classes) > _MOST_CLASSES:
        return None
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes) + 1), dtype=int)
    for right, answer in zip(gold, said, strict=True):
        counts[place[right], len(classes) if answer is None else place[answer]] += 1
    return Confusion(tuple(classes), tuple(tuple(row) for row in counts.tolist()))


def majority_of(gold: Sequence[str]) -> float:
    """The accuracy of always giving the most frequent answer."""
    return max(Counter(gold).values()) / len(gold)


def majority_by_topic(gold: Sequence[str], topics: Sequence[str]) -> float:
    """The accuracy of always giving the most frequent answer of the question's topic."""
    by_topic: dict[str, Counter[str]] = {}
    for answer, topic in zip(gold, topics, strict=True):
        by_topic.setdefault(topic, Counter())[answer] += 1
    return sum(max(counts.values()) for counts in by_topic.values()) / len(gold)
