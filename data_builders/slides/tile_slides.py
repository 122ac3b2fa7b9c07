"""`tile_slides`: a folder or a CSV of whole slides becomes tiles, each left-out slide and tile with its reason.

slides            one record a slide, with overview and tissue map; slides that cannot be tiled are rejects
tiles             every tile of every grid: kept, or why not
coordinates       overviews with the grid, CLAM's and TRIDENT's HDF5
labelled_images   the kept tiles' pictures, where the recipe asks for them
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from eosin.artefacts import Artefact, InputRef, Plan, Task
from eosin.config import inputs_of
from eosin.data_builders.slides.handover import HandOver
from eosin.data_builders.slides.listing import SlideList, list_slides
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.slides.survey import Surveyed, survey_step
from eosin.data_builders.slides.tiling import CutTiles, FindTiles, tile_tasks
from eosin.errors import InputError
from eosin.pipeline import Step
from eosin.progress import say
from eosin.records import Slide
from eosin.slides.tile_table import shards_of

_TILE_SETTINGS = ("size", "mpp", "overlap", "edge", "tissue_share", "quality", "rows_a_task")


def tile_slides_steps(config: TileSlidesConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The steps of this builder; each finished artefact is sent back in.

    Raises:
        InputError: see `list_slides`, or not one slide could be tiled.
    """
    wanted = {name: path for name, (path, _) in inputs_of(config).items()}
    overrides = Path(wanted["mpp_overrides"]) if "mpp_overrides" in wanted else None
    found = list_slides(Path(wanted["slides"]), overrides, config.split)
    refs = (InputRef("slides", "slide_list", found.digest()),)
    paths = {name: str(Path(path).resolve()) for name, path in wanted.items()}
    artefact = yield survey_step(config, found, refs, paths, out / "slides")
    slides = _surveyed(artefact, found)
    if not slides:
        raise InputError(f"{config.slides}: none of its slides can be tiled; {artefact.path / 'rejects'} says why for each")
    _warn_of_mpp(slides)
    facts = {"classes": list(artefact.classes)}
    tasks = tile_tasks(config, slides)
    inputs = (artefact.ref("slides"), *refs)
    title = f"{config.source}: tiles of {config.size} px at {config.mpp:g} microns per pixel"
    settings = config.plan_settings(*_TILE_SETTINGS)
    plan = Plan("tiles", "build", settings, inputs, tasks, {**facts, "title": title})
    tiles = yield Step("tiles", plan, FindTiles(config, slides), paths)
    files = tuple(Task("files", number, number + 1, slide.record.split) for number, slide in enumerate(slides.values()))
    described = {"title": f"{config.source}: overviews and coordinates", "description": "Kept tiles of each slide for CLAM and TRIDENT."}
    plan = Plan("exported", "build", {"overlap": config.overlap}, (artefact.ref("slides"), tiles.ref("tiles")), files, described)
    yield Step("coordinates", plan, HandOver(config, slides, tiles, str(out / "coordinates")), paths)
    if config.images:
        settings = config.plan_settings("size", "mpp", "jpeg_quality")
        plan = Plan("labelled_images", "build", settings, (*inputs, tiles.ref("tiles")), tasks, {**facts, "title": title})
        yield Step("labelled_images", plan, CutTiles(config, slides, tiles, shards_of(tiles)), paths)


def _surveyed(artefact: Artefact, found: SlideList) -> dict[str, Surveyed]:
    """Slide name -> what is known of it, in the order of the artefact."""
    if not artefact.manifest["counts"]["out"]:
        return {}
    entries = {entry.name: entry for entry in found.slides}
    slides = {}
    for record in artefact.records(Slide):
        entry = entries[str(record.slide)]
        slides[entry.name] = Surveyed(record, str((found.root / entry.path).absolute()), entry.mpp, str(artefact.path.absolute()))
    return slides


def _warn_of_mpp(slides: dict[str, Surveyed]) -> None:
    """An override that contradicts the slide is obeyed, but not in silence."""
    for name, slide in slides.items():
        own = slide.record.extra["slide_says_mpp"]
        if own is not None and abs(own - slide.mpp) > 0.02 * own:
            say(f"warning: {name}: the override says {slide.mpp:g} microns per pixel, the slide {own:g}; the override is taken")
