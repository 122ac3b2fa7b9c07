"""A slide's overview, read block by block: memory is that of the overview and a few blocks, also where the slide has a single level."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eosin.errors import ImageError
from eosin.images import Pixels
from eosin.slides.blocks import Block, LevelBlocks, Promise
from eosin.slides.reader import SlideReader

HELD, MISSING, BROKEN = 0, 1, 2
_AHEAD = 16
_A_RUN = 4


@dataclass(frozen=True)
class Overview:
    """A slide made small.

    Attributes:
        pixels: uint8 [height, width, 3].
        state: uint8 [height, width]: `HELD`, `MISSING` (a pixel is not in the file) or `BROKEN` (it does not decode).
        downsample: pixels of level 0 that one of its pixels spans.
        mpp: microns per pixel.
    """

    pixels: Pixels
    state: npt.NDArray[np.uint8]
    downsample: float
    mpp: float


def read_overview(slide: SlideReader, mpp: float = 8.0, longest: int = 2048, threads: int = 2) -> Overview:
    """Make it: means of squares of pixels of the coarsest level that is fine enough.

    Args:
        slide: the slide.
        mpp: microns per pixel, at least.
        longest: the longer side at most, in pixels.
        threads: that decode.

    Raises:
        ImageError: `no_mpp`; `unreadable_region` where nothing at all decodes.
    """
    wanted = max(mpp / slide.mpp, max(slide.size) / longest, 1.0)
    level = max((number for number, found in enumerate(slide.levels) if found.downsample <= wanted * 1.01), default=0)
    step = max(1, round(wanted / slide.levels[level].downsample + 0.49))
    with LevelBlocks(slide, level, threads) as blocks:
        width, height = (-(-side // step) for side in blocks.bounds)
        sums = np.zeros((height, width, 3), np.uint32)
        state = np.zeros((height, width), np.uint8)
        for left, top, block in _in_order(blocks):
            _add(sums, state, (left, top, step), block, blocks)
    if state.size and (state == BROKEN).all():
        raise ImageError("unreadable_region", f"{slide.path.name}: not one of its pixels decodes; fetch the file again")
    counts = np.outer(_counts(blocks.bounds[1], step), _counts(blocks.bounds[0], step))[..., None]
    pixels = ((sums + counts // 2) // counts).astype(np.uint8)
    # Where nothing was read there is nothing to see.
    pixels[state != HELD] = 255
    downsample = slide.levels[level].downsample * step
    return Overview(pixels, state, downsample, slide.mpp * downsample)


def _in_order(blocks: LevelBlocks) -> Iterator[tuple[int, int, Block]]:
    waiting: deque[tuple[tuple[int, int], Promise]] = deque()
    for row in range(blocks.rows):
        for start in range(0, blocks.columns, _A_RUN):
            places = [(column, row) for column in range(start, min(start + _A_RUN, blocks.columns))]
            waiting.extend(zip(places, blocks.ask(places), strict=True))
            while len(waiting) > _AHEAD:
                yield _block(blocks, *waiting.popleft())
    for place, promise in waiting:
        yield _block(blocks, place, promise)


def _block(blocks: LevelBlocks, place: tuple[int, int], promise: Promise) -> tuple[int, int, Block]:
    return place[0] * blocks.block[0], place[1] * blocks.block[1], promise.result()


def _add(
    sums: npt.NDArray[np.uint32], state: npt.NDArray[np.uint8], place: tuple[int, int, int], block: Block, blocks: LevelBlocks
) -> None:
    """Add a block's pixels to the squares they belong to; blocks need not begin where a square does."""
    left, top, step = place
    if block.pixels is None:
        width, height = (min(side, most - start) for side, most, start in zip(blocks.block, blocks.bounds, (left, top), strict=True))
        state[top // step : (top + height - 1) // step + 1, left // step : (left + width - 1) // step + 1] = BROKEN
        return
    height, width = block.pixels.shape[:2]
    rows, columns = _edges(top, height, step), _edges(left, width, step)
    inner = np.s_[top // step : top // step + len(rows), left // step : left // step + len(columns)]
    tall = np.add.reduceat(block.pixels, rows, axis=0, dtype=np.uint32)
    sums[inner] += np.add.reduceat(tall, columns, axis=1)
    for mask, name in ((block.missing, MISSING), (block.broken, BROKEN)):
        if mask is not None:
            gone = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)
            state[inner][gone & (state[inner] == HELD)] = name


def _edges(start: int, length: int, step: int) -> list[int]:
    """Where, within a run of pixels that begins at `start`, each square begins."""
    first = (start // step + 1) * step - start
    return [0, *range(first, length, step)]


def _counts(length: int, step: int) -> npt.NDArray[np.uint32]:
    """How many pixels each square has along one side."""
    starts = np.arange(0, length, step)
    counts: npt.NDArray[np.uint32] = np.minimum(step, length - starts).astype(np.uint32)
    return counts
