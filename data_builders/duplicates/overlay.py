"""Whether one image shows the other: grey pictures laid over each other in every orientation, at several sizes and every small shift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.numerics import Floats

SIDE = 48
_MARGIN = 6
_SIZES = (0.9, 0.95, 1.0, 1 / 0.95, 1 / 0.9)
# Copies cropped by 5 % reach 0.78 and more, unrelated tiles 0.64 at most (docs/audit.md).
LEAST_OVERLAP = 0.72


def overlap(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The best normalised cross-correlation of the centre of `other` with any place of `one` (Lewis 1995).

    Args:
        one: uint8 [48, 48].
        other: likewise, turned into eight orientations and five sizes.
    """
    ground = one.astype(np.float64) - one.mean()
    turned = [np.rot90(view, turns) for view in (other.astype(np.float64), other.T.astype(np.float64)) for turns in range(4)]
    inner = slice(_MARGIN, SIDE - _MARGIN)
    patches = np.stack([(zoom @ view @ zoom.T)[inner, inner] for zoom in _ZOOMS for view in turned])
    patches -= patches.mean((1, 2), keepdims=True)
    norms = np.sqrt((patches**2).sum((1, 2), keepdims=True))
    patches /= np.where(norms > 0, norms, 1)
    spectrum = np.fft.rfft2(ground) * np.conj(np.fft.rfft2(patches, (SIDE, SIDE)))
    shifts = 2 * _MARGIN + 1
    correlation = np.fft.irfft2(spectrum, (SIDE, SIDE))[:, :shifts, :shifts]
    return float((correlation / _spread(ground)).max())


def _spread(ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The root of the sum of squares about the mean, of each window the size of a patch."""
    side = SIDE - 2 * _MARGIN
    sums, squares = (_window_sums(values, side) for values in (ground, ground**2))
    # A flat window matches nothing: one grey level of spread is the least that divides.
    return np.sqrt(np.maximum(squares - sums**2 / side**2, float(side**2)))


def _window_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    table = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side])


def _zoom(size: float) -> Floats:
    """float32 [48, 48]: resamples the centre of this size to the whole, linearly; beyond the edge the edge goes on."""
    places = np.clip(((np.arange(SIDE) + 0.5) / SIDE - 0.5) * size * SIDE + SIDE / 2 - 0.5, 0, SIDE - 1)
    left = np.minimum(places.astype(int), SIDE - 2)
    weights = np.zeros((SIDE, SIDE), dtype=np.float32)
    weights[np.arange(SIDE), left] = 1 - (places - left)
    weights[np.arange(SIDE), left + 1] = places - left
    return weights


_ZOOMS = [_zoom(size) for size in _SIZES]
