"""The step `coordinates`: for each slide its overview with the grid, and the kept tiles' coordinates for CLAM and for TRIDENT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eosin.artefacts import Artefact, Task
from eosin.artefacts.files import replacing
from eosin.data_builders.slides.coordinates import write_clam, write_trident
from eosin.data_builders.slides.picture import draw_grid
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.slides.survey import Surveyed
from eosin.data_builders.slides.tiling import layout
from eosin.images import encode_jpeg
from eosin.records import Exported, Tile
from eosin.slides.tile_table import all_tiles, shards_of


@dataclass(frozen=True)
class HandOver:
    """Writes a task's slides' files into the artefact in `folder`; picklable."""

    config: TileSlidesConfig
    slides: Mapping[str, Surveyed]
    tiles: Artefact
    folder: str

    def __call__(self, task: Task) -> Iterator[Exported]:
        """One record a file; the file is whole before it is told."""
        slide = self.slides[list(self.slides)[task.start]]
        shards = [shard for (name, _), shard in shards_of(self.tiles).items() if name == slide.name]
        sampling, _ = layout(self.config, slide)
        kept: list[tuple[int, int]] = []
        overview = slide.overview()
        image = draw_grid(overview, slide.bounds[0] / overview.shape[1], self._noted(shards, kept), sampling.side)
        places = np.array(kept, np.int64).reshape(-1, 2)
        grid = (slide.mpp, self.config.overlap)
        writers: dict[str, Callable[[Path], object]] = {
            f"overviews/{slide.name}.jpg": lambda path: path.write_bytes(encode_jpeg(image, quality=90)),
            f"clam/{slide.name}.h5": lambda path: write_clam(path, slide.name, places, sampling, slide.levels),
            f"trident/{slide.name}_patches.h5": lambda path: write_trident(path, slide.name, places, sampling, slide.bounds, grid),
        }
        for name, write in writers.items():
            with replacing(Path(self.folder) / name) as temporary:
                write(temporary)
            yield self._record(slide, name)

    def _noted(self, shards: list[str], kept: list[tuple[int, int]]) -> Iterator[Tile]:
        """All tiles; the kept ones' places go into `kept` on the way."""
        for shard in shards:
            for tile in all_tiles(self.tiles, shard):
                if tile.kept:
                    kept.append((tile.x, tile.y))
                yield tile

    def _record(self, slide: Surveyed, path: str) -> Exported:
        record, key = slide.record, path.split("/")[0]
        return Exported(
            id=f"{record.id}/{key}",
            source=record.source,
            licence=record.licence,
            group=record.group,
            split=record.split,
            slide=slide.name,
            mpp=record.mpp,
            path=path,
            key=key,
        )
