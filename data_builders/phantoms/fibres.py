"""Tissues made of fibres: stroma (STR, wavy collagen with clefts and spindle nuclei), smooth muscle (MUS, straight
parallel fascicles with cigar-shaped nuclei)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eosin.data_builders.phantoms.canvas import Canvas
from eosin.data_builders.phantoms.features import paint_features
from eosin.data_builders.phantoms.geometry import between, scattered
from eosin.data_builders.phantoms.noise import FloatArray, rotated_grid, streaks
from eosin.data_builders.phantoms.nuclei import CIGAR, LYMPHOCYTE, SPINDLE, draw_nuclei, random_angles

# Resident nuclei per square millimetre: the bands do not meet, so that the three words stay apart to the eye.
NUCLEI_PER_MM2: dict[str, tuple[float, float]] = {"low": (250, 600), "moderate": (1000, 1500), "high": (2300, 3200)}


def fibre_angle(rng: np.random.Generator, direction: str) -> float:
    """Radians for a direction in words; "diagonal" rises or falls."""
    middle = {"horizontal": 0.0, "vertical": 90.0, "diagonal": float(rng.choice((-45.0, 45.0)))}[direction]
    return float(np.deg2rad(middle + np.clip(rng.standard_normal() * 5, -11, 11)))


def paint_stroma(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """STR."""
    angle = fibre_angle(canvas.rng, traits["fibre_direction"])
    warp = paint_collagen(canvas, angle, wave=between(canvas.rng, 1.3, 2.4))
    paint_features(canvas, traits)
    _fibre_nuclei(canvas, traits["cellularity"], angle, warp, spindle=True)
    _stray_lymphocytes(canvas)


def paint_muscle(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """MUS."""
    angle = fibre_angle(canvas.rng, traits["fibre_direction"])
    warp = _paint_fascicles(canvas, angle)
    paint_features(canvas, traits)
    _fibre_nuclei(canvas, traits["cellularity"], angle, warp, spindle=False)
    _stray_lymphocytes(canvas)


def paint_collagen(canvas: Canvas, angle: float, wave: float, label: str = "connective tissue") -> FloatArray:
    """Fill the field with wavy bundles along `angle` (radians); `wave` is their amplitude in micrometres.

    Returns: float32 [size, size], how far the fibres are displaced sideways, in px.
    """
    rng, px = canvas.rng, canvas.px
    u, v = rotated_grid(canvas.size, angle)
    crimp = u * np.float32(2 * np.pi / px(between(rng, 34, 60))) + 1.3 * canvas.texture(18)
    uneven = 1 + 0.5 * canvas.texture(18)
    warp: FloatArray = px(wave) * uneven * np.sin(crimp) + px(1.7) * canvas.texture(9) + px(0.35) * canvas.texture(2)
    bent = v + warp
    fine = streaks(rng, u, bent, px(9), px(0.5))
    bundle = streaks(rng, u, bent, px(22), px(1.8))
    gaps = streaks(rng, u, bent, px(11), px(0.9)) + 0.6 * bundle
    matrix = canvas.habit.matrix_density
    looseness = between(rng, 0.9, 1.9)
    cleft = np.clip((gaps - looseness) * 1.8, 0, 1)
    strands = np.clip(1 - 1.6 * np.abs(bundle), 0, 1)
    eosin = matrix * (0.25 + 0.055 * fine + 0.03 * bundle + 0.07 * strands) * (1 - 0.88 * cleft)
    hematoxylin = (0.045 + 0.015 * fine) * (1 - 0.7 * cleft)
    canvas.fill(hematoxylin.astype(np.float32, copy=False), np.maximum(eosin, 0.015, dtype=np.float32), label)
    return warp


def _paint_fascicles(canvas: Canvas, angle: float) -> FloatArray:
    """Fill the field with straight muscle fibres. Returns as `paint_collagen`."""
    rng, px = canvas.rng, canvas.px
    u, v = rotated_grid(canvas.size, angle)
    warp: FloatArray = px(between(rng, 1.0, 2.5)) * canvas.texture(30)
    bent = v + warp
    width = px(between(rng, 5.0, 7.0))
    phase = bent * np.float32(2 * np.pi / width) + 1.1 * streaks(rng, u, bent, px(40), px(4))
    profile = np.cos(phase)
    fine = streaks(rng, u, bent, px(20), px(0.6))
    border = np.clip(profile - 0.72, 0, 1) * 3.0
    split = np.clip((streaks(rng, u, bent, px(45), px(2.2)) - between(rng, 1.9, 2.6)) * 1.5, 0, 1)
    matrix = canvas.habit.matrix_density
    eosin = matrix * (0.40 + 0.05 * fine - 0.04 * profile - 0.16 * border) * (1 - 0.85 * split)
    canvas.fill(0.07 + 0.015 * fine, np.clip(eosin, 0.02, None), "smooth muscle")
    return warp


def _fibre_nuclei(canvas: Canvas, cellularity: str, angle: float, warp: FloatArray, spindle: bool) -> None:
    """Nuclei that lie along the fibres."""
    rng = canvas.rng
    density = between(rng, *NUCLEI_PER_MM2[cellularity])
    spacing = canvas.px(1000 / np.sqrt(density * 0.866))
    centres = canvas.allowed(scattered(rng, canvas.size, spacing, 0.22, margin=canvas.px(8)))
    index = np.clip(centres, 0, canvas.size - 1).astype(np.int64)
    ahead = np.clip(centres + 3 * np.array([np.cos(angle), np.sin(angle)]), 0, canvas.size - 1).astype(np.int64)
    slope = (warp[ahead[:, 1], ahead[:, 0]] - warp[index[:, 1], index[:, 0]]) / 3
    wobble = rng.standard_normal(len(centres)) * (0.14 if spindle else 0.05)
    angles = (angle - np.arctan(np.clip(slope, -1, 1)) + wobble).astype(np.float32)
    draw_nuclei(canvas, centres, angles, SPINDLE if spindle else CIGAR)


def _stray_lymphocytes(canvas: Canvas) -> None:
    """A few single lymphocytes, as everywhere: only a cluster counts as an infiltrate."""
    count = int(canvas.rng.integers(0, 3))
    centres = canvas.allowed(canvas.rng.uniform(0, canvas.size, (count, 2)).astype(np.float32))
    draw_nuclei(canvas, centres, random_angles(canvas, len(centres)), LYMPHOCYTE)
