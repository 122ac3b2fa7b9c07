"""`eosin eval run`: questions become predictions. `TASKS` names every way to ask.

A killed run is resumed at its first unfinished slice. There are as many predictions as questions, or the run fails.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact
from eosin.commands import Inputs, engine_of, open_inputs, read_config
from eosin.config import read_recipe, with_overrides
from eosin.errors import ArtefactError, ConfigError
from eosin.eval.config import ColourConfig, VqaConfig, ZeroShotConfig
from eosin.eval.encoder_config import ProbeConfig, RetrievalConfig, SlideProbeConfig, SlideZeroShotConfig
from eosin.eval.tasks.colour_baseline import colour_step
from eosin.eval.tasks.probe import probe_step
from eosin.eval.tasks.retrieval import retrieval_step
from eosin.eval.tasks.slide_probe import slide_probe_step
from eosin.eval.tasks.vqa import vqa_step
from eosin.eval.tasks.zero_shot import zero_shot_step
from eosin.eval.tasks.zero_shot_slides import zero_shot_slides_step
from eosin.pipeline import Resources, Step, run_step
from eosin.progress import say


@dataclass(frozen=True)
class EvalTask:
    """A way to ask: the class of its recipe, and what makes the step from it."""

    config: type[Any]
    step: Callable[[Any, Inputs], tuple[Step, int]]


TASKS: dict[str, EvalTask] = {
    "zero_shot": EvalTask(ZeroShotConfig, zero_shot_step),
    "vqa": EvalTask(VqaConfig, vqa_step),
    "colour_baseline": EvalTask(ColourConfig, colour_step),
    "zero_shot_slides": EvalTask(SlideZeroShotConfig, zero_shot_slides_step),
    "retrieval": EvalTask(RetrievalConfig, retrieval_step),
    "probe": EvalTask(ProbeConfig, probe_step),
    "slide_probe": EvalTask(SlideProbeConfig, slide_probe_step),
}


def run_evaluation(arguments: argparse.Namespace) -> Artefact | None:
    """The `predictions` artefact a recipe asks for; None after `--print-config`.

    Raises:
        ConfigError: the recipe names no task, or does not fit it.
        ArtefactError: an input is not what the task needs, or predictions are missing.
        BackendError: the model's server failed.
    """
    name = with_overrides(read_recipe(arguments.recipe), arguments.overrides).get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError(f"{arguments.recipe}: task is {name!r}; allowed: {', '.join(TASKS)}")
    config = read_config(TASKS[name].config, arguments)
    return None if config is None else predict(name, config, arguments)


def predict(name: str, config: object, arguments: argparse.Namespace) -> Artefact:
    """Ask what `config` says, in one process a machine or GPU: a model is loaded once, and uses the threads itself."""
    step, count = TASKS[name].step(config, open_inputs(config))
    left_out = step.plan.facts["questions"].get("left_out", {})
    if left_out:
        say(f"{step.name}: not asked: " + ", ".join(f"{number} {reason}" for reason, number in left_out.items()))
    gpus = 1.0 if getattr(config, "device", "").startswith("cuda") else 0.0
    step = dataclasses.replace(step, resources=Resources(cpus=max(1, arguments.workers), gpus=gpus, model=True))
    with engine_of(arguments) as engine:
        artefact = run_step(step, arguments.out, engine, overwrite=arguments.overwrite)
    found = artefact.manifest["counts"]["out"]
    if found != count:
        raise ArtefactError(f"{artefact.path}: {count} questions but {found} predictions; ask again with --overwrite")
    return artefact
