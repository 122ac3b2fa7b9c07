"""Tissues made of glands: normal colon mucosa (NORM) and colorectal adenocarcinoma (TUM)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from eosin.data_builders.phantoms.canvas import Canvas
from eosin.data_builders.phantoms.features import BoolArray, paint_features, quiet_spot
from eosin.data_builders.phantoms.fibres import paint_collagen
from eosin.data_builders.phantoms.geometry import between, blob, blobs, scattered
from eosin.data_builders.phantoms.noise import FloatArray
from eosin.data_builders.phantoms.nuclei import (
    BASAL,
    LYMPHOCYTE,
    SPINDLE,
    TUMOUR,
    NucleusKind,
    draw_dust,
    draw_mitosis,
    draw_nuclei,
    random_angles,
)

CRYPT_LUMEN = 0.30  # radius of an open lumen as a share of the crypt's
NUCLEAR_ZONE_UM = 8.5  # from the basement membrane to the top of the row of nuclei
CRYPT_RADIUS_UM: dict[str, tuple[float, float]] = {"few": (33, 41), "many": (20, 24)}


def paint_mucosa(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """NORM: round crypts at even distances, basal nuclei in one row, goblet cells, loose tissue between."""
    rng, px = canvas.rng, canvas.px
    paint_collagen(canvas, between(rng, 0, np.pi), wave=2.5)
    radius = px(between(rng, *CRYPT_RADIUS_UM[traits["gland_number"]]))
    gap = px(between(rng, 7, 12))
    centres = scattered(rng, canvas.size, 2 * radius + gap, 0.035, margin=radius)
    half_axes = radius * rng.uniform(0.86, 1.06, (len(centres), 2)).astype(np.float32)
    crypts = blobs(rng, half_axes, random_angles(canvas, len(centres)), 0.035, points=48) + centres[:, None, :]
    reach = canvas.meets(crypts)
    crypts, centres = crypts[reach], centres[reach]
    canvas.blend(canvas.coverage(crypts), 0.09 + 0.02 * canvas.texture(1.0), 0.24 + 0.03 * canvas.texture(1.5))
    canvas.mark(crypts, "epithelium")
    _paint_goblets(canvas, crypts, centres, traits["goblet_cells"])
    _paint_lumens(canvas, crypts, centres, traits["lumen"], CRYPT_LUMEN)
    for crypt in crypts:
        canvas.note("gland", crypt, "glands")
    paint_features(canvas, traits, canvas.inside(crypts))
    _ring_of_nuclei(canvas, crypts, centres, px(5.0), px(5.0), BASAL, 0.06)
    between_crypts = canvas.free & ~canvas.inside(crypts)
    spindles = canvas.allowed(scattered(rng, canvas.size, px(15), 0.25), between_crypts)
    draw_nuclei(canvas, spindles, random_angles(canvas, len(spindles)), SPINDLE)
    few = canvas.allowed(scattered(rng, canvas.size, px(24), 0.3), between_crypts)
    draw_nuclei(canvas, few, random_angles(canvas, len(few)), LYMPHOCYTE)


def _paint_goblets(canvas: Canvas, crypts: FloatArray, centres: FloatArray, amount: str) -> None:
    """Pale drops of mucin that point to the lumen, in a ring within the row of nuclei."""
    rng, px = canvas.rng, canvas.px
    arms = crypts - centres[:, None, :]
    length = np.linalg.norm(arms, axis=-1)
    mean_radius = float(length.mean())
    zone = mean_radius * (1 - CRYPT_LUMEN) - px(NUCLEAR_ZONE_UM)
    depth = px(NUCLEAR_ZONE_UM) + 0.45 * zone
    step = px(8.4) / (mean_radius - depth)
    drops = []
    for index, centre in enumerate(centres):
        turn = np.arange(0, 2 * np.pi, step) + between(rng, 0, 1)
        if amount == "few":
            turn = turn[rng.random(len(turn)) < 0.16]
        corner = (turn / (2 * np.pi) * crypts.shape[1]).astype(np.int64) % crypts.shape[1]
        arm = arms[index, corner]
        drops.append(np.concatenate([centre + arm * (1 - depth / length[index, corner, None]), arm], axis=1))
    table = np.concatenate(drops) if drops else np.zeros((0, 4), dtype=np.float32)
    if len(table) == 0:
        return
    half_axes = np.tile(np.array([[0.56 * zone, px(3.9)]], dtype=np.float32), (len(table), 1))
    half_axes *= rng.uniform(0.85, 1.12, half_axes.shape).astype(np.float32)
    angles = np.arctan2(table[:, 3], table[:, 2]).astype(np.float32)
    outlines = (blobs(rng, half_axes, angles, 0.05, points=16) + table[:, None, :2]).astype(np.float32)
    canvas.blend(canvas.coverage(outlines), 0.045 + 0.015 * canvas.texture(2), 0.02)
    canvas.blend(canvas.coverage(outlines, line_um=0.7) * 0.45, 0.16, 0.22)
    canvas.mark(outlines, "goblet cell")
    inside = ((table[:, :2] >= 0) & (table[:, :2] < canvas.size)).all(axis=1)
    canvas.counts["goblet_cells"] += int(inside.sum())


def _paint_lumens(canvas: Canvas, glands: FloatArray, centres: FloatArray, state: str, share: float) -> None:
    """Open lumens of about `share` of the gland's radius, or slits."""
    rng = canvas.rng
    arms = glands - centres[:, None, :]
    if state == "open":
        scale = rng.uniform(share * 0.85, share * 1.15, (len(glands), 1, 1)).astype(np.float32)
        lumens = centres[:, None, :] + arms * scale
    else:
        angle = rng.uniform(0, np.pi, (len(glands), 1))
        along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        across = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
        slit = (arms * along).sum(-1, keepdims=True) * along * 0.30 + (arms * across).sum(-1, keepdims=True) * across * 0.035
        lumens = (centres[:, None, :] + slit).astype(np.float32)
    canvas.blend(canvas.coverage(lumens), 0.015, 0.03)
    canvas.blend(canvas.coverage(lumens, line_um=1.0) * 0.6, 0.12, 0.5)
    canvas.mark(lumens, "lumen")
    canvas.reserve(lumens, margin_um=3.0)
    if state == "open":
        canvas.counts["lumens"] += sum(canvas.seen(lumen) for lumen in lumens)


def _ring_of_nuclei(
    canvas: Canvas,
    glands: FloatArray,
    centres: FloatArray,
    depth: float,
    spacing: float,
    kind: NucleusKind,
    jitter: float,
    nucleoli: bool = False,
) -> None:
    """Nuclei `depth` px inside each outline, `spacing` px apart, pointing to the centre; `jitter` in radians."""
    rng = canvas.rng
    places = []
    for gland, centre in zip(glands, centres, strict=True):
        edges = np.linalg.norm(np.roll(gland, -1, axis=0) - gland, axis=1)
        walked = np.concatenate([[0.0], np.cumsum(edges)])
        stops = np.arange(between(rng, 0, spacing), walked[-1], spacing)
        stops += rng.standard_normal(len(stops)) * spacing * (0.08 + jitter)
        closed = np.concatenate([gland, gland[:1]])
        on_edge = np.stack([np.interp(stops, walked, closed[:, axis]) for axis in (0, 1)], axis=-1)
        arm = centre - on_edge
        length = np.maximum(np.linalg.norm(arm, axis=1, keepdims=True), 1e-3)
        inward = depth * (1 + rng.standard_normal((len(stops), 1)) * (0.08 + jitter))
        places.append(np.concatenate([on_edge + arm / length * inward, arm], axis=1))
    table = np.concatenate(places).astype(np.float32)
    near = ((table[:, :2] > -spacing * 2) & (table[:, :2] < canvas.size + spacing * 2)).all(axis=1)
    table = table[near]
    index = np.clip(table[:, :2], 0, canvas.size - 1).astype(np.int64)
    table = table[canvas.free[index[:, 1], index[:, 0]]]
    angles = np.arctan2(table[:, 3], table[:, 2]) + rng.standard_normal(len(table)) * (0.05 + 1.5 * jitter)
    draw_nuclei(canvas, table[:, :2], angles.astype(np.float32), kind, nucleoli)


def paint_tumour(canvas: Canvas, traits: Mapping[str, str]) -> None:
    """TUM: crowded irregular glands, a cribriform sheet or a solid one, with stratified dark nuclei."""
    rng = canvas.rng
    paint_collagen(canvas, between(rng, 0, np.pi), wave=2.5)
    glands, centres = _tumour_outlines(canvas, traits["growth_pattern"])
    cytoplasm = between(rng, 0.8, 1.25)
    canvas.blend(
        canvas.coverage(glands),
        cytoplasm * (0.15 + 0.03 * canvas.texture(1.2)),
        cytoplasm * (0.22 + 0.04 * canvas.texture(2.0)),
    )
    canvas.mark(glands, "epithelium")
    epithelium = canvas.inside(glands)
    if traits["growth_pattern"] == "glandular":
        _paint_lumens(canvas, glands, centres, traits["lumen"], 0.45)
    elif traits["growth_pattern"] == "cribriform":
        _punch_holes(canvas, epithelium)
    if traits["growth_pattern"] != "solid":
        for gland in glands:
            canvas.note("gland", gland, "glands")
    if traits["necrosis"] == "present":
        _paint_necrosis(canvas)
    paint_features(canvas, traits)
    if traits["mitoses"] == "present":
        _paint_mitoses(canvas, epithelium)
    _tumour_nuclei(canvas, traits, glands, centres, epithelium)
    outside = canvas.allowed(scattered(rng, canvas.size, canvas.px(17), 0.25), canvas.free & ~epithelium)
    draw_nuclei(canvas, outside, random_angles(canvas, len(outside)), SPINDLE)


def _tumour_outlines(canvas: Canvas, pattern: str) -> tuple[FloatArray, FloatArray]:
    """Outlines float32 [n, k, 2] and centres [n, 2] of the epithelium."""
    rng, px, size = canvas.rng, canvas.px, canvas.size
    if pattern != "glandular":
        centre = np.full(2, size / 2) + rng.uniform(-0.12, 0.12, 2) * size
        radius = size * between(rng, 0.58, 0.72)
        sheet = blob(rng, centre.astype(np.float32), (radius, radius * between(rng, 0.85, 1.0)), 0.09)
        return sheet[None], centre.astype(np.float32)[None]
    radius = px(between(rng, 21, 31))
    centres = scattered(rng, size, 1.92 * radius + px(3), 0.07, margin=radius)
    half_axes = radius * rng.uniform(0.78, 1.15, (len(centres), 2)).astype(np.float32)
    outlines = blobs(rng, half_axes, random_angles(canvas, len(centres)), 0.13, points=48)
    outlines += centres[:, None, :]
    reach = canvas.meets(outlines)
    return outlines[reach], centres[reach]


def _punch_holes(canvas: Canvas, epithelium: BoolArray) -> None:
    """Round open lumens within one sheet."""
    rng, px = canvas.rng, canvas.px
    spots = canvas.allowed(scattered(rng, canvas.size, px(between(rng, 31, 38)), 0.09, margin=-px(4)), epithelium)
    radii = px(1) * rng.uniform(13, 18, (len(spots), 2)).astype(np.float32)
    holes = blobs(rng, radii, random_angles(canvas, len(spots)), 0.07, points=30) + spots[:, None, :]
    _paint_lumens(canvas, holes.astype(np.float32), spots, "open", 0.6)


def _paint_necrosis(canvas: Canvas) -> None:
    """A focus of dirty necrosis: granular eosinophilic matter with nuclear dust instead of cells."""
    rng, px = canvas.rng, canvas.px
    radius = px(between(rng, 19, 26))
    outline = blob(rng, quiet_spot(canvas, radius), (radius, radius * between(rng, 0.75, 1.0)), 0.13)
    matter = 0.42 * canvas.habit.matrix_density * (1 + 0.3 * canvas.texture(0.7) + 0.2 * canvas.texture(3))
    canvas.blend(canvas.coverage([outline]), 0.07, np.clip(matter, 0.05, None))
    canvas.mark([outline], "debris")
    area = canvas.inside([outline])
    canvas.reserve([outline], margin_um=2.5)
    draw_dust(canvas, canvas.allowed(scattered(rng, canvas.size, px(5.2), 0.4), area), 3.0)
    canvas.note("necrosis", outline)


def _paint_mitoses(canvas: Canvas, epithelium: BoolArray) -> None:
    rng, px = canvas.rng, canvas.px
    area = canvas.free & epithelium
    spots = canvas.allowed(scattered(rng, canvas.size, px(26), 0.2, margin=-px(7)), area)
    if len(spots) == 0:
        spots = quiet_spot(canvas, px(9), ~epithelium)[None]
    for spot in spots[: int(rng.integers(2, 5))]:
        draw_mitosis(canvas, spot)
        turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        halo = spot + np.stack([np.cos(turn), np.sin(turn)], axis=-1) * px(11)
        canvas.reserve([halo.astype(np.float32)])


def _tumour_nuclei(canvas: Canvas, traits: Mapping[str, str], glands: FloatArray, centres: FloatArray, epithelium: BoolArray) -> None:
    px = canvas.px
    marked = traits["pleomorphism"] == "marked"
    nucleoli = traits["nucleoli"] == "prominent"
    kind = dataclasses.replace(
        TUMOUR,
        spread=0.22 if marked else 0.06,
        roughness=0.13 if marked else 0.04,
        length=12.0 if marked else 10.0,
        width=8.0 if marked else 6.4,
        fill=0.28 if nucleoli else 0.46,
    )
    if traits["growth_pattern"] == "glandular":
        for depth in (6.5, 17.0) if marked else (6.0, 15.0):
            _ring_of_nuclei(canvas, glands, centres, px(depth), px(10.0 if marked else 7.8), kind, 0.14, nucleoli)
        return
    spacing = px(between(canvas.rng, 12.0, 13.5) if marked else between(canvas.rng, 9.4, 10.8))
    points = canvas.allowed(scattered(canvas.rng, canvas.size, spacing, 0.14, margin=px(5)), canvas.free & epithelium)
    draw_nuclei(canvas, points, random_angles(canvas, len(points)), kind, nucleoli)
