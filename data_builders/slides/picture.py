"""The overview of a slide with its grid: green where a tile was kept, else the colour of the reason."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from eosin.images import Pixels
from eosin.records import Tile

KEPT = (20, 160, 60)
COLOURS: dict[str, tuple[int, int, int]] = {
    "no_tissue": (190, 190, 190),
    "background": (130, 130, 130),
    "pen": (30, 60, 220),
    "fold": (150, 40, 170),
    "blur": (240, 140, 20),
    "missing_pixels": (200, 0, 0),
    "unreadable_region": (120, 0, 0),
}
_ROW = 16


def draw_grid(overview: Pixels, downsample: float, tiles: Iterable[Tile], side: int) -> Pixels:
    """The overview with each tile's outline, and below it the legend with how many there are of each.

    Args:
        overview: uint8 [height, width, 3].
        downsample: pixels of level 0 that one of its pixels spans.
        tiles: of the slide; those without tissue are counted, not drawn.
        side: of a tile at level 0.

    Returns:
        uint8 [height + legend, width, 3].
    """
    image = Image.fromarray(overview)
    pen = ImageDraw.Draw(image)
    counts: dict[str, int] = {}
    refused: list[tuple[str, list[float]]] = []
    for tile in tiles:
        reason = "kept" if tile.kept else tile.reason or "kept"
        counts[reason] = counts.get(reason, 0) + 1
        left, top, right, bottom = (edge / downsample for edge in (tile.x, tile.y, tile.x + side, tile.y + side))
        box = [left, top, max(left, right - 1), max(top, bottom - 1)]
        if reason == "kept":
            pen.rectangle(box, outline=KEPT)
        elif reason != "no_tissue":
            refused.append((reason, box))
    # Later than the kept ones, whose lines would hide theirs.
    for reason, box in refused:
        pen.rectangle(box, outline=COLOURS.get(reason, KEPT), width=2)
    return np.concatenate([np.asarray(image), _legend(image.width, counts)])


def _legend(width: int, counts: dict[str, int]) -> Pixels:
    shown = [name for name in ("kept", *COLOURS) if name in counts]
    legend = Image.new("RGB", (width, _ROW * max(1, len(shown))), "white")
    pen = ImageDraw.Draw(legend)
    for row, name in enumerate(shown):
        pen.rectangle([3, row * _ROW + 3, 12, row * _ROW + 12], fill=COLOURS.get(name, KEPT))
        pen.text((18, row * _ROW + 2), f"{name.replace('_', ' ')}: {counts[name]}", fill="black")
    return np.asarray(legend)
