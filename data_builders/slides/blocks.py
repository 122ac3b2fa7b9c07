"""A level as blocks, decoded ahead by threads and kept for as long as neighbours may want them, in bounded memory.

Decoders let go of Python's lock, so that threads share the cores of one process; each thread has an OpenSlide handle of its own.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from eosin.data_builders.slides.jpeg_tiles import JpegLevel, jpeg_levels
from eosin.data_builders.slides.reader import Mask, SlideReader
from eosin.errors import ImageError
from eosin.images import Pixels

# Enough for two rows of tiles of a slide that is 160,000 pixels wide.
CACHE_BYTES = 256 * 2**20
# OpenSlide pays for every call, and for tiles that straddle two reads: blocks of about so many pixels a side keep both small.
_SIDE = 512
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Block:
    """A block: uint8 [height, width, 3] and where pixels are missing; or why it cannot be read."""

    pixels: Pixels | None
    missing: Mask | None = None
    error: ImageError | None = None


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
        self._jpeg: JpegLevel | None = jpeg_levels(slide).get(level) if direct else None
        self.block = self._jpeg.tile if self._jpeg else _block_of(slide, level)
        self._own = threading.local()
        self._readers: list[SlideReader] = []
        self._kept: OrderedDict[tuple[int, int], Future[Block]] = OrderedDict()
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

    def ask(self, column: int, row: int) -> Future[Block]:
        """The block, or its promise; from one thread only."""
        place = (column, row)
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        future = self._kept[place] = self.pool.submit(self._load, column, row)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return future

    def read(self, box: Box) -> tuple[Pixels, Mask | None]:
        """Exactly this part of the level, past all blocks.

        Raises:
            ImageError: `unreadable_region`.
        """
        return self._reader().read_level(self.level, box)

    def _load(self, column: int, row: int) -> Block:
        if self._jpeg:
            try:
                return Block(self._jpeg.decode(self._file, column, row))
            except ImageError:
                # OpenSlide decides what becomes of it, as it does for all other formats.
                pass
        left, top = column * self.block[0], row * self.block[1]
        try:
            return Block(*self.read((left, top, min(self.block[0], self.bounds[0] - left), min(self.block[1], self.bounds[1] - top))))
        except ImageError as error:
            return Block(None, error=error)

    def _reader(self) -> SlideReader:
        reader: SlideReader | None = getattr(self._own, "reader", None)
        if reader is None:
            reader = self._own.reader = SlideReader(self._path, self._mpp)
            self._readers.append(reader)
        return reader


def _block_of(slide: SlideReader, level: int) -> tuple[int, int]:
    """Whole tiles of the file, about `_SIDE` pixels a side."""
    return _side(slide, level, "width"), _side(slide, level, "height")


def _side(slide: SlideReader, level: int, name: str) -> int:
    text = slide.properties.get(f"openslide.level[{level}].tile-{name}", "")
    tile = int(text) if text.isdigit() else 0
    return tile * max(1, _SIDE // tile) if 0 < tile <= 2 * _SIDE else _SIDE
