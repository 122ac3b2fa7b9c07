"""`eosin clip train | embed | export`."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from eosin.artefacts import ArtefactWriter, Plan
from eosin.artefacts.files import SCRATCH
from eosin.clip.config import ClipTrainConfig
from eosin.clip.model_config import ClipEmbedConfig, ClipExportConfig
from eosin.commands import Inputs, add_engine, building_parser, engine_of, open_inputs, read_config
from eosin.config import settings_of
from eosin.errors import ConfigError
from eosin.progress import say, show, silent

if TYPE_CHECKING:
    from eosin.clip.distributed import World

_USAGE = """usage: eosin clip VERB RECIPE [KEY=VALUE ...] --out DIR

  train    train an open_clip model on image-text pairs
  embed    embed the images of a data set
  export   write a model as a Hugging Face CLIPModel folder, checked against open_clip

`eosin clip VERB --help` tells more."""


def main(argv: list[str]) -> None:
    """Run `eosin clip` with the arguments after `clip`."""
    verbs = {"train": _train, "embed": _embed, "export": _export}
    if not argv or argv[0] in ("-h", "--help"):
        show(_USAGE)
        return
    if argv[0] not in verbs:
        raise ConfigError(f"eosin clip has no verb {argv[0]!r}; verbs: {', '.join(verbs)}")
    verbs[argv[0]](argv[1:])


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU where there is one)")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1 is wanted; got {number}")
    return number


def _train(argv: list[str]) -> None:
    parser = building_parser("eosin clip train", "Train an open_clip model; --workers is the number of threads.")
    parser.add_argument("--cache-mb", type=_at_least_one, default=1024, help="memory for decoded images (default: 1024)")
    parser.add_argument(
        "--checkpoint-every", type=_at_least_one, default=100, metavar="STEPS", help="what a kill loses at most (default: 100)"
    )
    parser.add_argument("--tensorboard", metavar="DIR", default="", help="write curves for TensorBoard there")
    parser.add_argument("--wandb", metavar="PROJECT", default="", help="send curves to Weights & Biases (pip install wandb)")
    _add_device(parser)
    arguments = parser.parse_args(argv)
    config = read_config(ClipTrainConfig, arguments)
    if config is None:
        return
    from eosin.clip.starting import fetch_named

    config = fetch_named(config)
    inputs = open_inputs(config)
    from eosin.clip.distributed import joined

    with joined(arguments.device) as world:
        _train_in(world, config, inputs, arguments)


def _train_in(world: World, config: ClipTrainConfig, inputs: Inputs, arguments: argparse.Namespace) -> None:
    """One process of a run; the main one holds the artefact."""
    from eosin.clip.starting import settle_architecture
    from eosin.clip.train import Runtime, Sources, train_clip

    init = inputs.artefacts["init"].path if "init" in inputs.artefacts else None
    with nullcontext() if world.main else silent():
        model_cfg = settle_architecture(config, inputs.folders, init)
    more = tuple(inputs.artefacts[name] for name in (f"more[{number}]" for number in range(len(config.more))))
    sources = Sources(inputs.artefacts["data"], init, inputs.folders, more)
    curves = (arguments.tensorboard, arguments.wandb)
    runtime = Runtime(_threads(arguments), arguments.cache_mb << 20, arguments.checkpoint_every, arguments.device, world, *curves)
    out = Path(arguments.out)
    if not world.main:
        world.wait()
        if not (out / "manifest.json").is_file():
            with silent():
                train_clip(config, model_cfg, sources, out / SCRATCH, runtime)
        return
    facts = {"title": config.title, "format": "open_clip", "intended_use": _USE, "limits": _LIMITS}
    plan = Plan("clip_model", "clip train", {**settings_of(config), "architecture": model_cfg}, inputs.refs, facts=facts)
    with ArtefactWriter(out, plan, overwrite=arguments.overwrite, paths=inputs.paths) as writer:
        world.wait()
        if writer.finished:
            say(f"clip train: already there in {out}")
            return
        scratch = writer.scratch
        from eosin.clip.save import save_trained

        writer.finish(save_trained(train_clip(config, model_cfg, sources, scratch, runtime), writer))
    say(f"clip train: model in {out}")


_USE = "Research: zero-shot classification and retrieval of histology images, and the vision tower of an assistant. Not for diagnosis."
_LIMITS = "It knows the tissues, stains and scanners of its training data only; the inputs below name them."


def _threads(arguments: argparse.Namespace) -> int:
    return max(1, min(int(arguments.workers), os.cpu_count() or 1))


def _embed(argv: list[str]) -> None:
    parser = building_parser("eosin clip embed", "Embed the images of a data set; one process, --workers is the number of threads.")
    _add_device(parser)
    add_engine(parser)
    arguments = parser.parse_args(argv)
    config = read_config(ClipEmbedConfig, arguments)
    if config is None:
        return
    inputs = open_inputs(config)
    from eosin.clip.embed import embed

    with engine_of(arguments) as engine:
        made = {"threads": _threads(arguments), "device": arguments.device, "overwrite": arguments.overwrite}
        embed(config, inputs, Path(arguments.out), engine=engine, **made)


def _export(argv: list[str]) -> None:
    parser = building_parser("eosin clip export", "Write a model as a Hugging Face CLIPModel folder, checked against open_clip.")
    arguments = parser.parse_args(argv)
    config = read_config(ClipExportConfig, arguments)
    if config is None:
        return
    inputs = open_inputs(config)
    if ("model" in inputs.artefacts) == ("folder" in inputs.folders):
        raise ConfigError("what is exported is either model=ARTEFACT or folder=DIR; give one of them")
    title = inputs.artefacts["model"].plan.facts.get("title", "CLIP") if "model" in inputs.artefacts else inputs.folders["folder"].name
    facts = {
        "title": f"{title} (Hugging Face)",
        "format": "transformers",
        "intended_use": _USE,
        "limits": _LIMITS,
    }
    plan = Plan("clip_model", "clip export", settings_of(config), inputs.refs, facts=facts)
    with ArtefactWriter(arguments.out, plan, overwrite=arguments.overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"clip export: already there in {arguments.out}")
            return
        from eosin.clip.bare_checkpoint import open_clip_folder
        from eosin.clip.export import export

        given = inputs.artefacts["model"].path if "model" in inputs.artefacts else inputs.folders["folder"]
        writer.finish(export(open_clip_folder(config, given, writer.scratch), writer, config))
    say(f"clip export: model in {arguments.out}")
