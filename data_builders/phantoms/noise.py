"""Random textures at the price of a copy: crops of periodic Gaussian fields that are made once a process.

The fields come from a fixed seed and a tile's own generator only picks the crop, so a tile stays a function of its seed
whatever was drawn before it.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

PERIOD = 512  # px; a power of two, so that wrapping a coordinate is one bitwise and


@functools.lru_cache(maxsize=48)
def periodic_field(along: float, across: float) -> FloatArray:
    """White noise smoothed by a Gaussian of `along` px in x and `across` px in y.

    Returns: float32 [PERIOD, PERIOD], mean 0, standard deviation 1, continuous across its borders; read-only.
    """
    rng = np.random.default_rng(np.random.SeedSequence([0xE051, round(along * 1000), round(across * 1000)]))
    white = rng.standard_normal((PERIOD, PERIOD), dtype=np.float32)
    wave_y = np.fft.fftfreq(PERIOD)[:, None] * across
    wave_x = np.fft.rfftfreq(PERIOD)[None, :] * along
    smooth = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-2 * np.pi**2 * (wave_x**2 + wave_y**2)), (PERIOD, PERIOD))
    field: FloatArray = ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)
    field.setflags(write=False)
    return field


def field(rng: np.random.Generator, size: int, sigma: float) -> FloatArray:
    """A random crop of isotropic noise. Returns: float32 [size, size], about mean 0 and standard deviation 1; read-only."""
    bank = periodic_field(_rounded(sigma), _rounded(sigma))
    row, column, turn = (int(number) for number in rng.integers(0, PERIOD, 3))
    if size <= PERIOD // 2:  # a view costs nothing, and half the field has room enough for different crops
        row, column = row % (PERIOD - size), column % (PERIOD - size)
        return _turned(bank[row : row + size, column : column + size], turn)
    rows = np.arange(row, row + size) & (PERIOD - 1)
    columns = np.arange(column, column + size) & (PERIOD - 1)
    return _turned(bank.take(rows, axis=0).take(columns, axis=1), turn)


def streaks(rng: np.random.Generator, u: FloatArray, v: FloatArray, along: float, across: float) -> FloatArray:
    """Noise stretched along `u`, read at the given coordinates.

    Args:
        u, v: float32 [h, w], coordinates in px along and across the fibres; any smooth warp of the plane will do.
        along, across: correlation lengths in px.

    Returns: float32 [h, w], about mean 0 and standard deviation 1.
    """
    bank = periodic_field(_rounded(along), _rounded(across)).ravel()
    shift_u, shift_v = (int(number) for number in rng.integers(PERIOD, 2 * PERIOD, 2))
    columns = (u + shift_u).astype(np.int32) & (PERIOD - 1)
    rows = (v + shift_v).astype(np.int32) & (PERIOD - 1)
    return bank.take(rows * PERIOD + columns)


def rotated_grid(size: int, angle: float) -> tuple[FloatArray, FloatArray]:
    """Coordinates along (`u`) and across (`v`) a direction. `angle` in radians, from the x axis downwards."""
    axis = np.arange(size, dtype=np.float32) - np.float32(size / 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = axis[None, :], axis[:, None]
    return x * cos + y * sin, y * cos - x * sin


def _turned(crop: FloatArray, turn: int) -> FloatArray:
    """One of eight mirrorings of a square."""
    if turn & 1:
        crop = crop[::-1]
    if turn & 2:
        crop = crop[:, ::-1]
    return crop.T if turn & 4 else crop


def _rounded(sigma: float) -> float:
    """Two significant digits, so that near lengths share a field."""
    return float(f"{max(sigma, 0.0):.2g}")
