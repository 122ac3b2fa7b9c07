"""Checkpoints of training, written so that a kill leaves the one before or the new one, never half of one."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.artefacts.files import replacing
from eosin.errors import ArtefactError


@dataclass(frozen=True)
class Checkpoint:
    """All that training goes on from.

    Attributes:
        step: steps done.
        model: its state dict.
        optimiser: its state dict.
        metrics: the lines of `metrics.jsonl` so far.
        threads: of the process that began: sums over threads are rounded by their number.
    """

    step: int
    model: dict[str, Any]
    optimiser: dict[str, Any]
    metrics: list[dict[str, float]]
    threads: int


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file at `path`.

    Raises:
        InputError: the disk is full.
    """
    import torch

    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    with replacing(path) as temporary, temporary.open("wb") as handle:
        torch.save(fields, handle)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`, or None where there is none.

    Raises:
        ArtefactError: it is damaged.
    """
    import torch

    if not path.is_file():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); run the command again with --overwrite or delete that file") from error


def metric_lines(metrics: list[dict[str, float]]) -> str:
    """`metrics.jsonl`."""
    return "".join(json.dumps(line) + "\n" for line in metrics)
