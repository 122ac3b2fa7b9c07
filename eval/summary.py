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
    found = {}
    for key, claims in _claims(rows).items():
        if len(claims) == 1:
            main = claims[0]["metrics"][claims[0]["main"]]
            found[key] = {name: main[name] for name in ("value", "low", "high")}
    return found


def left_out(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The runs that `flat_scores` leaves out, each with the key that it shares with others; or whose score is not defined."""
    claims = _claims(rows).items()
    return [(key, row) for key, found in claims for row in found if len(found) > 1 or row["metrics"][row["main"]]["value"] is None]


def _claims(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    claimed: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        claimed.setdefault(summary_key(row["task"], row["model"], row["condition"]), []).append(row)
    return dict(sorted(claimed.items()))
