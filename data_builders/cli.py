"""`eosin build RECIPE [KEY=VALUE ...] --out DIR`: data sets from phantoms, folders and other artefacts.

The recipe's key `builder` names one of `BUILDERS`; each makes one or several artefacts, each in its own folder below DIR.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.artefacts import Artefact
from eosin.commands import add_engine, building_parser, engine_of, read_config
from eosin.config import read_recipe, with_overrides
from eosin.data_builders.balance import BalanceConfig, balance_steps
from eosin.data_builders.cleaning.clean import CleanConfig, clean_steps
from eosin.data_builders.duplicates.builder import DedupConfig, dedup_steps
from eosin.data_builders.evidence_cases import EvidenceConfig, evidence_steps
from eosin.data_builders.exports.llava import LlavaConfig, llava_steps
from eosin.data_builders.exports.webdataset import WebDatasetConfig, webdataset_steps
from eosin.data_builders.image_folder import ImageFolderConfig, image_folder_steps
from eosin.data_builders.phantom_set import PhantomsConfig, phantoms_steps
from eosin.data_builders.resplit import SplitConfig, split_steps
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.slides.tile_slides import tile_slides_steps
from eosin.data_builders.sources.builder import SourceConfig, open_source, source_steps
from eosin.data_builders.sources.checks import check_folder
from eosin.data_builders.sources.listing import list_sources, show_card
from eosin.data_builders.teach import TeachConfig, teach_steps
from eosin.data_builders.writing.captions import CaptionsConfig, captions_steps
from eosin.data_builders.writing.instructions import InstructionsConfig, instructions_steps
from eosin.data_builders.writing.tiles import TilesConfig, tiles_steps
from eosin.errors import ConfigError
from eosin.pipeline import Engine, Step, run_step
from eosin.progress import say, show

Steps = Generator[Step, Artefact, None]


@dataclass(frozen=True)
class Builder:
    """A builder: its config and its steps, made one after another, for a later plan needs the digest of the artefact before it."""

    config: type[Any]
    steps: Callable[[Any, Path], Steps]


BUILDERS: dict[str, Builder] = {
    "phantoms": Builder(PhantomsConfig, phantoms_steps),
    "image_folder": Builder(ImageFolderConfig, image_folder_steps),
    "source": Builder(SourceConfig, source_steps),
    "teach": Builder(TeachConfig, teach_steps),
    "clean": Builder(CleanConfig, clean_steps),
    "split": Builder(SplitConfig, split_steps),
    "balance": Builder(BalanceConfig, balance_steps),
    "evidence": Builder(EvidenceConfig, evidence_steps),
    "export_webdataset": Builder(WebDatasetConfig, webdataset_steps),
    "export_llava": Builder(LlavaConfig, llava_steps),
    "dedup": Builder(DedupConfig, dedup_steps),
    "tile_slides": Builder(TileSlidesConfig, tile_slides_steps),
    "choose_tiles": Builder(TilesConfig, tiles_steps),
    "write_captions": Builder(CaptionsConfig, captions_steps),
    "write_instructions": Builder(InstructionsConfig, instructions_steps),
}


def main(argv: list[str]) -> None:
    """Run `eosin build`.

    Raises:
        UserError: the recipe, an input or the folder does not fit; see the builder.
    """
    if "--list" in argv or "--card" in argv:
        _show_sources(argv)
        return
    parser = building_parser("eosin build", "Build a data set; the recipe's key `builder` says which way.")
    add_engine(parser)
    parser.add_argument("--check", action="store_true", help="of a source's folder: say what is missing, and stop")
    parser.epilog = "eosin build --list shows every published corpus that can be read; --card NAME what is known of one."
    arguments = parser.parse_args(argv)
    name = with_overrides(read_recipe(arguments.recipe), arguments.overrides).get("builder")
    if not isinstance(name, str) or name not in BUILDERS:
        raise ConfigError(f"{arguments.recipe}: builder is {name!r}; allowed: {', '.join(BUILDERS)}")
    builder = BUILDERS[name]
    if arguments.check:
        arguments.out = arguments.out or Path()  # nothing is written
    config = read_config(builder.config, arguments)
    if config is not None and arguments.check:
        _check(config)
    elif config is not None:
        with engine_of(arguments) as engine:
            run_steps(builder.steps(config, arguments.out), arguments.out, engine, overwrite=arguments.overwrite)


def _show_sources(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("eosin build", allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="every published corpus that can be read")
    parser.add_argument("--card", metavar="NAME", help="what is known of one")
    arguments = parser.parse_args(argv)
    show(show_card(arguments.card) if arguments.card else list_sources())


def _check(config: Any) -> None:
    if not isinstance(config, SourceConfig):
        raise ConfigError(f"--check is for the builder source; this recipe's is {config.builder}")
    source = open_source(config)
    items = sum(section.stop - section.start for section in check_folder(source))
    say(f"{config.folder} can be read as {config.source}: {items} items")


def run_steps(steps: Steps, out: Path, engine: Engine, *, overwrite: bool = False) -> dict[str, Artefact]:
    """Run each step in its folder below `out` and hand its artefact back to the builder.

    Returns:
        step name -> artefact.
    """
    finished: dict[str, Artefact] = {}
    try:
        step = next(steps)
        while True:
            finished[step.name] = run_step(step, out / step.name, engine, overwrite=overwrite)
            step = steps.send(finished[step.name])
    except StopIteration:
        return finished
