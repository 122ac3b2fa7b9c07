"""One score over many draws (prompt sets, few-shot seeds): the median with its quartiles, or the mean with its spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from eosin.eval.metrics.statistic import Columns, Statistic

# How draws become one number: Lu et al. 2023 (MI-Zero) and Zhou et al. 2024 (KEEP) quote the median, few-shot studies the mean.
SUMMARIES: dict[str, Mapping[str, Callable[[Columns], Columns]]] = {
    "median": {
        "": lambda scores: np.asarray(np.median(scores, axis=1)),
        "_q1": lambda scores: np.asarray(np.quantile(scores, 0.25, axis=1)),
        "_q3": lambda scores: np.asarray(np.quantile(scores, 0.75, axis=1)),
    },
    "mean": {
        "": lambda scores: np.asarray(scores.mean(axis=1)),
        "_spread": lambda scores: np.asarray(scores.std(axis=1)),
    },
}


def over_draws(name: str, draws: Sequence[Statistic], aggregate: str) -> dict[str, Statistic]:
    """The summaries of one score: `name` itself, and its quartiles or its spread over the draws.

    Args:
        name: of the score.
        draws: the score of each draw, over the same questions.
        aggregate: one of `SUMMARIES`.
    """
    columns = np.concatenate([draw.columns for draw in draws], axis=1)
    ends = np.cumsum([draw.columns.shape[1] for draw in draws])

    def scores(sums: Columns) -> Columns:
        return np.stack([draw.value(part) for draw, part in zip(draws, np.split(sums, ends[:-1], axis=1), strict=True)], axis=1)

    return {f"{name}{suffix}": Statistic(columns, _then(scores, summary)) for suffix, summary in SUMMARIES[aggregate].items()}


def _then(first: Callable[[Columns], Columns], second: Callable[[Columns], Columns]) -> Callable[[Columns], Columns]:
    return lambda sums: second(first(sums))
