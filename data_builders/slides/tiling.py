"""The steps `tiles` and `labelled_images`: the grid with a reason for every tile left out, and the pictures of the kept ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.artefacts import Artefact, Task
from eosin.data_builders.slides.grid import Grid
from eosin.data_builders.slides.quality import measure, refuse
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.slides.survey import TISSUE, UNREAD, Surveyed
from eosin.images import encode_jpeg
from eosin.records import LabelledImage, Reject, Tile
from eosin.slides.reader import SlideReader
from eosin.slides.sampling import Sampling
from eosin.slides.stream import TilePicture, iter_tiles
from eosin.slides.tile_table import kept_tiles

TILES_A_TASK = 8192


def tile_tasks(config: TileSlidesConfig, slides: Mapping[str, Surveyed]) -> tuple[Task, ...]:
    """Runs of rows of each slide's grid, about `TILES_A_TASK` tiles each."""
    tasks = []
    for name, slide in slides.items():
        _, grid = layout(config, slide)
        rows = config.rows_a_task or max(1, TILES_A_TASK // grid.columns)
        tasks += [Task(name, start, min(start + rows, grid.rows), slide.record.split) for start in range(0, grid.rows, rows)]
    return tuple(tasks)


def layout(config: TileSlidesConfig, slide: Surveyed) -> tuple[Sampling, Grid]:
    """How a slide is read, and its grid."""
    sampling = config.sampling(slide.levels, slide.mpp)
    return sampling, config.grid(slide.bounds, sampling.side)


@dataclass(frozen=True)
class FindTiles:
    """Judges the tiles of a task's rows; picklable."""

    config: TileSlidesConfig
    slides: Mapping[str, Surveyed]

    def __call__(self, task: Task) -> Iterator[Tile]:
        """All tiles, row by row: kept, or with the reason why not."""
        slide = self.slides[task.source]
        sampling, grid = layout(self.config, slide)
        shares = _Shares(slide, sampling.side)
        places = [place for row in range(task.start, task.stop) for place in grid.row(row)]
        found = [shares.of(x, y) for x, y in places]
        read = [self._is_read(tissue, unread) for tissue, unread in found]
        pictures = self._pictures(slide, [place for place, wanted in zip(places, read, strict=True) if wanted])
        for (x, y), (tissue, _), wanted in zip(places, found, read, strict=True):
            extra: dict[str, Any] = {"tissue": round(tissue, 3)}
            reason = None if wanted or tissue >= self.config.tissue_share else "no_tissue"
            if wanted:
                reason, measures = self._judge(next(pictures), slide, slide.mpp * sampling.side / sampling.size)
                extra |= measures
            yield _tile(slide, self.config, sampling, (x, y), reason, extra)

    def _is_read(self, tissue: float, unread: float) -> bool:
        """Where the overview could not be read, only the tile itself tells what is the matter."""
        enough = tissue + unread >= self.config.tissue_share
        return enough and (self.config.quality.measure or unread > 0)

    def _pictures(self, slide: Surveyed, places: list[tuple[int, int]]) -> Iterator[TilePicture]:
        if places:
            with SlideReader(slide.file, slide.override) as reader:
                yield from iter_tiles(reader, places, self.config.size, self.config.mpp, threads=self.config.threads)

    def _judge(self, picture: TilePicture, slide: Surveyed, mpp: float) -> tuple[str | None, dict[str, float]]:
        if picture.pixels is None:
            return (picture.error.reason if picture.error else "unreadable_region"), {}
        if not self.config.quality.measure:
            return None, {}
        measures = measure(picture.pixels, mpp, self.config.quality, slide.look)
        return refuse(measures, self.config.quality), {name: round(value, 3) for name, value in measures.items()}


def _tile(
    slide: Surveyed, config: TileSlidesConfig, sampling: Sampling, place: tuple[int, int], reason: str | None, extra: dict[str, Any]
) -> Tile:
    record = slide.record
    return Tile(
        id=f"{record.id}/{place[0]}-{place[1]}",
        source=record.source,
        licence=record.licence,
        group=record.group,
        split=record.split,
        slide=slide.name,
        mpp=slide.mpp * sampling.side / sampling.size,
        x=place[0],
        y=place[1],
        size=config.size,
        kept=reason is None,
        reason=reason,
        extra=extra | {"side": sampling.side},
    )


class _Shares:
    """How much of a tile is tissue, and how much the overview could not tell: from sums over the map, whatever the tile's size."""

    def __init__(self, slide: Surveyed, side: int) -> None:
        states = slide.tissue()
        self._sums = [_sums(states == value) for value in (TISSUE, UNREAD)]
        self._shape = states.shape
        self._downsample, self._side = slide.downsample, side

    def of(self, x: int, y: int) -> tuple[float, float]:
        left, right = self._span(x, self._shape[1])
        top, bottom = self._span(y, self._shape[0])
        area = (right - left) * (bottom - top)
        tissue, unread = (
            float(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]) / area for sums in self._sums
        )
        return tissue, unread

    def _span(self, start: int, length: int) -> tuple[int, int]:
        """The map's pixels whose middle lies in the tile; one at least."""
        first = min(length - 1, round(start / self._downsample))
        return first, max(first + 1, min(length, round((start + self._side) / self._downsample)))


def _sums(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    return sums


@dataclass(frozen=True)
class CutTiles:
    """Reads the kept tiles of a task of `tiles`; picklable."""

    config: TileSlidesConfig
    slides: Mapping[str, Surveyed]
    tiles: Artefact
    shards: Mapping[tuple[str, int], str]

    def __call__(self, task: Task) -> Iterator[LabelledImage | Reject]:
        """The pictures in the order of the tiles."""
        kept = list(kept_tiles(self.tiles, self.shards[task.source, task.start]))
        if not kept:
            return
        slide = self.slides[task.source]
        with SlideReader(slide.file, slide.override) as reader:
            places = [(tile.x, tile.y) for tile in kept]
            pictures = iter_tiles(reader, places, self.config.size, self.config.mpp, threads=self.config.threads)
            for tile, picture in zip(kept, pictures, strict=True):
                yield self._record(tile, slide, picture)

    def _record(self, tile: Tile, slide: Surveyed, picture: TilePicture) -> LabelledImage | Reject:
        if picture.pixels is None:
            error = picture.error
            return Reject(tile.id, error.reason if error else "unreadable_region", error.message if error else "the tile cannot be read")
        return LabelledImage(
            id=tile.id,
            source=tile.source,
            licence=tile.licence,
            group=tile.group,
            split=tile.split,
            slide=tile.slide,
            mpp=tile.mpp,
            image=encode_jpeg(picture.pixels, quality=self.config.jpeg_quality),
            label=slide.record.labels[0] if slide.record.labels else None,
            extra={**tile.extra, "x": tile.x, "y": tile.y},
        )
