"""Recall at k from the rank of the first right answer, for cross-modal retrieval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Statistic, mean_of

RECALLS = (1, 5, 10, 50)


def recall_at(ranks: NDArray[np.float64]) -> dict[str, Statistic]:
    """R@1, R@5, R@10 and R@50, and the mean of the reciprocal rank.

    Args:
        ranks: of the best ranked positive, from 1 [questions]; inf where there was no answer.
    """
    recalls = {f"recall_at_{k}": mean_of(ranks <= k) for k in RECALLS}
    return {**recalls, "reciprocal_rank": mean_of(1.0 / ranks)}


def first_positive_ranks(scores: NDArray[np.floating], positives: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rank of the best positive among everything that is none, from 1; a tie counts against it.

    Several positives (an image with several captions, a caption of several images) help each other only by being the best; they never
    push each other down. A model that gives every pair the same score comes last, not first. A positive of score -inf was not found at all:
    inf where that is the best.

    Args:
        scores: [questions, candidates].
        positives: [questions, candidates]; at least one in each row.
    """
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)
    return np.where(np.isneginf(best[:, 0]), np.inf, 1.0 + ((scores >= best) & ~positives).sum(axis=1))
