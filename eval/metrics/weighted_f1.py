"""F1 of each class, weighted by how often the class is the gold answer: scikit-learn's `f1_score(average="weighted")`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Columns, Statistic


def weighted_f1(gold: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> Statistic:
    """Weighted F1.

    Args:
        gold: class numbers [questions].
        said: class numbers [questions]; -1 is an invalid answer, which is no class's.
        classes: how many there are.
    """
    numbers = np.arange(classes)
    right, answered = gold[:, None] == numbers, said[:, None] == numbers
    return Statistic(np.concatenate([right & answered, answered, right], axis=1).astype(np.uint8), _value)


def _value(sums: Columns) -> Columns:
    hits, answered, gold = np.split(sums, 3, axis=1)
    both = answered + gold
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((f1 * gold).sum(axis=1) / gold.sum(axis=1))
