"""Confidence intervals by the percentile bootstrap over groups (Efron and Tibshirani 1993, 13.3).

Questions about one patient or slide are not independent: whole groups are drawn, with replacement, each with all its questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.eval.metrics.statistic import Columns, Score, Statistic, Weighted

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


def intervals(scores: Mapping[str, Score], groups: Sequence[str], resampling: Resampling) -> dict[str, Interval]:
    """The interval of each score, all from the same draws.

    Args:
        scores: over the same questions.
        groups: the group of each question.
    """
    drawn = resampled(scores, groups, resampling)
    values = {name: score.score if groups else float("nan") for name, score in scores.items()}
    return {name: _interval(values[name], drawn[name], resampling.confidence) for name in scores}


def resampled(scores: Mapping[str, Score], groups: Sequence[str], resampling: Resampling) -> dict[str, Columns | None]:
    """Each score in every resample, float64 [resamples]; None where there are not two groups to draw from."""
    numbers = np.unique(np.asarray(groups, dtype=object), return_inverse=True)[1]
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if count < 2:
        return dict.fromkeys(scores)
    # Quantiles over prompt draws share their columns: those are summed once.
    sums = {id(score.columns): _sums_by_group(score.columns, numbers, count) for score in scores.values() if isinstance(score, Statistic)}
    found: dict[str, list[Columns]] = {name: [] for name in scores}
    for times in _draws(count, resampling):
        totals = {key: times @ columns for key, columns in sums.items()}
        for name, score in scores.items():
            found[name].append(score.value(totals[id(score.columns)]) if isinstance(score, Statistic) else _weighed(score, times, numbers))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _sums_by_group(columns: NDArray[np.generic], numbers: NDArray[np.int64], count: int) -> Columns:
    """What each group adds: float64 [groups, m]."""
    return np.stack([np.bincount(numbers, weights=column, minlength=count) for column in columns.T], axis=1)


def _draws(count: int, resampling: Resampling) -> Iterator[Columns]:
    """How often each group is in each resample: float64 [some resamples, groups]."""
    rng = np.random.default_rng(resampling.seed)
    step = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, resampling.resamples, step):
        rows = min(step, resampling.resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _weighed(score: Weighted, times: Columns, numbers: NDArray[np.int64]) -> Columns:
    step = max(1, _DRAWS_AT_ONCE // len(numbers))
    return np.concatenate([score.value(times[start : start + step][:, numbers]) for start in range(0, len(times), step)])


def _interval(value: float, scores: Columns | None, confidence: float) -> Interval:
    if not np.isfinite(value):
        return Interval(None, None, None, "no question counts towards this score")
    if scores is None:
        return Interval(value, None, None, "all questions are of one group: no interval over groups")
    drawn = len(scores)
    scores = scores[np.isfinite(scores)]
    if len(scores) < drawn / 2:
        return Interval(value, None, None, "more than half of the resamples hold no question that counts")
    edge = (1 - confidence) / 2
    low, high = np.quantile(scores, [edge, 1 - edge])
    reason = "no resample differs: the interval has no width" if low == high else None
    return Interval(value, float(low), float(high), reason)
