"""Outlines and positions of drawn things, in px, as arrays: many at once, none drawn here."""

from __future__ import annotations

import numpy as np

from eosin.data_builders.phantoms.noise import FloatArray


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """One number, uniform in [low, high)."""
    return float(rng.uniform(low, high))


def blobs(
    rng: np.random.Generator,
    half_axes: FloatArray,
    angles: FloatArray,
    roughness: float,
    points: int = 14,
    blunt: float = 1.0,
) -> FloatArray:
    """Rounded outlines around the origin.

    Args:
        half_axes: float32 [n, 2], half length and half width in px.
        angles: float32 [n], direction of the length in radians.
        roughness: size of the random lobes, as a share of the radius.
        blunt: 1 gives ellipses, less gives blunt ends (cigars), more gives pointed ends (spindles).

    Returns: float32 [n, points, 2], x and y.
    """
    count = len(half_axes)
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False, dtype=np.float32)
    cos, sin = np.cos(turn), np.sin(turn)
    radius = np.ones((count, points), dtype=np.float32)
    for lobes in (2, 3, 5):
        phase = rng.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)
        size = (rng.standard_normal((count, 1)) * roughness / np.sqrt(lobes)).astype(np.float32)
        radius += size * np.cos(lobes * turn[None, :] + phase)
    np.clip(radius, 0.45, 1.7, out=radius)
    x = np.sign(cos) * np.abs(cos) ** min(blunt, 1.0)
    y = np.sign(sin) * np.abs(sin) ** blunt
    along = radius * x[None, :] * half_axes[:, :1]
    across = radius * y[None, :] * half_axes[:, 1:]
    cos_a, sin_a = np.cos(angles)[:, None], np.sin(angles)[:, None]
    outlines = np.empty((count, points, 2), dtype=np.float32)
    outlines[..., 0] = along * cos_a - across * sin_a
    outlines[..., 1] = along * sin_a + across * cos_a
    return outlines


def blob(rng: np.random.Generator, centre: FloatArray, half_axes: tuple[float, float], roughness: float) -> FloatArray:
    """One larger outline of 40 points in a random direction. Returns: float32 [40, 2]."""
    axes = np.asarray([half_axes], dtype=np.float32)
    angle = rng.uniform(0, np.pi, 1).astype(np.float32)
    outline: FloatArray = blobs(rng, axes, angle, roughness, points=40)[0] + centre
    return outline


def scattered(rng: np.random.Generator, size: float, spacing: float, jitter: float, margin: float = 0.0) -> FloatArray:
    """Points on a shaken hexagonal lattice that covers [-margin, size + margin] in x and y.

    `jitter` is the standard deviation of the shake as a share of `spacing`. Returns: float32 [n, 2] in random order.
    """
    row_step = spacing * 0.866
    rows = np.arange(-margin - spacing, size + margin + spacing, row_step)
    columns = np.arange(-margin - spacing, size + margin + spacing, spacing)
    x, y = np.meshgrid(columns, rows)
    x = x + np.where(np.arange(len(rows)) % 2, spacing / 2, 0.0)[:, None]
    points = np.stack([x.ravel(), y.ravel()], axis=-1) + rng.uniform(-0.5, 0.5, 2) * spacing
    points += np.clip(rng.standard_normal(points.shape), -2, 2) * (jitter * spacing)
    inside = ((points > -margin) & (points < size + margin)).all(axis=1)
    kept: FloatArray = rng.permutation(points[inside]).astype(np.float32)
    return kept


def honeycomb(rng: np.random.Generator, size: float, spacing: float, jitter: float) -> FloatArray:
    """Cells that fill the plane: hexagons whose shared corners are shaken.

    Returns: float32 [n, 6, 2]; neighbours meet exactly.
    """
    side = spacing / np.sqrt(3.0)
    columns = int(size / spacing) + 4
    rows = int(size / (1.5 * side)) + 4
    shift = rng.uniform(-1.0, 0.0, 2) * spacing - spacing
    angle = rng.uniform(-0.5, 0.5)
    centre = size / 2
    row, column = (index.ravel() for index in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    x = column * spacing + np.where(row % 2, spacing / 2, 0.0) + shift[0]
    y = row * 1.5 * side + shift[1]
    turn = np.deg2rad(np.arange(30, 390, 60))
    corners = np.stack([x[:, None] + side * np.cos(turn), y[:, None] + side * np.sin(turn)], axis=-1)
    # Shared corners must move together: the shake is a function of the corner's place on a fine lattice.
    key = np.rint((corners - shift) / np.array([spacing / 2, side / 2])).astype(np.int64) + 8
    table = np.clip(rng.standard_normal((int(key.max()) + 2, int(key.max()) + 2, 2)), -2, 2)
    corners = corners + table[key[..., 1], key[..., 0]] * (jitter * spacing)
    cos, sin = np.cos(angle), np.sin(angle)
    local = corners - centre
    turned = np.stack([local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos], axis=-1)
    cells: FloatArray = (turned * 1.25 + centre).astype(np.float32)
    return cells


def rounded(outlines: FloatArray, times: int = 2, first_cut: float = 0.25) -> FloatArray:
    """Chaikin's corner cutting on closed outlines [n, k, 2].

    `first_cut` is the share of each edge that the first round takes: less keeps more of the corners.

    Returns: float32 [n, k * 2**times, 2].
    """
    for step in range(times):
        share = first_cut if step == 0 else 0.25
        following = np.roll(outlines, -1, axis=1)
        near, far = (1 - share) * outlines + share * following, share * outlines + (1 - share) * following
        outlines = np.stack([near, far], axis=2).reshape(len(outlines), -1, 2)
    return outlines


def shrunk(outlines: FloatArray, by: float) -> FloatArray:
    """Outlines [n, k, 2] drawn in towards their centres by about `by` px."""
    centres = outlines.mean(axis=1, keepdims=True)
    arms = outlines - centres
    length = np.linalg.norm(arms, axis=-1, keepdims=True)
    drawn_in: FloatArray = centres + arms * np.clip(1 - by / np.maximum(length, 1e-3), 0.1, 1.0)
    return drawn_in.astype(np.float32, copy=False)


def bounds(outline: FloatArray) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of an outline [k, 2]."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
