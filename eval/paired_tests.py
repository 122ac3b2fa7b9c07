"""Whether two models differ on the same questions: the paired bootstrap over groups, McNemar's test, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eosin.errors import MissingDependency
from eosin.eval.metrics.statistic import Columns


def bootstrap_p(differences: Columns | None) -> float | None:
    """Two-sided p of a resampled difference (Davison and Hinkley 1997, 4.4: never 0); None without resamples.

    Args:
        differences: the difference in each resample; nan where it is undefined.
    """
    if differences is None:
        return None
    known = differences[np.isfinite(differences)]
    if not len(known):
        return None
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """McNemar's exact test over questions that one of both answers right; it takes questions, not patients, as independent.

    Args:
        first: whether the first model is right [questions].
        second: whether the second one is.

    Raises:
        MissingDependency: scipy is not installed.
    """
    try:
        from scipy.stats import binomtest
    except ModuleNotFoundError as error:
        raise MissingDependency("scipy", "eval") from error
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    return 1.0 if one + other == 0 else float(binomtest(one, one + other, 0.5).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for how many there are (Holm 1979); None stays None."""
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - rank)))
        found[place] = highest
    return found
