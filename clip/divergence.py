"""When a run has diverged: a loss or gradient that is no number, or a loss that stays far above where it began."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eosin.clip.config import OptimiserConfig
from eosin.errors import ConfigError

WINDOW = 50
"""Steps that are averaged: a single batch says little."""


def check_sound(line: Mapping[str, float], before: Sequence[Mapping[str, float]], steps: int, config: OptimiserConfig) -> None:
    """Stop a run that has diverged.

    Args:
        line: of this step: step, loss, grad_norm.
        before: the lines of all steps before it.
        steps: of the run.
        config: its settings, of which the message names those to change.

    Raises:
        ConfigError: as said.
    """
    for name in ("loss", "grad_norm"):
        if not math.isfinite(line[name]):
            raise ConfigError(_said(line, steps, f"{name} is {line[name]}", config))
    if not config.divergence or len(before) + 1 < 2 * WINDOW:
        return
    first = _mean(before[:WINDOW])
    last = _mean([*before[len(before) + 1 - WINDOW :], line])
    if last > config.divergence * first:
        held = f"the mean loss of {WINDOW} steps is {last:.3g}, and that of the first {WINDOW} was {first:.3g}"
        raise ConfigError(_said(line, steps, held, config) + ". optimiser.divergence=0 lets such a run go on")


def _mean(lines: Sequence[Mapping[str, float]]) -> float:
    return sum(line["loss"] for line in lines) / len(lines)


def _said(line: Mapping[str, float], steps: int, what: str, config: OptimiserConfig) -> str:
    return (
        f"step {line['step']} of {steps}: {what}; training has diverged. Lower optimiser.lr (now {config.lr}), raise optimiser.warmup "
        f"(now {config.warmup}) or use precision fp32"
    )
