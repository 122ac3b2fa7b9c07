"""Cutting a training image's random crop and bringing it to the model's size, in bytes; one image at a time, from several threads.

torch resamples bytes with the processor's vector units and with Pillow's filters (it smooths what it makes smaller), several times faster
than sampling floats at an affine grid. Imports torch inside functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats64 = NDArray[np.float64]


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Bicubic, smoothed where it becomes smaller.

    Args:
        pixels: uint8 [h, w, 3].
        height: of the output.
        width: likewise.

    Returns:
        uint8 [3, height, width].
    """
    import torch
    from torch.nn import functional as F

    source = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if source.shape[2:] == (height, width):
        return np.ascontiguousarray(source[0].numpy())
    with torch.inference_mode():
        small: Pixels = F.interpolate(source, size=(height, width), mode="bicubic", antialias=True)[0].numpy()
    return small


def crop(pixels: Pixels, affine: Floats64, size: int, out: Pixels) -> None:
    """Write what `affine` sees of an image to `out`.

    Args:
        pixels: uint8 [height, width, 3].
        affine: [2, 3], from the output's coordinates in [-1, 1], x before y, to the image's: a flip or quarter turn, scaled along the
            axes, and a shift. Edges go to the nearest whole pixel.
        size: side of the output.
        out: uint8 [3, size, size].
    """
    height, width = pixels.shape[:2]
    turn, centre = affine[:, :2], affine[:, 2]
    half = np.abs(turn).sum(axis=1)
    left, right = _span(centre[0], half[0], width)
    top, bottom = _span(centre[1], half[1], height)
    small = resized(pixels[top:bottom, left:right], size, size)
    # Whichever of the output's axes an axis of the image follows, its sign says in which direction.
    across, down = turn.sum(axis=1) < 0
    small = small[:, :: -1 if down else 1, :: -1 if across else 1]
    out[...] = small.swapaxes(1, 2) if turn[0, 0] == 0 else small


def _span(centre: float, half: float, length: int) -> tuple[int, int]:
    """First pixel and the one behind the last, one at least."""
    start = min(length - 1, max(0, round((centre - half + 1) / 2 * length)))
    return start, max(start + 1, min(length, round((centre + half + 1) / 2 * length)))
