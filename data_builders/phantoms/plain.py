"""Tissues without glands or fibres: fat (ADI), bare glass (BACK), debris (DEB), lymphoid tissue (LYM), mucus (MUC)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from eosin.data_builders.phantoms.canvas import Canvas
from eosin.data_builders.phantoms.features import paint_features, quiet_spot
from eosin.data_builders.phantoms.fibres import paint_collagen
from eosin.data_builders.phantoms.geometry import between, blob, blobs, honeycomb, rounded, scattered, shrunk
from eosin.data_builders.phantoms.noise import FloatArray, rotated_grid, streaks
from eosin.data_builders.phantoms.nuclei import (
    FOLLICLE,
    LYMPHOCYTE,
    SPINDLE,
    TUMOUR,
    draw_dust,
    draw_nuclei,
    random_angles,
)

FAT_CELL_UM: dict[str, tuple[float, float]] = {"small": (22, 28), "large": (42, 54)}
SEPTUM_HALF_UM = 11.0
LYMPHOCYTE_SPACING_UM: dict[str, tuple[float, float]] = {"low": (13, 14), "moderate": (10.0, 11.2), "high": (7.0, 7.8)}
FRAGMENTS_PER_MM2: dict[str, tuple[float, float]] = {"sparse": (2500, 5000), "dense": (18000, 26000)}


def paint_fat(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """ADI: empty cells with thin walls, a nucleus pressed into a corner here and there."""
    rng, px = canvas.rng, canvas.px
    paint_collagen(canvas, between(rng, 0, np.pi), wave=1.0)
    spacing = px(between(rng, *FAT_CELL_UM[traits["fat_cell_size"]]))
    cells = honeycomb(rng, canvas.size, spacing, 0.085)
    cells = cells[canvas.meets(cells)]
    band: FloatArray | None = None
    if traits["fibrous_septum"] == "present":
        band, off_middle = _septum(canvas, cells.mean(axis=1))
        cells = cells[off_middle > canvas.px(SEPTUM_HALF_UM) + 0.40 * spacing]
    cells = rounded(shrunk(cells, px(between(rng, 0.3, 0.9))), 3, first_cut=0.17)
    walls = canvas.coverage(cells, line_um=1.3)
    canvas.blend(canvas.coverage(cells), 0.008 + 0.004 * canvas.texture(12), 0.012)
    canvas.blend(walls * 0.75, 0.06, 0.34 * canvas.habit.matrix_density)
    canvas.mark(cells, "fat")
    for cell in cells:
        canvas.note("fat cell", cell, "fat_cells")
    paint_features(canvas, traits)
    corners = cells[:, ::16].reshape(-1, 2)
    chosen = corners[rng.random(len(corners)) < 0.16]
    chosen = canvas.allowed(chosen[((chosen > 0) & (chosen < canvas.size)).all(axis=1)])
    draw_nuclei(canvas, chosen, random_angles(canvas, len(chosen)), SPINDLE)
    if band is not None:
        along = float(np.arctan2(*(band[1] - band[0])[::-1]))
        spindles = canvas.allowed(scattered(rng, canvas.size, px(17), 0.25), canvas.free & canvas.inside([band]))
        draw_nuclei(canvas, spindles, np.full(len(spindles), along, dtype=np.float32), SPINDLE)


def _septum(canvas: Canvas, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Record a band of collagen across the field, off the middle.

    Returns: its outline float32 [4, 2], and how far each of the points [n, 2] lies from its middle line, in px.
    """
    rng, size = canvas.rng, canvas.size
    angle, offset = between(rng, 0, np.pi), float(rng.choice((-1, 1))) * between(rng, 0.14, 0.30) * size
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    ends = np.array([[-2, -1], [2, -1], [2, 1], [-2, 1]]) * np.array([size, canvas.px(SEPTUM_HALF_UM)])
    band = (size / 2 + offset * across + ends[:, :1] * along + ends[:, 1:] * across).astype(np.float32)
    seen = np.argwhere(canvas.inside([band]))[:, ::-1].astype(np.float32)
    canvas.note("fibrous septum", seen)
    distance: FloatArray = np.abs((points - size / 2) @ across - offset).astype(np.float32)
    return band, distance


def paint_glass(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """BACK: nothing but the slide, clean or stained, with what may lie on it."""
    rng, px = canvas.rng, canvas.px
    tint = rng.exponential(0.05, 2) * (rng.random() < 0.6)
    smear = np.float32(between(rng, 0.0, 0.5)) * canvas.texture(30)
    canvas.fill(0.01 + tint[0] * (1 + smear), 0.01 + tint[1] * (1 + smear), "glass")
    if traits["air_bubble"] == "present":
        radius = px(between(rng, 18, 34))
        centre = rng.uniform(0.2, 0.8, 2).astype(np.float32) * canvas.size
        bubble = blob(rng, centre, (radius, radius), 0.015)
        canvas.blend(canvas.coverage([bubble], line_um=between(rng, 2.2, 4.0)), 0.55, 0.25)
        inner = centre + 0.9 * (bubble - centre)
        canvas.blend(canvas.coverage([inner], line_um=1.0) * 0.6, 0.25, 0.1)
        canvas.mark([bubble], "foreign material")
        canvas.mark([inner], "glass")
        canvas.note("air bubble", bubble, "foreign_objects")
    if traits["foreign_material"] == "dust":
        _paint_dust(canvas)
    elif traits["foreign_material"] == "thread":
        _paint_thread(canvas)


def _paint_dust(canvas: Canvas) -> None:
    rng = canvas.rng
    count = int(rng.integers(9, 20))
    half_axes = (canvas.px(1) * rng.uniform(1.4, 4.2, (count, 2))).astype(np.float32)
    specks = blobs(rng, half_axes, random_angles(canvas, count), 0.25, points=12)
    specks += rng.uniform(0.05, 0.95, (count, 1, 2)).astype(np.float32) * canvas.size
    canvas.blend(canvas.coverage(specks, values=rng.integers(120, 255, count).tolist()), 0.7, 0.45)
    canvas.mark(specks, "foreign material")
    for speck in specks:
        canvas.note("foreign material", speck, "foreign_objects")


def _paint_thread(canvas: Canvas) -> None:
    """A textile fibre: one long bent line."""
    rng, size = canvas.rng, canvas.size
    steps = np.linspace(-1, 1, 60)
    angle = between(rng, 0, np.pi)
    across = between(rng, -0.2, 0.2) + between(rng, -0.3, 0.3) * steps**2 + 0.12 * np.sin(steps * between(rng, 2, 5))
    half = between(rng, 0.4, 0.75)
    x, y = steps * half * np.cos(angle) - across * np.sin(angle), steps * half * np.sin(angle) + across * np.cos(angle)
    line = (np.stack([x, y], axis=-1) + 0.5).astype(np.float32) * size
    closed = np.concatenate([line, line[::-1]])
    canvas.blend(canvas.coverage([closed], line_um=between(rng, 2.0, 3.4)), 0.40, 0.30)
    normal = np.array([np.sin(angle), -np.cos(angle)], dtype=np.float32) * canvas.px(1.2)
    canvas.mark([np.concatenate([line + normal, line[::-1] - normal])], "foreign material")
    canvas.note("foreign material", np.clip(line, 0, size), "foreign_objects")


def paint_debris(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """DEB: granular, structureless eosinophilic matter with dust of broken nuclei."""
    rng, px = canvas.rng, canvas.px
    granular(canvas)
    if traits["ghost_cells"] == "present":
        _paint_ghosts(canvas)
    if traits["clefts"] == "present":
        gaps = canvas.texture(7) + 0.25 * canvas.texture(1.5)
        crack = np.clip((np.abs(gaps + between(rng, -0.2, 0.2)) * -1 + 0.20) * 9, 0, 1)
        crack = np.minimum(crack, np.clip((canvas.texture(10) + 0.5) * 3, 0, 1))
        canvas.blend(crack, 0.01, 0.02)
        canvas.mark_where(crack > 0.5, "glass")
        canvas.free &= crack < 0.5
    paint_features(canvas, traits)
    density = between(rng, *FRAGMENTS_PER_MM2[traits["nuclear_dust"]])
    centres = scattered(rng, canvas.size, px(1000 / np.sqrt(density * 0.866)), 0.45)
    clumped = canvas.texture(9) + 0.6 * canvas.rng.standard_normal((canvas.size, canvas.size), dtype=np.float32) > -0.55
    draw_dust(canvas, canvas.allowed(centres, canvas.free & clumped), 3.4)


def granular(canvas: Canvas) -> None:
    """Fill the field with amorphous necrotic matter."""
    matrix = canvas.habit.matrix_density
    coarse, fine, finest = canvas.texture(7), canvas.texture(1.5), canvas.texture(0.5)
    eosin = matrix * (0.34 + 0.09 * coarse + 0.09 * fine + 0.07 * finest)
    canvas.fill(0.11 + 0.05 * canvas.texture(4) + 0.03 * finest, np.clip(eosin, 0.05, None), "debris")


def _paint_ghosts(canvas: Canvas) -> None:
    """Dead cells that kept their outline and lost their nucleus."""
    rng = canvas.rng
    cells = rounded(shrunk(honeycomb(rng, canvas.size, canvas.px(between(rng, 14, 17)), 0.13), canvas.px(1.0)))
    cells = cells[rng.random(len(cells)) < 0.6]
    canvas.blend(canvas.coverage(cells) * 0.55, 0.05, 0.20)
    canvas.blend(canvas.coverage(cells, line_um=1.2) * 0.6, 0.10, 0.55 * canvas.habit.matrix_density)
    middles = cells.mean(axis=1, keepdims=True)
    canvas.blend(canvas.coverage(middles + 0.35 * (cells - middles)) * 0.35, 0.22, 0.35)


def paint_lymphoid(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """LYM: a sheet of small round dark nuclei, with or without a pale germinal centre of larger cells."""
    rng, px = canvas.rng, canvas.px
    mottle = canvas.texture(3)
    canvas.fill(0.10 + 0.03 * mottle, (0.17 + 0.05 * canvas.texture(1.2)) * canvas.habit.matrix_density, "lymphoid tissue")
    if traits["germinal_centre"] == "present":
        radius = px(between(rng, 26, 36))
        centre = rng.uniform(0.3, 0.7, 2).astype(np.float32) * canvas.size
        outline = blob(rng, centre, (radius, radius * between(rng, 0.75, 1.0)), 0.07)
        canvas.blend(canvas.coverage([outline]) * 0.8, 0.04, 0.17)
        area = canvas.inside([outline])
        inner = canvas.allowed(scattered(rng, canvas.size, px(12.5), 0.16), area)
        draw_nuclei(canvas, inner, random_angles(canvas, len(inner)), FOLLICLE)
        canvas.reserve([outline])
        canvas.note("germinal centre", outline)
    paint_features(canvas, traits)
    spacing = px(between(rng, *LYMPHOCYTE_SPACING_UM[traits["cellularity"]]))
    centres = canvas.allowed(scattered(rng, canvas.size, spacing, 0.15, margin=px(4)))
    draw_nuclei(canvas, centres, random_angles(canvas, len(centres)), LYMPHOCYTE)


def paint_mucus(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """MUC: pools of pale stringy mucin in thin fibrous tissue, with or without floating clusters of cells."""
    rng, px = canvas.rng, canvas.px
    paint_collagen(canvas, between(rng, 0, np.pi), wave=2.5)
    pools = _pools(canvas, traits["mucin_amount"])
    u, v = rotated_grid(canvas.size, between(rng, 0, np.pi))
    swirl = px(between(rng, 9, 14))
    strings = streaks(rng, u + swirl * canvas.texture(15), v + swirl * canvas.texture(15), px(16), px(0.8))
    veils = streaks(rng, u, v + swirl * canvas.texture(18), px(30), px(4))
    depth = between(rng, 0.6, 1.5)
    mucin = depth * np.clip(0.10 + 0.022 * veils + 0.10 * np.clip(strings - 0.7, 0, 1.5), 0.02, None)
    canvas.blend(canvas.coverage(pools), mucin, 0.35 * mucin)
    canvas.mark(pools, "mucin")
    for pool in pools:
        canvas.note("mucin pool", pool, "mucin_pools")
    pooled = canvas.inside(pools)
    if traits["floating_cells"] == "present":
        _float_cells(canvas, pooled)
    paint_features(canvas, traits)
    nuclei = canvas.allowed(scattered(rng, canvas.size, px(19), 0.25), canvas.free & ~pooled)
    draw_nuclei(canvas, nuclei, random_angles(canvas, len(nuclei)), SPINDLE)


def _pools(canvas: Canvas, amount: str) -> list[FloatArray]:
    """Outlines of the pools: two or three middling ones, or cells of mucin that leave only thin walls."""
    rng, size = canvas.rng, canvas.size
    if amount == "abundant":
        cells = honeycomb(rng, size, size * between(rng, 0.75, 1.1), 0.14)
        return list(rounded(shrunk(cells, canvas.px(between(rng, 2.5, 5.0))), 3))
    cells = honeycomb(rng, size, size * between(rng, 0.50, 0.62), 0.12)
    cells = cells[np.abs(cells.mean(axis=1) - size / 2).max(axis=1).argsort()]  # the middle one always stays
    chosen = cells[(rng.random(len(cells)) < 0.85) | (np.arange(len(cells)) == 0)]
    middles = chosen.mean(axis=1, keepdims=True)
    return list(rounded((middles + 0.66 * (chosen - middles)).astype(np.float32), 3))


def _float_cells(canvas: Canvas, pooled: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    """Two or three small groups of tumour cells inside the pools."""
    rng, px = canvas.rng, canvas.px
    spots = canvas.allowed(scattered(rng, canvas.size, px(34), 0.15, margin=-px(14)), pooled)[: int(rng.integers(2, 4))]
    if len(spots) == 0:
        spots = quiet_spot(canvas, px(14), ~pooled)[None]
    for spot in spots:
        radius = px(between(rng, 12, 16))
        outline = blob(rng, spot, (radius, radius * between(rng, 0.6, 0.9)), 0.12)
        canvas.blend(canvas.coverage([outline]), 0.14, 0.36 * canvas.habit.matrix_density)
        canvas.mark([outline], "epithelium")
        area = canvas.inside([spot + 0.85 * (outline - spot)])
        nuclei = canvas.allowed(scattered(rng, canvas.size, px(9.2), 0.12), area)
        kind = dataclasses.replace(TUMOUR, length=9.5)
        draw_nuclei(canvas, nuclei, random_angles(canvas, len(nuclei)), kind)
        canvas.reserve([outline])
        canvas.note("cell cluster", outline, "cell_clusters")
