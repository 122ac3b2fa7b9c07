"""The tile grid of a slide: whole level-0 coordinates at a wanted resolution, size and overlap.

Tiles are squares of `side` pixels of level 0. Their left edges are at round(k * stride), with the stride a fraction of a pixel where the
resolutions do not divide: rounding each edge by itself keeps the grid from drifting. No tile reaches beyond the slide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from eosin.errors import ConfigError

Edge = Literal["drop", "shift"]


@dataclass(frozen=True)
class Grid:
    """The tiles of one slide.

    Attributes:
        width: of the slide at level 0.
        height: of the slide at level 0.
        side: of a tile at level 0.
        stride: from tile to tile at level 0.
        edge: what becomes of the rest at the right and lower edge: `drop` leaves it out, `shift` adds a last tile moved inwards.
    """

    width: int
    height: int
    side: int
    stride: float
    edge: Edge = "drop"

    @staticmethod
    def of(bounds: tuple[int, int], side: int, overlap: float, edge: Edge = "drop") -> Grid:
        """A grid whose neighbours share `overlap` (a fraction from 0 to below 1) of their side.

        Raises:
            ConfigError: overlap out of range.
        """
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap is {overlap}; a share of the tile's side is wanted, 0 to below 1")
        return Grid(*bounds, side, max(1.0, side * (1 - overlap)), edge)

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return len(self._lefts)

    @property
    def rows(self) -> int:
        """Tiles in a column; 0 where the slide is smaller than a tile."""
        return len(self._tops)

    def row(self, number: int) -> Iterator[tuple[int, int]]:
        """x, y of each tile of a row, from left to right."""
        y = self._tops[number]
        for x in self._lefts:
            yield x, y

    def places(self) -> Iterator[tuple[int, int]]:
        """x, y of all tiles, row by row."""
        for number in range(self.rows):
            yield from self.row(number)

    @cached_property
    def _lefts(self) -> list[int]:
        return self._starts(self.width)

    @cached_property
    def _tops(self) -> list[int]:
        return self._starts(self.height)

    def _starts(self, length: int) -> list[int]:
        if length < self.side:
            return []
        count = int((length - self.side) // self.stride) + 1
        starts = [start for number in range(count + 1) if (start := round(number * self.stride)) <= length - self.side]
        if self.edge == "shift" and starts[-1] < length - self.side:
            starts.append(length - self.side)
        return starts
