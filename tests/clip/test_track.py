"""Curves go where they are asked to go."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eosin.clip.track import Tracker
from eosin.errors import MissingDependency


class FakeRun:
    """What `wandb.init` gives, remembering what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append("finished")


def test_a_resumed_run_hides_what_was_written_behind_its_checkpoint(tmp_path: Path) -> None:
    with Tracker(str(tmp_path), "", 0) as first:
        for step in range(6):
            first.write(step, {"loss": 1.0})
    with Tracker(str(tmp_path), "", 3) as again:
        for step in range(3, 8):
            again.write(step, {"loss": 2.0})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("clip/loss")] == [(s, 1.0 if s < 3 else 2.0) for s in range(8)]


def test_weights_and_biases_is_told_the_same_and_closed_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()
    asked: list[Any] = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **options: asked.append(options) or run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)

    def crash() -> None:
        with Tracker("", "pathology", 4) as tracker:
            tracker.write(4, {"loss": 1.5, "grad_norm": 0.5})
            raise RuntimeError("a crash")

    with pytest.raises(RuntimeError, match="a crash"):
        crash()
    assert asked == [{"project": "pathology", "config": {"first_step": 4}}]
    assert run.told == [(4, {"clip/loss": 1.5, "clip/grad_norm": 0.5}), "finished"]


def test_without_it_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependency, match=r"pip install wandb$"):
        Tracker("", "pathology", 0)
