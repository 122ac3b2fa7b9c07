"""A level as blocks, decoded ahead by threads and kept for as long as neighbours may want them, in bounded memory.

Decoders let go of Python's lock, so that threads share the cores of one process; each thread has an OpenSlide handle of its own.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from eosin.errors import ImageError
from eosin.images import Pixels
from eosin.slides.jpeg_tiles import JpegLevel, jpeg_level
from eosin.slides.reader import Mask, SlideReader

# Enough for two rows of tiles of a slide that is 160,000 pixels wide.
CACHE_BYTES = 256 * 2**20
# OpenSlide pays for every call, and for tiles that straddle two reads: blocks of about so many pixels a side keep both small.
_SIDE = 512
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Block:
    """A block.

    Attributes:
        pixels: uint8 [height, width, 3], or None where nothing of it can be read.
        missing: bool [height, width], true where the file has no pixels; None where it has all.
        broken: the same for pixels that do not decode.
    """

    pixels: Pixels | None
    missing: Mask | None = None
    broken: Mask | None = None


@dataclass(frozen=True)
class Promise:
    """A block that a thread is at work on, as one of several."""

    run: Future[list[Block]]
    place: int

    def result(self) -> Block:
        """The block, as soon as its run is done."""
        return self.run.result()[self.place]


@dataclass
class _Kept:
    """A block and how often it was asked for."""

    block: Promise
    asked: int = 0


class LevelBlocks:
    """The blocks of one level; a context manager.

    Args:
        slide: the slide; its file is opened again for every thread.
        level: number of the level.
        threads: that decode.
        direct: decode JPEG tiles without OpenSlide, where that gives the same pixels.

    Attributes:
        bounds: width and height of the level.
        block: width and height of a block; the last ones of a row or column are smaller.
    """

    def __init__(self, slide: SlideReader, level: int, threads: int = 2, *, direct: bool = True) -> None:
        self.level = level
        self.bounds = (slide.levels[level].width, slide.levels[level].height)
        self._path, self._mpp = slide.path, slide.mpp_override
        self._jpeg: JpegLevel | None = jpeg_level(slide, level) if direct else None
        self._tile = self._jpeg.tile if self._jpeg else (_tile_side(slide, level, "width"), _tile_side(slide, level, "height"))
        self.block = self._jpeg.tile if self._jpeg else (_several(self._tile[0]), _several(self._tile[1]))
        self._own = threading.local()
        self._readers: list[SlideReader] = []
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()
        self._top = 0
        self._most = max(16, CACHE_BYTES // (3 * self.block[0] * self.block[1]))
        self._file = os.open(self._path, os.O_RDONLY) if self._jpeg else -1
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="slide")

    def __enter__(self) -> LevelBlocks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.pool.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()
        if self._file >= 0:
            os.close(self._file)

    @property
    def path(self) -> Path:
        """Of the slide."""
        return self._path

    @property
    def columns(self) -> int:
        """Blocks in a row."""
        return -(-self.bounds[0] // self.block[0])

    @property
    def rows(self) -> int:
        """Blocks in a column."""
        return -(-self.bounds[1] // self.block[1])

    def ask(self, places: Sequence[tuple[int, int]]) -> list[Promise]:
        """The blocks at these columns and rows, or their promises; from one thread only. Those that are not there yet are one job: to hand
        out each on its own would cost as much as a fifth of its decoding."""
        new = [place for place in dict.fromkeys(places) if place not in self._kept]
        if new:
            run = self.pool.submit(self._load_all, new)
            self._kept.update((place, _Kept(Promise(run, number))) for number, place in enumerate(new))
        found = []
        for place in places:
            kept = self._kept[place]
            kept.asked += 1
            found.append(kept.block)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found

    def pass_rows(self, top: int) -> None:
        """Let go of the blocks above row `top`: who reads row by row does not come back. Pages that are used again cost less, too."""
        if top > self._top:
            for place in [place for place in self._kept if place[1] < top]:
                del self._kept[place]
        self._top = top

    def give_up(self, column: int, row: int) -> bool:
        """Let go of a block that was asked for once only; whether its pixels now belong to who asked."""
        kept = self._kept.get((column, row))
        if kept is None or kept.asked > 1:
            return False
        del self._kept[column, row]
        return True

    def read(self, box: Box) -> tuple[Pixels, Mask | None]:
        """Exactly this part of the level, past all blocks.

        Raises:
            ImageError: `unreadable_region`.
        """
        return self._reader().read_level(self.level, box)

    def _load_all(self, places: list[tuple[int, int]]) -> list[Block]:
        return [self._load(*place) for place in places]

    def _load(self, column: int, row: int) -> Block:
        if self._jpeg:
            try:
                return Block(self._jpeg.decode(self._file, column, row))
            except ImageError:
                # OpenSlide decides what becomes of it, as it does for all other formats.
                pass
        left, top = column * self.block[0], row * self.block[1]
        box = (left, top, min(self.block[0], self.bounds[0] - left), min(self.block[1], self.bounds[1] - top))
        try:
            return Block(*self.read(box))
        except ImageError:
            return self._in_pieces(box)

    def _in_pieces(self, box: Box) -> Block:
        """A block that does not decode as a whole, tile of the file by tile."""
        left, top, width, height = box
        pixels = np.full((height, width, 3), 255, np.uint8)
        missing, broken = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
        for y in range(0, height, self._tile[1]):
            for x in range(0, width, self._tile[0]):
                part = (left + x, top + y, min(self._tile[0], width - x), min(self._tile[1], height - y))
                inner = np.s_[y : y + part[3], x : x + part[2]]
                try:
                    pixels[inner], gone = self.read(part)
                except ImageError:
                    broken[inner] = True
                else:
                    missing[inner] = False if gone is None else gone
        return Block(None if broken.all() else pixels, missing if missing.any() else None, broken)

    def _reader(self) -> SlideReader:
        reader: SlideReader | None = getattr(self._own, "reader", None)
        if reader is None:
            reader = self._own.reader = SlideReader(self._path, self._mpp)
            self._readers.append(reader)
        return reader


def _tile_side(slide: SlideReader, level: int, name: str) -> int:
    """Side of the file's own tiles, as far as they are told and of a common size."""
    text = slide.properties.get(f"openslide.level[{level}].tile-{name}", "")
    side = int(text) if text.isdigit() else 0
    return side if 16 <= side <= 2 * _SIDE else _SIDE


def _several(side: int) -> int:
    """Whole tiles of the file, about `_SIDE` pixels."""
    return side * max(1, _SIDE // side)
