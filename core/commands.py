"""What every verb that builds an artefact shares: its arguments, and how a recipe is read."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from eosin.artefacts import Artefact, InputRef, open_artefact
from eosin.artefacts.files import digest_of_folder
from eosin.config import inputs_of, load_recipe, settings_of
from eosin.errors import ConfigError, InputError
from eosin.pipeline import Engine, LocalEngine
from eosin.progress import show

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """Takes overrides wherever they stand; plain argparse refuses those that follow an option."""

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        return self.parse_intermixed_args(args, namespace)


def building_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with RECIPE, overrides, --out, --overwrite, --workers and --print-config."""
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe such as demo/clip")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="lay this over the recipe; dots reach inner keys: train.epochs=3")
    parser.add_argument("--out", metavar="DIR", type=Path, help="the artefact's folder; an unfinished one is resumed")
    parser.add_argument("--overwrite", action="store_true", help="replace an artefact in DIR that is of another plan, or damaged")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--print-config", action="store_true", help="show the resolved recipe and stop")
    return parser


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --ray-address to the parser of a command that runs steps."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local (default): processes on this machine; ray: tasks and actors on a Ray cluster, the same bytes",
    )
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="of a running Ray cluster, or auto (default: $RAY_ADDRESS, else one of --workers cores is started here)",
    )


@contextmanager
def engine_of(arguments: argparse.Namespace) -> Iterator[Engine]:
    """The engine the command line asks for, for the length of a block.

    Raises:
        ConfigError: a Ray cluster is named, but another engine.
    """
    if arguments.engine == "local":
        if arguments.ray_address is not None:
            raise ConfigError(f"--ray-address {arguments.ray_address} is for --engine ray; add that, or leave the address out")
        yield LocalEngine(arguments.workers)
        return
    from eosin.ray_engine import RayEngine

    with RayEngine(arguments.ray_address or os.environ.get("RAY_ADDRESS", ""), arguments.workers) as engine:
        yield engine


@dataclass(frozen=True)
class Inputs:
    """A stage's inputs, opened.

    Attributes:
        artefacts: name -> artefact.
        folders: name -> plain folder.
        refs: all of them, as a plan names them.
        paths: all of them, for `run.json`.
    """

    artefacts: dict[str, Artefact]
    folders: dict[str, Path]
    refs: tuple[InputRef, ...]
    paths: dict[str, str]


def open_inputs(config: object) -> Inputs:
    """Open every `input_path` field of a config; a field that allows kinds is an artefact, else a plain folder.

    Raises:
        ConfigError: a required input is missing from the config.
        ArtefactError: see `open_artefact`.
        InputError: a plain folder does not exist or is empty.
    """
    artefacts, folders, refs, paths = {}, {}, [], {}
    for name, (path, kinds) in inputs_of(config).items():
        paths[name] = str(Path(path).resolve())
        if kinds:
            artefacts[name] = open_artefact(path, *kinds)
            refs.append(artefacts[name].ref(name))
        else:
            folders[name] = _plain_folder(name, path)
            refs.append(InputRef(name, "folder", digest_of_folder(folders[name])))
    return Inputs(artefacts, folders, tuple(refs), paths)


def _plain_folder(name: str, path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{name}: {path} is not a folder")
    if not any(folder.iterdir()):
        raise InputError(f"{name}: {path} is empty")
    return folder


def read_config(cls: type[T], arguments: argparse.Namespace) -> T | None:
    """The recipe with its overrides; None after `--print-config` has shown it.

    Raises:
        ConfigError: the recipe does not fit, or `--out` is missing.
    """
    config = load_recipe(cls, arguments.recipe, arguments.overrides)
    if arguments.print_config:
        show(yaml.safe_dump(settings_of(config), sort_keys=False).rstrip())
        return None
    if arguments.out is None:
        raise ConfigError("--out DIR is missing: where the artefact goes")
    return config
