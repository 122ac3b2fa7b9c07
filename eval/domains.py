"""In-domain and out-of-domain questions of one run, side by side, and what is lost between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from eosin.eval.metrics.bootstrap import Resampling, intervals
from eosin.eval.metrics.statistic import Score, difference
from eosin.eval.predictions import Rows
from eosin.eval.scored import Scored
from eosin.eval.scorers import SCORERS

DOMAINS = ("in", "out")


def domains(rows: Rows, scored: Scored, resampling: Resampling) -> dict[str, Any] | None:
    """The main score of each domain and out minus in, whole groups resampled; None where the run names no domains.

    A domain's score counts its questions alone, and its classes: AUROC over all questions would let one domain's scale into the other.
    """
    places = {name: np.array([number for number, value in enumerate(rows.domain) if value == name], dtype=np.int64) for name in DOMAINS}
    if not any(len(found) for found in places.values()):
        return None
    missing = [name for name in DOMAINS if not len(places[name])]
    if missing:
        return {"questions": {name: len(found) for name, found in places.items()}, "reason": f"no question is {missing[0]}-domain"}
    parts = {name: _part(rows, found, scored.main) for name, found in places.items()}
    parts["out_minus_in"] = difference(parts["out"], parts["in"])
    found = intervals(parts, rows.group, resampling)
    return {
        "questions": {name: len(places[name]) for name in DOMAINS},
        "groups": {name: len({rows.group[place] for place in places[name]}) for name in DOMAINS},
        "metric": scored.main,
        **{name: interval.to_json() for name, interval in found.items()},
    }


def _part(rows: Rows, places: np.ndarray[Any, np.dtype[np.int64]], metric: str) -> Score:
    """The score over the questions at `places`, as a score over all questions to which the others add nothing."""
    part = SCORERS[rows.task](rows.taken(places)).statistics[metric]
    return part.spread(places, len(rows))
