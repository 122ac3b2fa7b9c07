"""A score as a function of sums over questions: what lets one bootstrap serve every metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """A score.

    Attributes:
        columns: float64 [questions, m]; what each question adds.
        value: sums [r, m] -> scores [r]; nan where a sum leaves the score undefined.
    """

    columns: Columns
    value: Callable[[Columns], Columns]

    @property
    def score(self) -> float:
        """The score over all questions."""
        return float(self.value(self.columns.sum(axis=0, keepdims=True))[0])

    def masked(self, keep: NDArray[np.bool_]) -> Statistic:
        """The same score over the questions `keep` alone; the others add nothing."""
        return Statistic(np.where(keep[:, None], self.columns, 0.0), self.value)


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
    member = np.zeros((len(gold), classes))
    member[np.arange(len(gold)), gold] = 1.0
    return Statistic(np.concatenate([member * correct[:, None], member], axis=1), _mean_recall)


def _mean_recall(sums: Columns) -> Columns:
    hits, counts = np.split(sums, 2, axis=1)
    present = counts > 0
    recall = np.divide(hits, counts, out=np.zeros_like(hits), where=present)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(recall.sum(axis=1) / present.sum(axis=1))


def difference(first: Statistic, second: Statistic) -> Statistic:
    """First minus second, over the same questions in the same order: paired when it is resampled."""
    width = first.columns.shape[1]
    return Statistic(
        np.concatenate([first.columns, second.columns], axis=1), lambda sums: first.value(sums[:, :width]) - second.value(sums[:, width:])
    )
