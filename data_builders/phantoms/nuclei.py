"""Nuclei, mitotic figures, nuclear dust and red cells: the small things that are drawn by the hundred."""

from __future__ import annotations

import dataclasses

import numpy as np

from eosin.data_builders.phantoms.canvas import OVERSAMPLING, Canvas
from eosin.data_builders.phantoms.geometry import blobs, shrunk
from eosin.data_builders.phantoms.noise import FloatArray


@dataclasses.dataclass(frozen=True)
class NucleusKind:
    """How one kind of nucleus looks. Lengths in micrometres, `fill` and `rim` as shares of the darkest chromatin.

    A rim darker than the fill gives the vesicular nucleus with a sharp membrane; a rim of 0 draws none.
    """

    label: str
    count: str
    length: float
    width: float
    spread: float
    roughness: float
    fill: float
    rim: float = 0.0
    blunt: float = 1.0


LYMPHOCYTE = NucleusKind("lymphocyte nucleus", "lymphocytes", 6.6, 6.1, 0.10, 0.06, 0.82)
FOLLICLE = NucleusKind("lymphocyte nucleus", "lymphocytes", 9.0, 7.6, 0.14, 0.06, 0.40, rim=0.62)
SPINDLE = NucleusKind("spindle nucleus", "spindle_nuclei", 13.0, 3.0, 0.20, 0.07, 0.64, blunt=1.35)
CIGAR = NucleusKind("muscle nucleus", "muscle_nuclei", 18.0, 3.8, 0.15, 0.04, 0.50, rim=0.62, blunt=0.6)
BASAL = NucleusKind("epithelial nucleus", "epithelial_nuclei", 8.4, 4.6, 0.10, 0.05, 0.50, rim=0.64)
TUMOUR = NucleusKind("tumour nucleus", "tumour_nuclei", 11.0, 7.4, 0.10, 0.06, 0.40, rim=0.72)
ENDOTHELIAL = NucleusKind("endothelial nucleus", "nuclei", 9.0, 2.6, 0.15, 0.04, 0.72, blunt=1.2)


def draw_nuclei(canvas: Canvas, centres: FloatArray, angles: FloatArray, kind: NucleusKind, nucleoli: bool = False) -> None:
    """Draw one nucleus of `kind` at each centre and count those whose centre is inside.

    Args:
        centres: float32 [n, 2] in px.
        angles: float32 [n], direction of the long axis in radians.
        nucleoli: give each nucleus one or two dark round nucleoli.
    """
    if len(centres) == 0:
        return
    rng = canvas.rng
    scale = np.exp(rng.standard_normal((len(centres), 1)) * kind.spread) * canvas.habit.nuclear_size
    stretch = np.exp(rng.standard_normal((len(centres), 2)) * kind.spread * 0.6)
    half_axes = canvas.px(0.5) * np.array([kind.length, kind.width]) * scale * stretch
    outlines = blobs(rng, half_axes.astype(np.float32), angles, kind.roughness, blunt=kind.blunt)
    outlines += centres[:, None, :]
    darkness = np.clip(1 + 0.13 * rng.standard_normal(len(centres)), 0.6, 1.3)
    fills = np.clip(255 * kind.fill * darkness, 20, 255).astype(int).tolist()
    rims = np.clip(255 * kind.rim * darkness, 0, 255).astype(int).tolist()
    corners = (outlines.reshape(len(centres), -1) * OVERSAMPLING).tolist()
    draw = canvas.nuclei_draw
    if kind.rim:
        within = shrunk(outlines, canvas.px(0.6)).reshape(len(centres), -1) * OVERSAMPLING
        for outline, inner, fill, rim in zip(corners, within.tolist(), fills, rims, strict=True):
            draw.polygon(outline, fill=rim)
            draw.polygon(inner, fill=fill)
    else:
        for outline, fill in zip(corners, fills, strict=True):
            draw.polygon(outline, fill=fill)
    canvas.mark(outlines, kind.label)
    inside = int(((centres >= 0) & (centres < canvas.size)).all(axis=1).sum())
    canvas.counts[kind.count] += inside
    if kind.count != "nuclei":
        canvas.counts["nuclei"] += inside
    if nucleoli:
        _draw_nucleoli(canvas, centres, half_axes.astype(np.float32))


def _draw_nucleoli(canvas: Canvas, centres: FloatArray, half_axes: FloatArray) -> None:
    """Dark round bodies well inside nuclei. `half_axes` float32 [n, 2] in px."""
    rng = canvas.rng
    offset = rng.standard_normal(centres.shape) * 0.18 * half_axes.min(axis=1, keepdims=True)
    radii = np.clip(0.36 * half_axes.min(axis=1) * rng.uniform(0.85, 1.2, len(centres)), canvas.px(1.1), None)
    boxes = np.concatenate([centres + offset - radii[:, None], centres + offset + radii[:, None]], axis=1)
    for box in (boxes * OVERSAMPLING).tolist():
        canvas.nuclei_draw.ellipse(box, fill=252)


def random_angles(canvas: Canvas, count: int) -> FloatArray:
    """float32 [count], uniform directions."""
    return canvas.rng.uniform(0, np.pi, count).astype(np.float32)


def draw_mitosis(canvas: Canvas, centre: FloatArray) -> None:
    """A mitotic figure (metaphase plate, anaphase or clumped prometaphase) in a pale rounded cell."""
    rng = canvas.rng
    angle = rng.uniform(0, np.pi, 1).astype(np.float32)
    cell = blobs(rng, np.full((1, 2), canvas.px(8.6), np.float32), angle, 0.04, points=24)[0] + centre
    canvas.blend(canvas.coverage([cell]), 0.04, 0.16)
    normal = np.array([-np.sin(angle[0]), np.cos(angle[0])], dtype=np.float32)
    form = int(rng.integers(3))
    if form == 0:
        plates = np.array([centre])
    elif form == 1:
        plates = np.array([centre + normal * canvas.px(2.9), centre - normal * canvas.px(2.9)])
    else:
        plates = centre + rng.standard_normal((6, 2)) * canvas.px(1.9)
    size = {0: (5.6, 2.0), 1: (4.7, 1.35), 2: (2.3, 1.9)}[form]
    half_axes = np.tile(np.array([size], dtype=np.float32) * canvas.px(1), (len(plates), 1))
    outlines = blobs(rng, half_axes, np.repeat(angle, len(plates)), 0.16, points=18) + plates[:, None, :]
    for outline in outlines:
        canvas.nuclei_draw.polygon((outline * OVERSAMPLING).ravel().tolist(), fill=255)
    canvas.mark(outlines, "mitosis")
    if canvas.note("mitosis", cell, "mitoses"):
        canvas.counts["nuclei"] += 1


def draw_dust(canvas: Canvas, centres: FloatArray, largest_um: float) -> None:
    """Fragments of broken nuclei of 1 µm to `largest_um` across at the centres [n, 2]."""
    if len(centres) == 0:
        return
    rng = canvas.rng
    radius = canvas.px(0.5) * rng.uniform(1.0, largest_um, (len(centres), 1))
    half_axes = (radius * rng.uniform(0.7, 1.3, (len(centres), 2))).astype(np.float32)
    outlines = blobs(rng, half_axes, random_angles(canvas, len(centres)), 0.12, points=8) + centres[:, None, :]
    fills = rng.integers(150, 255, len(centres)).tolist()
    for outline, fill in zip((outlines.reshape(len(centres), -1) * OVERSAMPLING).tolist(), fills, strict=True):
        canvas.nuclei_draw.polygon(outline, fill=fill)
    canvas.mark(outlines, "nuclear fragment")
    canvas.counts["nuclear_fragments"] += int(((centres >= 0) & (centres < canvas.size)).all(axis=1).sum())


def draw_red_cells(canvas: Canvas, centres: FloatArray) -> None:
    """Red blood cells: strongly eosinophilic discs of 6.5 µm, paler in the middle, without a nucleus."""
    if len(centres) == 0:
        return
    rng = canvas.rng
    half_axes = canvas.px(3.25) * rng.uniform(0.85, 1.1, (len(centres), 2)).astype(np.float32)
    angles = random_angles(canvas, len(centres))
    outlines = blobs(rng, half_axes, angles, 0.04, points=12) + centres[:, None, :]
    canvas.blend(canvas.coverage(outlines), 0.0, 1.05)
    middles = centres[:, None, :] + 0.45 * (outlines - centres[:, None, :])
    canvas.blend(canvas.coverage(middles), 0.0, 0.85)
    canvas.mark(outlines, "red cell")
    canvas.counts["red_cells"] += int(((centres >= 0) & (centres < canvas.size)).all(axis=1).sum())
