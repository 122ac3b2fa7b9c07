"""A perceptual hash of 256 bits that flips and quarter turns permute exactly, of an image and of six windows of it.

As in pHash and PDQ (Facebook 2019) a hash holds the signs of the lowest frequencies of the cosine transform of a grey picture of 64 x 64.
Two things differ. The picture is a plain area average, so that a flip changes the sign of odd frequencies and nothing else: the eight
orientations of a hash are worked out from its bits, and a flipped copy is 0 bits away (PDQ's own dihedral hashes: 28, measured on histology
tiles). And each image has seven hashes: of the whole, of its centre with 2.5 % and 5 % cut off each side, and of the four corners at
95 %: a copy cropped by 5 % is within `RADIUS` of one of them, where the distance of plain hashes reaches that of unrelated tiles.

The spectrum finds candidates: magnitudes of the low Fourier frequencies under a Hann window hardly change when the picture is shifted,
and the magnitudes that an orientation permutes are sorted: one vector for all orientations and small crops.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.images import Pixels
from eosin.numerics import Floats

SIDE = 64
FREQUENCIES = 16
WORDS = FREQUENCIES * FREQUENCIES // 64
# (x, y, side) of each window, as shares of the image; the set is closed under flips and quarter turns.
WINDOWS = (
    (0.0, 0.0, 1.0),
    (0.025, 0.025, 0.95),
    (0.0, 0.0, 0.95),
    (0.05, 0.0, 0.95),
    (0.0, 0.05, 0.95),
    (0.05, 0.05, 0.95),
    (0.05, 0.05, 0.9),
)
_WHOLE, _INNER = WINDOWS[0], WINDOWS[-1]
# Copies cropped by 5 % anywhere stay within 62 bits, unrelated tiles differ by 76 and more (docs/audit.md).
RADIUS = 64
# A picture whose grey values have a smaller standard deviation shows nothing that a hash could hold: all blank tiles would be one cluster.
BLANK_BELOW = 2.5
_HIGHEST = 8.0

Bits = NDArray[np.uint64]


@dataclass(frozen=True)
class ImagePrint:
    """Of images as grey pictures.

    Attributes:
        signs: uint64 [n, windows, 4].
        spectra: float32 [n, 2, d], unit rows: of the whole image and of its centre at 90 %.
        blank: bool [n]; what the other two say of such an image means nothing.
    """

    signs: Bits
    spectra: Floats
    blank: NDArray[np.bool_]


def grey_picture(pixels: Pixels, side: int = SIDE) -> NDArray[np.uint8]:
    """An image, uint8 [height, width, 3], as a grey square uint8 [side, side]; each pixel is the mean of the area it covers."""
    return np.asarray(Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BOX))


def image_print(pictures: NDArray[np.uint8]) -> ImagePrint:
    """Hashes and spectra of grey pictures, [n, 64, 64] (`uint8`, or floats of the same range)."""
    values = np.asarray(pictures, dtype=np.float32)
    values = values - values.mean((1, 2), keepdims=True)
    signs = np.empty((len(values), len(WINDOWS), WORDS), dtype=np.uint64)
    for number, (x, y, share) in enumerate(WINDOWS):
        transformed = _cosines(y, share) @ values @ _cosines(x, share).T
        signs[:, number] = _packed(transformed > 0)
    spectra = np.stack([_spectrum(values), _spectrum(_INNER_ROWS @ values @ _INNER_ROWS.T)], axis=1)
    return ImagePrint(signs, spectra, values.std((1, 2)) < BLANK_BELOW)


def _packed(bits: NDArray[np.bool_]) -> Bits:
    """bool [n, 16, 16] by row and column as uint64 [n, 4]: a word each for odd and even rows by odd and even columns."""
    side = FREQUENCIES // 2
    sorted_bits = bits.reshape(len(bits), side, 2, side, 2).transpose(0, 2, 4, 1, 3)
    return np.packbits(sorted_bits.reshape(len(bits), -1), axis=1).view(np.uint64)


@functools.lru_cache(maxsize=64)
def _cosines(start: float, share: float) -> Floats:
    """float32 [16, 64]: the frequencies 1 to 16 over the window, each pixel by the share of it that lies inside."""
    edges = np.arange(SIDE + 1) / SIDE
    low, high = np.clip(edges[:-1], start, start + share), np.clip(edges[1:], start, start + share)
    places = ((low + high) / 2 - start) / share
    return np.asarray((high - low) * np.cos(np.pi * np.outer(np.arange(1, FREQUENCIES + 1), places)), dtype=np.float32)


def _zoom(share: float) -> Floats:
    """float32 [64, 64]: resamples the centre of this share to the whole, linearly."""
    places = np.clip(((np.arange(SIDE) + 0.5) / SIDE - 0.5) * share * SIDE + SIDE / 2 - 0.5, 0, SIDE - 1)
    left = np.minimum(places.astype(int), SIDE - 2)
    weights = np.zeros((SIDE, SIDE), dtype=np.float32)
    weights[np.arange(SIDE), left] = 1 - (places - left)
    weights[np.arange(SIDE), left + 1] = places - left
    return weights


_INNER_ROWS = _zoom(_INNER[2])
_HANN = np.outer(np.hanning(SIDE + 2)[1:-1], np.hanning(SIDE + 2)[1:-1]).astype(np.float32)


def _orbits() -> list[tuple[NDArray[np.intp], NDArray[np.intp], float]]:
    """(rows, columns, weight) of the Fourier magnitudes that the orientations permute among each other; the weight whitens tissue."""
    found = []
    for u in range(int(_HIGHEST) + 1):
        for v in range(u, int(_HIGHEST) + 1):
            radius = float(np.hypot(u, v))
            if 1.5 < radius <= _HIGHEST:
                places = [(u, v), (-u % SIDE, v)] + ([(v, u), (-v % SIDE, u)] if u != v else [])
                rows, columns = np.array(places).T
                found.append((rows, columns, radius**0.8))
    return found


_ORBITS = _orbits()
SPECTRUM = sum(len(rows) for rows, _, _ in _ORBITS)


def _spectrum(values: Floats) -> Floats:
    """float32 [n, d] of zero-mean pictures: square roots of magnitudes, their mean taken off, unit rows."""
    centred = values - (values * _HANN).sum((1, 2), keepdims=True) / _HANN.sum()
    magnitudes = np.abs(np.fft.fft(np.fft.rfft(centred * _HANN, axis=2)[:, :, : int(_HIGHEST) + 1], axis=1))
    parts = [np.sort(magnitudes[:, rows, columns], axis=1) * weight for rows, columns, weight in _ORBITS]
    roots = np.sqrt(np.concatenate(parts, axis=1))
    roots -= roots.mean(1, keepdims=True)
    norms = np.linalg.norm(roots, axis=1, keepdims=True)
    return np.asarray(roots / np.where(norms > 0, norms, 1), dtype=np.float32)


def transposed(signs: Bits) -> Bits:
    """Hashes [..., 4] of the transposed images."""
    bits = np.unpackbits(np.ascontiguousarray(signs[..., [0, 2, 1, 3]]).view(np.uint8), axis=-1)
    side = FREQUENCIES // 2
    turned = bits.reshape(*signs.shape, side, side).swapaxes(-1, -2).reshape(bits.shape)
    return np.packbits(np.ascontiguousarray(turned), axis=-1).view(np.uint64)


def distances(left: Bits, right: Bits) -> NDArray[np.uint16]:
    """The smallest Hamming distance over the eight orientations, and over the windows of either image against the whole of the other.

    A flip turns round every bit of two words of a hash: the distance in such a word becomes 64 less itself.

    Args:
        left: uint64 [n, windows, 4].
        right: likewise; pair by pair.

    Returns:
        uint16 [n].
    """
    found = np.full(len(left), 256, dtype=np.uint16)
    for one, other in ((left, right), (right, left)):
        for whole in (one[:, :1], transposed(one[:, :1])):
            both_odd, down, across, even = np.moveaxis(np.bitwise_count(other ^ whole).astype(np.int16), -1, 0)
            straight, crossed = across + down, across - down
            turned = np.minimum(both_odd + np.minimum(straight, 128 - straight), 64 - both_odd + 64 - np.abs(crossed))
            np.minimum(found, (turned + even).min(1).astype(np.uint16), out=found)
    return found
