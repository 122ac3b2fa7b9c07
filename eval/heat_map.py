"""A slide's tiles coloured by their scores over its overview."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.images import Pixels

# From low to high: blue, pale yellow, red.
_LEVELS = np.array([[49, 54, 149], [116, 173, 209], [255, 255, 191], [244, 109, 67], [165, 0, 38]], dtype=np.float64)
_OPACITY = 0.55


def heat_map(
    places: NDArray[np.float64], values: NDArray[np.float64], overview: Pixels | None, extent: tuple[float, float], side: int
) -> Pixels:
    """The picture, uint8 [height, width, 3].

    Args:
        places: x, y and size of each tile at level 0 [tiles, 3].
        values: of each tile; the 1st and 99th percentile get the ends of the colours.
        overview: of the whole slide; None for a white one.
        extent: width and height of the slide at level 0.
        side: the longer side of the picture in pixels.
    """
    scale = side / max(extent)
    width, height = (max(1, round(length * scale)) for length in extent)
    sums, counts = np.zeros((height, width)), np.zeros((height, width))
    for (x, y, size), value in zip(places, values, strict=True):
        rows = slice(int(y * scale), max(int(y * scale) + 1, round((y + size) * scale)))
        columns = slice(int(x * scale), max(int(x * scale) + 1, round((x + size) * scale)))
        sums[rows, columns] += value
        counts[rows, columns] += 1
    base = np.full((height, width, 3), 255.0)
    if overview is not None:
        base = np.asarray(Image.fromarray(overview).resize((width, height), Image.Resampling.BOX), dtype=np.float64)
    covered = counts > 0
    base[covered] = (1 - _OPACITY) * base[covered] + _OPACITY * _colours(sums[covered] / counts[covered], values)
    return np.asarray(np.rint(base), dtype=np.uint8)


def _colours(values: NDArray[np.float64], all_values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.quantile(all_values, [0.01, 0.99])
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(len(values), 0.5)
    stops = np.linspace(0, 1, len(_LEVELS))
    return np.stack([np.interp(share, stops, channel) for channel in _LEVELS.T], axis=1)
