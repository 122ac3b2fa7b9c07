"""Confidence intervals by the percentile bootstrap over groups (Efron and Tibshirani 1993, 13.3).

Questions about one patient or slide are not independent: whole groups are drawn, with replacement, each with all its questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Columns, Statistic

# Draws held at once: bounds memory at about 32 MB whatever the number of groups.
_DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        resamples: draws of all groups.
        seed: of the draws.
        confidence: share of the resampled scores inside the interval.
    """

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95


@dataclass(frozen=True)
class Interval:
    """A score with its interval; `reason` says why there is none."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_json(self) -> dict[str, float | str | None]:
        """The fields, numbers rounded to six decimals."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {**{name: None if number is None else round(number, 6) for name, number in numbers.items()}, "reason": self.reason}


def intervals(statistics: Mapping[str, Statistic], groups: Sequence[str], resampling: Resampling) -> dict[str, Interval]:
    """The interval of each score, all from the same draws.

    Args:
        statistics: scores over the same questions.
        groups: the group of each question.
    """
    if not statistics:
        return {}
    numbers = np.unique(np.asarray(groups, dtype=object), return_inverse=True)[1]
    count = int(numbers.max()) + 1 if len(numbers) else 0
    names, widths = list(statistics), [statistic.columns.shape[1] for statistic in statistics.values()]
    sums = _sums_by_group(np.concatenate([item.columns for item in statistics.values()], axis=1), numbers, count)
    drawn = _resampled(sums, resampling) if count > 1 else None
    found, start = {}, 0
    for name, width in zip(names, widths, strict=True):
        part = None if drawn is None else drawn[:, start : start + width]
        found[name] = _interval(statistics[name], sums[:, start : start + width], part, resampling.confidence)
        start += width
    return found


def _sums_by_group(columns: Columns, numbers: NDArray[np.int64], count: int) -> Columns:
    """What each group adds: float64 [groups, m]."""
    return np.stack([np.bincount(numbers, weights=column, minlength=count) for column in columns.T], axis=1)


def _resampled(sums: Columns, resampling: Resampling) -> Columns:
    """The sums over each resample's groups: float64 [resamples, m]."""
    count = len(sums)
    rng = np.random.default_rng(resampling.seed)
    step = max(1, _DRAWS_AT_ONCE // count)
    parts = []
    for start in range(0, resampling.resamples, step):
        rows = min(step, resampling.resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(times.astype(np.float64) @ sums)
    return np.concatenate(parts)


def _interval(statistic: Statistic, sums: Columns, drawn: Columns | None, confidence: float) -> Interval:
    value = float(statistic.value(sums.sum(axis=0, keepdims=True))[0]) if len(sums) else float("nan")
    if not np.isfinite(value):
        return Interval(None, None, None, "no question counts towards this score")
    if drawn is None:
        return Interval(value, None, None, "all questions are of one group: no interval over groups")
    scores = statistic.value(drawn)
    scores = scores[np.isfinite(scores)]
    if len(scores) < len(drawn) / 2:
        return Interval(value, None, None, "more than half of the resamples hold no question that counts")
    edge = (1 - confidence) / 2
    low, high = np.quantile(scores, [edge, 1 - edge])
    reason = "no resample differs: the interval has no width" if low == high else None
    return Interval(value, float(low), float(high), reason)
