"""Harrell's concordance index (Harrell et al. 1982): the share of comparable pairs of cases that a risk puts in the right order.

A pair is comparable where the shorter time ends with the event; of equal times, where exactly one of the two ends with it. Equal risks
count half. A case without a risk is wrong in all its pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Columns, Weighted


def concordance(times: NDArray[np.float64], events: NDArray[np.bool_], risks: NDArray[np.float64]) -> Weighted:
    """The index; nan where no pair is comparable.

    Args:
        times: to the event or to the end of observation [cases].
        events: whether the event was seen [cases].
        risks: higher is sooner [cases]; nan for none.
    """
    first = events[:, None] & ((times[:, None] < times[None]) | ((times[:, None] == times[None]) & ~events[None]))
    ahead = (risks[:, None] > risks[None]) + 0.5 * (risks[:, None] == risks[None])
    right = first * ahead

    def value(weights: Columns) -> Columns:
        with np.errstate(invalid="ignore", divide="ignore"):
            pairs = ((weights @ first.astype(np.float64)) * weights).sum(axis=1)
            return np.asarray(((weights @ right) * weights).sum(axis=1) / pairs)

    return Weighted(len(times), value)
