"""A score as a function of sums over questions: what lets one bootstrap serve every metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float64]
# Counts of whole things lie in bytes: a score over fifty prompt draws has over a thousand columns.
Counts = NDArray[np.uint8]


@dataclass(frozen=True)
class Statistic:
    """A score.

    Attributes:
        columns: [questions, m]; what each question adds.
        value: sums [r, m] -> scores [r]; nan where a sum leaves the score undefined.
    """

    columns: Columns | Counts
    value: Callable[[Columns], Columns]

    @property
    def score(self) -> float:
        """The score over all questions."""
        return float(self.value(self.columns.sum(axis=0, keepdims=True, dtype=np.float64))[0])

    def __len__(self) -> int:
        return len(self.columns)

    def taken(self, places: NDArray[np.int64]) -> Statistic:
        """The same score over the questions at `places`, in that order."""
        return Statistic(self.columns[places], self.value)

    def spread(self, places: NDArray[np.int64], count: int) -> Statistic:
        """The same score as one over `count` questions, of which these are those at `places`; the others add nothing."""
        columns = np.zeros((count, self.columns.shape[1]), dtype=self.columns.dtype)
        columns[places] = self.columns
        return Statistic(columns, self.value)

    def masked(self, keep: NDArray[np.bool_]) -> Statistic:
        """The same score over the questions `keep` alone; the others add nothing."""
        return Statistic(np.where(keep[:, None], self.columns, 0.0), self.value)


@dataclass(frozen=True)
class Weighted:
    """A score of pairs or ranks (AUROC, concordance), which no sums over questions give.

    Attributes:
        count: questions.
        value: how often each question was drawn, float64 [r, questions] -> scores [r]; nan where that leaves the score undefined.
    """

    count: int
    value: Callable[[Columns], Columns]

    @property
    def score(self) -> float:
        """The score over all questions."""
        return float(self.value(np.ones((1, self.count)))[0])

    def __len__(self) -> int:
        return self.count

    def taken(self, places: NDArray[np.int64]) -> Weighted:
        """The same score over the questions at `places`."""

        def value(weights: Columns) -> Columns:
            whole = np.zeros((len(weights), self.count))
            whole[:, places] = weights
            return self.value(whole)

        return Weighted(len(places), value)

    def spread(self, places: NDArray[np.int64], count: int) -> Weighted:
        """The same score as one over `count` questions, of which these are those at `places`."""
        return Weighted(count, lambda weights: self.value(weights[:, places]))


Score = Statistic | Weighted


def mean_of(values: NDArray[np.floating] | NDArray[np.bool_]) -> Statistic:
    """The mean of one number a question, over all questions: an invalid answer belongs to the denominator."""
    return Statistic(np.column_stack([np.asarray(values, dtype=np.float64), np.ones(len(values))]), _ratio)


def _ratio(sums: Columns) -> Columns:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def balanced_accuracy(gold: NDArray[np.int64], correct: NDArray[np.bool_]) -> Statistic:
    """Mean over classes of the share answered right (the recall); classes that a resample lacks are left out of its mean.

    Args:
        gold: class numbers [questions].
        correct: [questions].
    """
    classes = int(gold.max()) + 1 if gold.size else 0
    member = np.zeros((len(gold), classes), dtype=np.uint8)
    member[np.arange(len(gold)), gold] = 1
    return Statistic(np.concatenate([member * correct[:, None], member], axis=1), _mean_recall)


def _mean_recall(sums: Columns) -> Columns:
    hits, counts = np.split(sums, 2, axis=1)
    present = counts > 0
    recall = np.divide(hits, counts, out=np.zeros_like(hits), where=present)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(recall.sum(axis=1) / present.sum(axis=1))


def difference(first: Score, second: Score) -> Score:
    """First minus second, over the same questions in the same order: paired when it is resampled."""
    if isinstance(first, Statistic) and isinstance(second, Statistic):
        return _difference_of_sums(first, second)
    one, other = _weighted(first), _weighted(second)
    return Weighted(one.count, lambda weights: one.value(weights) - other.value(weights))


def _difference_of_sums(first: Statistic, second: Statistic) -> Statistic:
    width = first.columns.shape[1]
    return Statistic(
        np.concatenate([first.columns, second.columns], axis=1), lambda sums: first.value(sums[:, :width]) - second.value(sums[:, width:])
    )


def _weighted(score: Score) -> Weighted:
    if isinstance(score, Weighted):
        return score
    return Weighted(len(score.columns), lambda weights: score.value(weights @ score.columns))
