"""Area under the ROC curve, one class against the rest, the mean over classes (scikit-learn's `multi_class="ovr", average="macro"`).

Shares, probabilities and distances rank images as they stand. Logits are ranked by a class's odds, log p - log(1 - p) of the softmax: the
order is that of the probability itself, but with a scale of 100 many probabilities are 1.0 in float64, and would tie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Columns, Weighted


def log_odds(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p - log(1 - p) of each class: [n, classes] -> [n, classes]; at least two classes."""
    found = np.empty_like(logits)
    for number in range(logits.shape[1]):
        others = np.delete(logits, number, axis=1)
        top = others.max(axis=1)
        found[:, number] = logits[:, number] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    return found


def macro_auroc(gold: NDArray[np.int64], scores: NDArray[np.float64], failed: NDArray[np.bool_], *, logits: bool = True) -> Weighted:
    """The mean over the classes that a resample holds; nan where it holds one class alone.

    Args:
        gold: class numbers [questions].
        scores: [questions, classes].
        failed: where the model gave no answer: such an image ranks last for its own class, first for every other.
        logits: whether the scores are logits, which only tell something after a softmax over the classes.
    """
    known = np.where(failed[:, None], 0.0, scores)
    ranked = log_odds(known) if logits else known
    ranked[failed] = np.inf
    ranked[np.flatnonzero(failed), gold[failed]] = -np.inf
    orders = [_Ranking(gold == number, ranked[:, number]) for number in np.unique(gold)]

    def value(weights: Columns) -> Columns:
        areas = np.stack([ranking.area(weights) for ranking in orders])
        known = np.isfinite(areas)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(known, areas, 0.0).sum(axis=0) / known.sum(axis=0))

    return Weighted(len(gold), value)


class _Ranking:
    """One class against the rest: questions sorted by score once, whatever the number of resamples."""

    def __init__(self, positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._positive = positive[self._order]
        ranked = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def area(self, weights: Columns) -> Columns:
        """Weighted share of pairs in the right order, ties half: [r, n] -> [r]."""
        drawn = weights[:, self._order]
        positive = np.add.reduceat(drawn * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(drawn * ~self._positive, self._starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))
