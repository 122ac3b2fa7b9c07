"""The main scores as one flat mapping: what a demo, a leaderboard or a README quotes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eosin.eval.tasks.names import COLOUR_MODEL

_TASK_KEYS = {
    "zero_shot": "zero_shot",
    "closed": "closed_vqa",
    "open": "open_exact",
    "mcq": "mcq",
    "grounding": "grounding_acc50",
    "caption": "caption_token_f1",
    "report": "report_token_f1",
    "tool": "tool_exact",
    "zero_shot_slides": "zero_shot_slides",
    "retrieval": "retrieval",
    "probe": "probe",
    "slide_probe": "slide_probe",
    "survival": "survival_c_index",
}


def summary_key(task: str, model: str, condition: str) -> str:
    """Such as `closed_vqa`, `closed_vqa_blind`, `colour_baseline`, `colour_baseline_closed`."""
    key = _TASK_KEYS[task]
    if model == COLOUR_MODEL:
        key = "colour_baseline" if task == "zero_shot" else f"colour_baseline_{task}"
    return key if condition == "plain" else f"{key}_{condition}"


def flat_scores(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Each key with the value, low and high of its run's main score.

    A key that two runs would claim (two models, or two benchmarks) is left out: it would not say which one is meant.

    Args:
        rows: the `rows` of a `scores.json`.
    """
    claimed: dict[str, list[dict[str, float | None]]] = {}
    for row in rows:
        main = row["metrics"][row["main"]]
        key = summary_key(row["task"], row["model"], row["condition"])
        claimed.setdefault(key, []).append({name: main[name] for name in ("value", "low", "high")})
    return {key: found[0] for key, found in sorted(claimed.items()) if len(found) == 1}
