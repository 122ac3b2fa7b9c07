"""Cox's proportional hazards with a ridge penalty (Cox 1972; ties after Breslow 1974)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError, MissingDependency

Floats = NDArray[np.float64]


def fit_cox(features: NDArray[np.floating], times: Floats, events: NDArray[np.bool_], cost: float) -> Floats:
    """The coefficients, float64 [d], that maximise cost times the partial log-likelihood minus half their squared length.

    Args:
        features: [cases, d], best centred.
        times: to the event or the end of observation [cases].
        events: whether the event was seen [cases].
        cost: inverse strength of the penalty, as scikit-learn's C.

    Raises:
        InputError: no event was seen: nothing can be learnt.
        MissingDependency: scipy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        raise MissingDependency("scipy", "eval") from error
    if not events.any():
        raise InputError("no event was seen in the training split: a survival model cannot be learnt")
    order = np.argsort(-times, kind="stable")
    x, t, e = np.asarray(features, dtype=np.float64)[order], times[order], events[order]
    # Of equal times all are at risk: each case's risk set ends where its time does.
    last = np.searchsorted(-t, -t, side="right") - 1

    def loss(beta: Floats) -> tuple[float, Floats]:
        risks = x @ beta
        top = risks.max()
        weights = np.exp(risks - top)
        total = np.cumsum(weights)[last]
        mean = np.cumsum(weights[:, None] * x, axis=0)[last] / total[:, None]
        likelihood = (risks - top - np.log(total))[e].sum()
        return cost * -likelihood + beta @ beta / 2, beta - cost * (x - mean)[e].sum(axis=0)

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-12, "gtol": 1e-8})
    return np.asarray(found.x)
