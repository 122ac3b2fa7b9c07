"""A step that keeps one account of a server runs in the command's own process, whatever the engine."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from eosin.artefacts import Task
from eosin.pipeline import Engine, LocalEngine, NamedTask, Resources
from eosin.ray_engine import RayEngine


def where(named: NamedTask) -> dict[str, Any]:
    return {"name": named[0], "process": os.getpid()}


@pytest.mark.parametrize("engine", [lambda: LocalEngine(4), RayEngine], ids=["local", "ray"])
def test_it_runs_here_in_order(engine: Callable[[], Engine]) -> None:
    tasks = [(f"t{number}", Task("s", number, number + 1, "train")) for number in range(5)]
    found = list(engine().run(tasks, where, Resources(here=True)))
    assert found == [{"name": f"t{number}", "process": os.getpid()} for number in range(5)]
