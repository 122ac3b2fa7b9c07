"""A tiled pyramidal TIFF written from top to bottom, never holding more than a few rows of tiles of pixels.

The container is written here because the TIFF libraries either want the whole image or bring 80 MB of codecs along.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import simplejpeg

from eosin.errors import InputError

ImageArray = npt.NDArray[np.uint8]

TILE_PX = 256
STEP = 4  # each level is four times smaller than the one before
SMALLEST_PX = 1024  # no further level below this


@dataclasses.dataclass
class Level:
    """One level on its way: rows come in, JPEG tiles go out, rows at a quarter of the size go on.

    `height` is what will have come in when all is done; `encoded` collects the tiles of this level.
    """

    width: int
    height: int
    quality: int
    below: Level | None
    encoded: list[bytes] = dataclasses.field(default_factory=list)
    waiting: ImageArray | None = None
    to_shrink: ImageArray | None = None

    def push(self, rows: ImageArray) -> None:
        """Take uint8 [n, width, 3] rows, in order."""
        self.waiting = _joined(self.waiting, rows)
        while len(self.waiting) >= TILE_PX:
            self._encode(self.waiting[:TILE_PX])
            self.waiting = self.waiting[TILE_PX:]
        if self.below is not None:
            self.to_shrink = _joined(self.to_shrink, rows)
            whole = len(self.to_shrink) // STEP * STEP
            if whole:
                self.below.push(shrunk(self.to_shrink[:whole], self.below.width))
                self.to_shrink = self.to_shrink[whole:]

    def finish(self) -> None:
        """Encode what is left, filled up with white, here and below."""
        if self.waiting is not None and len(self.waiting):
            self._encode(self.waiting)
            self.waiting = None
        if self.below is not None:
            self.below.finish()

    def take(self) -> list[bytes]:
        """The tiles encoded since the last call."""
        done, self.encoded = self.encoded, []
        return done

    def _encode(self, rows: ImageArray) -> None:
        for left in range(0, self.width, TILE_PX):
            tile = np.full((TILE_PX, TILE_PX, 3), 255, dtype=np.uint8)
            part = rows[:, left : left + TILE_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            self.encoded.append(simplejpeg.encode_jpeg(tile, quality=self.quality, colorspace="RGB", colorsubsampling="420"))


def _joined(first: ImageArray | None, second: ImageArray) -> ImageArray:
    return second if first is None or len(first) == 0 else np.concatenate([first, second])


def shrunk(rows: ImageArray, width: int) -> ImageArray:
    """Means of blocks of STEP by STEP px. `rows` [n * STEP, w, 3]; returns uint8 [n, width, 3]."""
    blocks = rows[:, : width * STEP].reshape(len(rows) // STEP, STEP, width, STEP, 3)
    means: ImageArray = (blocks.mean(axis=(1, 3), dtype=np.float32) + 0.5).astype(np.uint8)
    return means


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of every level, the largest first."""
    sizes = [(width, height)]
    while max(sizes[-1]) > SMALLEST_PX and min(sizes[-1]) >= STEP:
        sizes.append((sizes[-1][0] // STEP, sizes[-1][1] // STEP))
    return sizes


def write_pyramid(path: Path, size: tuple[int, int], mpp: float, bands: Iterator[ImageArray], quality: int = 85) -> list[tuple[int, int]]:
    """Write a TIFF that OpenSlide opens as `generic-tiff`, with micrometres per pixel in its resolution tags.

    Args:
        size: width and height in px.
        bands: uint8 [n, width, 3] each, from top to bottom, `height` rows in all.

    Returns: width and height of every level.

    Raises:
        InputError: the file would pass the 4 GiB that TIFF's offsets can address.
    """
    sizes = level_sizes(*size)
    levels: list[Level] = []
    for width, height in reversed(sizes):
        levels.insert(0, Level(width, height, quality, levels[0] if levels else None))
    with path.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        places = [_append(file, _tiles(levels[0], bands))]
        places += [_append(file, iter(level.take())) for level in levels[1:]]
        where_the_last_points = 4
        for index, (level, (offsets, lengths)) in enumerate(zip(levels, places, strict=True)):
            start = file.seek(0, 2)
            directory, next_field = _directory(start, index > 0, level, mpp * size[0] / level.width, offsets, lengths)
            file.write(directory)
            _check_offset(file.tell())
            file.seek(where_the_last_points)
            file.write(struct.pack("<I", start))
            where_the_last_points = next_field
    return sizes


def _tiles(level: Level, bands: Iterator[ImageArray]) -> Iterator[bytes]:
    """The tiles of the largest level; the smaller levels fill up on the way."""
    for band in bands:
        level.push(band)
        yield from level.take()
    level.finish()
    yield from level.take()


def _append(file: BinaryIO, tiles: Iterator[bytes]) -> tuple[list[int], list[int]]:
    """Write the tiles one after another. Returns their offsets and lengths."""
    offsets, lengths = [], []
    for tile in tiles:
        offsets.append(file.tell())
        lengths.append(len(tile))
        _check_offset(offsets[-1] + len(tile))
        file.write(tile + b"\0" * (len(tile) % 2))
    return offsets, lengths


def _check_offset(offset: int) -> None:
    if offset >= 2**32 - 2:
        raise InputError("the slide grows past 4 GiB, the most a TIFF can hold; make it smaller or lower the quality")


def _directory(start: int, reduced: bool, level: Level, mpp: float, offsets: list[int], lengths: list[int]) -> tuple[bytes, int]:
    """One image file directory (TIFF 6.0, section 2) and the place of its pointer to the next one.

    JPEG in TIFF follows Technical Note 2: every tile is a whole JPEG stream, YCbCr with halved chroma.
    """
    per_centimetre = round(10_000 / mpp * 1000)
    fields: list[tuple[int, str, list[int]]] = [
        (254, "I", [int(reduced)]),
        (256, "I", [level.width]),
        (257, "I", [level.height]),
        (258, "H", [8, 8, 8]),
        (259, "H", [7]),
        (262, "H", [6]),
        (277, "H", [3]),
        (282, "R", [per_centimetre, 1000]),
        (283, "R", [per_centimetre, 1000]),
        (284, "H", [1]),
        (296, "H", [3]),
        (322, "I", [TILE_PX]),
        (323, "I", [TILE_PX]),
        (324, "I", offsets),
        (325, "I", lengths),
        (530, "H", [2, 2]),
    ]
    next_field = start + 2 + 12 * len(fields)
    entries, extra = struct.pack("<H", len(fields)), b""
    for tag, kind, values in fields:
        number, count = {"H": (3, len(values)), "I": (4, len(values)), "R": (5, 1)}[kind]
        packed = struct.pack(f"<{len(values)}{'I' if kind == 'R' else kind}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", next_field + 4 + len(extra)), extra + packed + b"\0" * (len(packed) % 4)
        entries += struct.pack("<HHI", tag, number, count) + packed.ljust(4, b"\0")
    return entries + struct.pack("<I", 0) + extra, next_field
