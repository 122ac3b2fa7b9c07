"""Differences between runs over the same questions, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eosin.eval.metrics.bootstrap import Resampling, intervals
from eosin.eval.metrics.statistic import Score, difference
from eosin.eval.predictions import Rows, RunKey
from eosin.eval.scored import Scored
from eosin.eval.tasks.names import COLOUR_MATCHED, COLOUR_MODEL

# condition -> whether it stands first: what the image adds is plain minus blind, what evidence adds is evidence minus plain.
_AGAINST_PLAIN = {"blind": False, "no_image": False, COLOUR_MATCHED: False, "evidence": True}


@dataclass(frozen=True)
class Run:
    """A run: its predictions and its scores."""

    rows: Rows
    scored: Scored


def deltas(runs: Mapping[RunKey, Run], resampling: Resampling) -> list[dict[str, Any]]:
    """Each condition against `plain`, and each model against the colour baseline: same task, same benchmark, shared questions."""
    found = []
    for key in runs:
        for first, second in _pairs(key, runs):
            found.append(_delta(first, second, runs, resampling))
    return found


def _pairs(key: RunKey, runs: Mapping[RunKey, Run]) -> list[tuple[RunKey, RunKey]]:
    plain = RunKey(key.task, key.model, "plain", key.benchmark, key.protocol)
    colour = RunKey(key.task, COLOUR_MODEL, key.condition, key.benchmark)
    pairs = []
    if ":" in key.condition and plain in runs:
        pairs.append((plain, key))
    if key.condition in _AGAINST_PLAIN and plain in runs:
        pairs.append((key, plain) if _AGAINST_PLAIN[key.condition] else (plain, key))
    if key.condition in ("plain", COLOUR_MATCHED) and key != colour and colour in runs:
        pairs.append((key, colour))
    return pairs


def _delta(first: RunKey, second: RunKey, runs: Mapping[RunKey, Run], resampling: Resampling) -> dict[str, Any]:
    one, other = runs[first], runs[second]
    place = {question: number for number, question in enumerate(other.rows.question)}
    pairs = [(number, place[question]) for number, question in enumerate(one.rows.question) if question in place]
    here, there = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True)) if pairs else (np.zeros(0, np.int64),) * 2
    metric = one.scored.main
    statistic = difference(one.scored.statistics[metric].taken(here), other.scored.statistics[metric].taken(there))
    groups = [one.rows.group[number] for number in here]
    interval = intervals({metric: statistic}, groups, resampling)[metric]
    return {
        "task": first.task,
        "metric": metric,
        "benchmark": first.benchmark,
        "protocol": first.protocol,
        "first": {"model": first.model, "condition": first.condition},
        "second": {"model": second.model, "condition": second.condition},
        "questions": len(pairs),
        "not_shared": len(one.rows) + len(other.rows) - 2 * len(pairs),
        "relative_drop": _relative_drop(one.scored.statistics[metric].taken(here), statistic) if ":" in second.condition else None,
        **interval.to_json(),
    }


def _relative_drop(plain: Score, lost: Score) -> float | None:
    """What a corruption takes away, as a share of the plain score."""
    return round(lost.score / plain.score, 6) if len(plain) and plain.score else None


def robustness(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean relative drop over all corruptions and severities of each run, and the worst one."""
    members: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for delta in found:
        if delta["relative_drop"] is not None:
            key = (delta["task"], delta["first"]["model"], delta["benchmark"], delta["protocol"])
            members.setdefault(key, []).append(delta)
    rows = []
    for (task, model, benchmark, protocol), drops in members.items():
        worst = max(drops, key=lambda delta: delta["relative_drop"])
        mean = round(float(np.mean([delta["relative_drop"] for delta in drops])), 6)
        run = {"task": task, "model": model, "benchmark": benchmark, "protocol": protocol, "metric": worst["metric"]}
        facts = {"conditions": len(drops), "mean_relative_drop": mean}
        rows.append({**run, **facts, "worst": worst["second"]["condition"], "worst_relative_drop": worst["relative_drop"]})
    return rows


def not_compared(runs: Mapping[RunKey, Run]) -> list[str]:
    """A sentence for each condition that has no `plain` run over its own benchmark: such scores do not stand in one row."""
    notes = []
    for key in runs:
        others = sorted({run.benchmark for run in runs if replace(run, benchmark="") == replace(key, benchmark="", condition="plain")})
        if key.condition != "plain" and key.benchmark not in others:
            where = f"its plain run asked benchmark {', '.join(name[:16] for name in others)}" if others else "it has no plain run here"
            notes.append(f"{key.task}, {key.condition}, model {key.model}, benchmark {key.benchmark[:16]}: not compared, {where}.")
    return notes
