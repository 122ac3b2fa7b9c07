"""The step `slides`: every slide is opened, measured and looked at as a whole; what cannot be tiled is a reject."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eosin.artefacts import Plan, Task
from eosin.artefacts.files import replacing
from eosin.data_builders.folder_files import printable
from eosin.data_builders.slides.listing import SlideEntry, SlideList
from eosin.data_builders.slides.overview import HELD, Overview, read_overview
from eosin.data_builders.slides.quality import Look
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.slides.tissue import common_density, find_tissue, glass_colour
from eosin.errors import ConfigError, ImageError, InputError
from eosin.images import Pixels, decode_image, encode_jpeg, encode_png
from eosin.pipeline import Step
from eosin.records import SPLITS, Reject, Slide
from eosin.slides.reader import SlideReader
from eosin.slides.sampling import Level

NOT_TAKEN = "not taken"
TISSUE, UNREAD = 255, 128
_PICTURE_PX = 1024


def survey_step(config: TileSlidesConfig, found: SlideList, refs: Any, paths: dict[str, str], folder: Path) -> Step:
    """One task a slide.

    Args:
        config: the recipe.
        found: the slides.
        refs: the inputs, as the plan names them.
        paths: where they lie.
        folder: the artefact's, for the overviews.

    Raises:
        InputError: a column of the list is called like a measure.
    """
    _check_columns(found)
    order = sorted(range(len(found.slides)), key=lambda number: (SPLITS.index(found.slides[number].split), number))
    tasks = [Task("slides", number, number + 1, found.slides[number].split) for number in order]
    if found.rejects:
        tasks.append(Task(NOT_TAKEN, 0, len(found.rejects)))
    names = ("source", "licence", "size", "mpp", "overlap", "edge", "tissue")
    classes = sorted({entry.label for entry in found.slides if entry.label})
    facts = {"title": f"{config.source}: slides", "classes": classes, "limits": _LIMITS}
    plan = Plan("slides", "build", config.plan_settings(*names), refs, tuple(tasks), facts)
    return Step("slides", plan, Survey(config, found, str(folder)), paths)


_LIMITS = "Label and macro images are not read. Tissue is found by colour on an overview: it is a filter, no diagnosis."


@dataclass(frozen=True)
class _Measured:
    """What is measured of a slide; its record's `extra` has these names beside the list's further columns."""

    vendor: str
    mpp_from: str
    slide_says_mpp: float | None
    levels: list[list[float]]
    overview_downsample: float
    glass: list[float]
    density: float
    tissue_mm2: float
    unread_share: float


def _check_columns(found: SlideList) -> None:
    # Here and not where the records are made: a slow archive would be opened first, to fail on a name that is known before.
    columns = {name for entry in found.slides for name in entry.extra}
    if taken := sorted(columns & {field.name for field in fields(_Measured)}):
        raise InputError(f"the slide list has the column {taken[0]!r}: what is measured of a slide is called so; give it another name")


@dataclass(frozen=True)
class Survey:
    """Looks at a task's slides and leaves overview and tissue map in the artefact in `folder`; picklable."""

    config: TileSlidesConfig
    found: SlideList
    folder: str

    def __call__(self, task: Task) -> Iterator[Slide | Reject]:
        """The slides' records; their files are whole before."""
        if task.source == NOT_TAKEN:
            yield from self.found.rejects[task.start : task.stop]
            return
        for entry in self.found.slides[task.start : task.stop]:
            try:
                yield self._record(entry)
            except ImageError as error:
                yield Reject(printable(entry.path), error.reason, error.message)
            except ConfigError as error:
                yield Reject(printable(entry.path), "too_coarse", str(error))

    def _record(self, entry: SlideEntry) -> Slide:
        config = self.config
        with SlideReader(self.found.root / entry.path, entry.mpp) as slide:
            sampling = config.sampling(slide.levels, slide.mpp)
            grid = config.grid(slide.size, sampling.side)
            if not grid.rows or not grid.columns:
                width, height = slide.size
                raise ImageError("too_small", f"{slide.path.name}: {width} x {height} pixels hold no tile of {sampling.side}")
            overview = read_overview(slide, config.tissue.mpp, config.tissue.longest, config.threads)
            tissue = find_tissue(overview, config.tissue)
            self._save(entry.name, self._picture(slide, overview), overview, tissue)
            return Slide(
                id=f"{config.source}/{entry.name}",
                source=config.source,
                licence=entry.licence or config.licence,
                group=entry.case,
                split=entry.split,
                slide=entry.name,
                mpp=slide.mpp,
                path=printable(entry.path),
                case=entry.case,
                width=slide.size[0],
                height=slide.size[1],
                labels=(entry.label,) if entry.label else (),
                extra=self._extra(entry, slide, overview, tissue),
            )

    def _extra(self, entry: SlideEntry, slide: SlideReader, overview: Overview, tissue: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """What was measured, and what the list says further."""
        measured = _Measured(
            vendor=slide.vendor,
            mpp_from="slide" if entry.mpp is None else "override",
            slide_says_mpp=slide.own_mpp,
            levels=[[level.width, level.height, level.downsample] for level in slide.levels],
            overview_downsample=overview.downsample,
            glass=list(glass_colour(overview.pixels, overview.state == HELD)),
            density=round(common_density(overview, tissue), 4),
            tissue_mm2=round(float(tissue.sum()) * (overview.mpp / 1000) ** 2, 3),
            unread_share=round(float((overview.state != HELD).mean()), 4),
        )
        return {**vars(measured), **entry.extra}

    def _picture(self, slide: SlideReader, overview: Overview) -> Pixels:
        """What people look at: of a small slide, more than the few pixels that tissue is found on."""
        if max(overview.pixels.shape) >= _PICTURE_PX:
            return overview.pixels
        return read_overview(slide, slide.mpp, _PICTURE_PX, self.config.threads).pixels

    def _save(self, name: str, picture: Pixels, overview: Overview, tissue: npt.NDArray[np.bool_]) -> None:
        state = np.where(overview.state != HELD, UNREAD, tissue * np.uint8(TISSUE)).astype(np.uint8)
        for path, data in ((overview_file(name), encode_jpeg(picture, quality=90)), (tissue_file(name), encode_png(state))):
            with replacing(Path(self.folder) / path) as temporary:
                temporary.write_bytes(data)


def overview_file(name: str) -> str:
    """Where a slide's overview lies in the `slides` artefact."""
    return f"overviews/{name}.jpg"


def tissue_file(name: str) -> str:
    """Where its tissue map lies: a PNG of 0 (glass), `UNREAD` and `TISSUE`."""
    return f"tissue/{name}.png"


@dataclass(frozen=True)
class Surveyed:
    """What later steps know of a slide; plain and picklable.

    Attributes:
        record: of the slide.
        file: the slide.
        override: its mpp, where it was given.
        maps: folder of the `slides` artefact.
    """

    record: Slide
    file: str
    override: float | None
    maps: str

    @property
    def name(self) -> str:
        """Of the slide."""
        return str(self.record.slide)

    @property
    def mpp(self) -> float:
        """Microns per pixel of level 0."""
        return float(self.record.mpp or 0)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the slide."""
        return tuple(Level(int(width), int(height), float(downsample)) for width, height, downsample in self.record.extra["levels"])

    @property
    def bounds(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.record.width or 0, self.record.height or 0

    @property
    def downsample(self) -> float:
        """Of the tissue map."""
        return float(self.record.extra["overview_downsample"])

    @property
    def look(self) -> Look:
        """How the slide looks."""
        red, green, blue = self.record.extra["glass"]
        return Look((red, green, blue), float(self.record.extra["density"]))

    def overview(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width, 3], of a size for people."""
        return decode_image((Path(self.maps) / overview_file(self.name)).read_bytes())

    def tissue(self) -> npt.NDArray[np.uint8]:
        """uint8 [height, width] of 0, `UNREAD` and `TISSUE`."""
        data = (Path(self.maps) / tissue_file(self.name)).read_bytes()
        return np.asarray(Image.open(io.BytesIO(data)))
