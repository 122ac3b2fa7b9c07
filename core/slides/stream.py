"""Tiles with their pictures, streamed off a slide without touching the disk.

    with SlideReader("slide.svs") as slide:
        for tile in iter_tiles(slide, grid.places(), 224, 0.5):
            if tile.pixels is not None:
                embedder.embed_images([tile.pixels])

A block of the file is decoded once for all tiles that touch it, ahead of the reader and by several threads; where the slide is a TIFF of
JPEG tiles, OpenSlide is left out of it. The order of the tiles is that of the places, whatever the number of threads.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from eosin.errors import ConfigError, ImageError
from eosin.images import Pixels
from eosin.slides.blocks import Box, LevelBlocks, Promise
from eosin.slides.reader import SlideReader, missing_pixels
from eosin.slides.sampling import Sampling, sampling_of

# So many tiles are on their way at a time: enough that no thread waits, few enough to be small in memory; and so many are one job.
_AHEAD = 32
_A_RUN = 8
_Promised = list[tuple[int, int, Promise]]


@dataclass(frozen=True)
class TilePicture:
    """A tile: level-0 origin, and its pixels (uint8 [size, size, 3]) or why there are none."""

    x: int
    y: int
    pixels: Pixels | None
    error: ImageError | None = None


def iter_tiles(
    slide: SlideReader, places: Iterable[tuple[int, int]], size: int, mpp: float, *, threads: int = 2, direct: bool = True
) -> Iterator[TilePicture]:
    """The tiles at `places`, in that order.

    Args:
        slide: the slide.
        places: x, y of the tiles' top left corners at level 0; row by row is fastest. Tiles lie within the slide.
        size: side of a tile in pixels.
        mpp: microns per pixel of a tile.
        threads: that decode.
        direct: decode JPEG tiles without OpenSlide, where that gives the same pixels.

    Raises:
        ImageError: `no_mpp`.
        ConfigError: the slide is coarser than wanted, or no thread is allowed.
    """
    if threads < 1:
        raise ConfigError(f"threads is {threads}; at least 1 is needed")
    sampling = sampling_of(slide.levels, slide.mpp, size, mpp)
    with LevelBlocks(slide, sampling.level, threads, direct=direct) as blocks:
        waiting: deque[_Waiting] = deque()
        left, before = iter(places), list[_Waiting]()
        while run := list(itertools.islice(left, _A_RUN)):
            begun = _begun(blocks, sampling, run)
            # Threads take jobs in order: a run is resampled behind the next one's blocks, so that no thread waits for its own.
            waiting.extend(tile.begin_resampling() for tile in before)
            before = begun
            while len(waiting) > _AHEAD:
                yield waiting.popleft().picture()
        waiting.extend(before)
        while waiting:
            yield waiting.popleft().picture()


def _begun(blocks: LevelBlocks, sampling: Sampling, places: list[tuple[int, int]]) -> list[_Waiting]:
    """The tiles at `places`, their blocks asked for in one go."""
    across, down = blocks.block
    boxes = [sampling.cover(x, y) for x, y in places]
    wanted = [_blocks_of(box, blocks.block) for box in boxes]
    blocks.pass_rows(min(box[1] for box in boxes) // down)
    promises = iter(blocks.ask([place for touched in wanted for place in touched]))
    return [
        _Waiting(blocks, sampling, x, y, box, [(column * across, row * down, next(promises)) for column, row in touched])
        for (x, y), box, touched in zip(places, boxes, wanted, strict=True)
    ]


def _blocks_of(box: Box, block: tuple[int, int]) -> list[tuple[int, int]]:
    left, top, width, height = box
    across, down = block
    return [
        (column, row)
        for row in range(top // down, (top + height - 1) // down + 1)
        for column in range(left // across, (left + width - 1) // across + 1)
    ]


@dataclass(frozen=True)
class _Waiting:
    """A tile whose blocks are on their way."""

    blocks: LevelBlocks
    sampling: Sampling
    x: int
    y: int
    box: Box
    promised: _Promised
    resampled: Future[TilePicture] | None = None

    def begin_resampling(self) -> _Waiting:
        """Itself, or with its resampling handed to the threads."""
        if self.box[2] == self.box[3] == self.sampling.size:
            return self
        return dataclasses.replace(self, resampled=self.blocks.pool.submit(self.picture))

    def picture(self) -> TilePicture:
        """The tile, as soon as it is there."""
        if self.resampled is not None:
            return self.resampled.result()
        try:
            return TilePicture(self.x, self.y, self.sampling.fit(self._cover(), self.x, self.y, self.box))
        except ImageError as error:
            return TilePicture(self.x, self.y, None, error)

    def _cover(self) -> Pixels:
        left, top, width, height = self.box
        # Resampling runs on the threads of the blocks, which must not touch what is kept.
        if len(self.promised) == 1 and width == height == self.sampling.size and (alone := self._whole_block()) is not None:
            return alone
        out = np.empty((height, width, 3), np.uint8)
        for block_left, block_top, future in self.promised:
            block = future.result()
            x, y = max(left, block_left), max(top, block_top)
            inner = np.s_[y - block_top : top + height - block_top, x - block_left : left + width - block_left]
            if block.pixels is None or (block.broken is not None and block.broken[inner].any()):
                return self._alone()
            if block.missing is not None and block.missing[inner].any():
                raise missing_pixels(self.blocks.path.name, self.x, self.y)
            part = block.pixels[inner]
            out[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
        return out

    def _whole_block(self) -> Pixels | None:
        """The pixels of a tile that is one block of its own: nothing is to be copied where nobody else wants them."""
        left, top, future = self.promised[0]
        block = future.result()
        same = block.pixels is not None and (left, top, block.pixels.shape[1], block.pixels.shape[0]) == self.box
        whole = same and block.missing is None and block.broken is None
        return block.pixels if whole and self.blocks.give_up(left // self.blocks.block[0], top // self.blocks.block[1]) else None

    def _alone(self) -> Pixels:
        """OpenSlide says what is the matter with a tile whose blocks are broken."""
        pixels, missing = self.blocks.read(self.box)
        if missing is not None:
            raise missing_pixels(self.blocks.path.name, self.x, self.y)
        return pixels
