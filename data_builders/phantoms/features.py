"""What may lie in any tissue: a cluster of lymphocytes, a blood vessel, a bleeding. Drawn the same in every class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eosin.data_builders.phantoms.canvas import Canvas
from eosin.data_builders.phantoms.geometry import between, blob, scattered
from eosin.data_builders.phantoms.noise import FloatArray
from eosin.data_builders.phantoms.nuclei import ENDOTHELIAL, LYMPHOCYTE, draw_nuclei, draw_red_cells, random_angles

BoolArray = npt.NDArray[np.bool_]


def quiet_spot(canvas: Canvas, radius: float, busy: BoolArray | None = None) -> FloatArray:
    """A centre [2] in px whose disc of `radius` px lies mostly inside the field and meets least of what is there.

    `busy` (bool [size, size]) is avoided too, at half the weight of what is already reserved.
    """
    rng = canvas.rng
    low = min(radius * 0.9, canvas.size / 2)
    centres = rng.uniform(low, canvas.size - low, (24, 2)).astype(np.float32)
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * radius
    probes = centres[:, None, :] + np.concatenate([ring, ring * 0.5, np.zeros((1, 2))])[None]
    index = np.clip(probes, 0, canvas.size - 1).astype(np.int64)
    cost = (~canvas.free[index[..., 1], index[..., 0]]).mean(axis=1)
    if busy is not None:
        cost = cost + 0.5 * busy[index[..., 1], index[..., 0]].mean(axis=1)
    spot: FloatArray = centres[int(cost.argmin())]
    return spot


def paint_features(canvas: Canvas, traits: Mapping[str, str], busy: BoolArray | None = None) -> None:
    """Draw those of the shared features that `traits` calls present, and reserve their places."""
    if traits.get("blood_vessel") == "present":
        _paint_vessel(canvas, busy, filled=traits.get("red_cells") == "present")
    if traits.get("lymphocytic_infiltrate") == "present":
        _paint_infiltrate(canvas, busy)
    if traits.get("red_cells") == "present":
        _paint_bleeding(canvas, busy)


def _paint_infiltrate(canvas: Canvas, busy: BoolArray | None) -> None:
    rng = canvas.rng
    radius = canvas.px(between(rng, 20, 27))
    outline = blob(rng, quiet_spot(canvas, radius, busy), (radius, radius * between(rng, 0.75, 1.0)), 0.14)
    area = canvas.inside([outline]) & canvas.free
    canvas.blend(canvas.coverage([outline]) * 0.55, 0.13, 0.20)
    canvas.mark([outline], "lymphoid tissue")
    canvas.reserve([outline], margin_um=3.0)
    centres = scattered(rng, canvas.size, canvas.px(between(rng, 7.4, 8.6)), 0.19)
    centres = canvas.allowed(centres, area)
    draw_nuclei(canvas, centres, random_angles(canvas, len(centres)), LYMPHOCYTE)
    canvas.note("lymphocyte cluster", outline)


def _paint_bleeding(canvas: Canvas, busy: BoolArray | None) -> None:
    rng = canvas.rng
    radius = canvas.px(between(rng, 17, 25))
    outline = blob(rng, quiet_spot(canvas, radius, busy), (radius, radius * between(rng, 0.6, 1.0)), 0.16)
    area = canvas.inside([outline]) & canvas.free
    canvas.blend(canvas.coverage([outline]) * 0.65, 0.02, 0.10)
    canvas.reserve([outline], margin_um=3.0)
    centres = canvas.allowed(scattered(rng, canvas.size, canvas.px(between(rng, 6.4, 8.5)), 0.26), area)
    draw_red_cells(canvas, centres)
    canvas.note("red cells", outline)


def _paint_vessel(canvas: Canvas, busy: BoolArray | None, filled: bool) -> None:
    """A small vessel cut across: eosinophilic wall, flat endothelial nuclei, an open lumen that may hold red cells."""
    rng = canvas.rng
    radius = canvas.px(between(rng, 15, 22))
    wall = canvas.px(between(rng, 3.5, 5.5))
    centre = quiet_spot(canvas, radius, busy)
    outer = blob(rng, centre, (radius, radius * between(rng, 0.7, 1.0)), 0.06)
    arms = outer - centre
    length = np.linalg.norm(arms, axis=1, keepdims=True)
    inner = (centre + arms * (1 - wall / length)).astype(np.float32)
    matrix = canvas.eosin[:: max(1, canvas.size // 32), :: max(1, canvas.size // 32)].mean()
    rings = 1 + 0.2 * canvas.texture(0.9)
    canvas.blend(canvas.coverage([outer]), 0.10, np.float32(max(0.42, 1.25 * float(matrix))) * rings)
    canvas.blend(canvas.coverage([inner]), 0.01, 0.02)
    canvas.mark([outer], "vessel wall")
    canvas.mark([inner], "lumen")
    lining = centre + (arms * (1 - 0.75 * wall / length)).astype(np.float32)
    steps = np.arange(int(rng.integers(0, 3)), len(lining), int(rng.integers(4, 7)))
    tangent = np.roll(lining, -1, axis=0)[steps] - lining[steps]
    draw_nuclei(canvas, lining[steps], np.arctan2(tangent[:, 1], tangent[:, 0]), ENDOTHELIAL)
    if filled and rng.random() < 0.6:
        inside = canvas.inside([centre + 0.8 * (inner - centre)])
        draw_red_cells(canvas, canvas.allowed(scattered(rng, canvas.size, canvas.px(7.2), 0.12), inside))
    canvas.reserve([outer], margin_um=2.0)
    canvas.note("blood vessel", outer, "blood_vessels")
