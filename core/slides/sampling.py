"""From which level a tile of a wanted size and resolution is read, and how it is brought to that size."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from PIL import Image

from eosin.errors import ConfigError
from eosin.images import Pixels

# A level counts as of the wanted resolution when a whole tile is off by less than half a pixel.
_HALF_A_PIXEL = 0.5
_ON_A_PIXEL = 1e-3


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: its size in pixels, and how many pixels of level 0 one of its pixels spans."""

    width: int
    height: int
    downsample: float


@dataclass(frozen=True)
class Sampling:
    """How tiles of one slide are read.

    Attributes:
        level: the level read: the coarsest that still has all the detail.
        downsample: of it.
        bounds: its width and height.
        size: side of a tile in pixels of the result.
        side: the same in pixels of level 0, a whole number.
    """

    level: int
    downsample: float
    bounds: tuple[int, int]
    size: int
    side: int

    def cover(self, x: int, y: int) -> tuple[int, int, int, int]:
        """Left, top, width and height, in pixels of the level, of what holds the tile at `x`, `y` of level 0."""
        (left, right), (top, bottom) = (
            _span(start / self.downsample, (start + self.side) / self.downsample, bound)
            for start, bound in zip((x, y), self.bounds, strict=True)
        )
        return left, top, right - left, bottom - top

    def fit(self, pixels: Pixels, x: int, y: int, box: tuple[int, int, int, int]) -> Pixels:
        """The tile out of the pixels of its `cover`: cut where they match, else resampled to a fraction of a pixel: Hamming's window
        over the area of a pixel, which neither aliases nor rings at cell borders.

        Returns:
            uint8 [size, size, 3].
        """
        left, top, width, height = box
        if width == height == self.size:
            return pixels
        start_x, start_y = x / self.downsample - left, y / self.downsample - top
        side = self.side / self.downsample
        inner = (start_x, start_y, min(start_x + side, width), min(start_y + side, height))
        image = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.HAMMING, box=inner)
        return np.asarray(image)


def _span(start: float, stop: float, bound: int) -> tuple[int, int]:
    """Whole pixels that hold `start` to `stop`; rounded where the ends are whole but for rounding, or nearly a whole tile apart."""
    first = round(start) if abs(start - round(start)) < _ON_A_PIXEL else floor(start)
    last = round(stop) if abs(stop - round(stop)) < _ON_A_PIXEL else ceil(stop)
    last = min(last, bound)
    return max(min(first, last - 1), 0), last


def sampling_of(levels: tuple[Level, ...], level0_mpp: float, size: int, mpp: float) -> Sampling:
    """How to read tiles of `size` pixels at `mpp` microns each; level 0 is read as it is where the two differ by half a percent at most.

    Args:
        levels: of the slide.
        level0_mpp: microns per pixel of level 0.
        size: side of a tile in pixels.
        mpp: microns per pixel of a tile.

    Raises:
        ConfigError: the slide is coarser than wanted: no detail can be made up.
    """
    wanted = mpp / level0_mpp
    side = round(size * wanted)
    if side < size and size - side > max(_HALF_A_PIXEL, size * 0.02):
        raise ConfigError(f"tiles at {mpp} microns per pixel are wanted, but the slide has {level0_mpp:g}: ask for {level0_mpp:g} or more")
    if abs(side - size) <= max(_HALF_A_PIXEL, size * 0.005):
        # Scanners' nominal values: 0.499 for 0.5. Resampling by half a percent would only blur.
        side = size
    fitting = [number for number, level in enumerate(levels) if side / level.downsample >= size - _HALF_A_PIXEL]
    level = max(fitting, key=lambda number: (levels[number].downsample, -number), default=0)
    found = levels[level]
    return Sampling(level, found.downsample, (found.width, found.height), size, side)
