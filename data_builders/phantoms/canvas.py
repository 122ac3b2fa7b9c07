"""The sheet a phantom is painted on: amounts of hematoxylin and eosin, the semantic mask and the growing truth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eosin.data_builders.phantoms import noise
from eosin.data_builders.phantoms.geometry import bounds
from eosin.data_builders.phantoms.noise import FloatArray
from eosin.data_builders.phantoms.truth import FILLING_SHARE, MASK_LABELS, VISIBLE_SHARE, Box

OVERSAMPLING = 2  # outlines are drawn twice as large and averaged down: the cheapest clean edges


@dataclasses.dataclass(frozen=True)
class Habit:
    """How tissue of one slide differs from that of another, beside its stain. All are factors around 1."""

    nuclear_size: float = 1.0
    nuclear_density: float = 1.0
    nuclear_darkness: float = 1.0
    matrix_density: float = 1.0


class Canvas:
    """A square field of tissue.

    Attributes:
        hematoxylin, eosin: float32 [size, size], optical density along each stain's unit vector.
        free: bool [size, size], where ordinary nuclei may still be placed.
        counts, boxes: the truth so far.
    """

    def __init__(self, rng: np.random.Generator, size: int, mpp: float, habit: Habit) -> None:
        self.rng = rng
        self.size = size
        self.mpp = mpp
        self.habit = habit
        self.hematoxylin: FloatArray = np.zeros((size, size), dtype=np.float32)
        self.eosin: FloatArray = np.zeros((size, size), dtype=np.float32)
        self.free: npt.NDArray[np.bool_] = np.ones((size, size), dtype=np.bool_)
        self.counts: Counter[str] = Counter()
        self.boxes: list[Box] = []
        self._mask = Image.new("L", (size, size), 0)
        self._mask_draw = ImageDraw.Draw(self._mask)
        self._nuclei = Image.new("L", (size * OVERSAMPLING, size * OVERSAMPLING), 0)
        self.nuclei_draw = ImageDraw.Draw(self._nuclei)

    @property
    def side_um(self) -> float:
        """Width of the field in micrometres."""
        return self.size * self.mpp

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        """uint8 [size, size] with the values of `MASK_LABELS`."""
        return np.asarray(self._mask, dtype=np.uint8).copy()

    def px(self, micrometres: float) -> float:
        """A length in px."""
        return micrometres / self.mpp

    def texture(self, sigma_um: float) -> FloatArray:
        """Isotropic noise with features of about `sigma_um`. float32 [size, size], mean 0, standard deviation 1."""
        return noise.field(self.rng, self.size, self.px(sigma_um))

    def fill(self, hematoxylin: FloatArray | float, eosin: FloatArray | float, label: str) -> None:
        """Paint everything."""
        self.hematoxylin[:] = np.maximum(hematoxylin, 0)
        self.eosin[:] = np.maximum(eosin, 0)
        self._mask_draw.rectangle((0, 0, self.size, self.size), fill=MASK_LABELS[label])

    def coverage(self, outlines: Iterable[FloatArray], line_um: float = 0.0, values: Iterable[int] | None = None) -> FloatArray:
        """How much of each pixel the outlines [k, 2] cover, or their lines when `line_um` is given.

        `values` (0 to 255) makes some outlines weaker than others. Returns: float32 [size, size] in 0 to 1.
        """
        sheet = Image.new("L", (self.size * OVERSAMPLING, self.size * OVERSAMPLING), 0)
        draw = ImageDraw.Draw(sheet)
        width = max(1, round(self.px(line_um) * OVERSAMPLING))
        levels = iter(values) if values is not None else None
        for outline in outlines:
            level = 255 if levels is None else next(levels)
            corners = (outline * OVERSAMPLING).ravel().tolist()
            if line_um:
                draw.line(corners + corners[:4], fill=level, width=width, joint="curve" if width > 6 else None)
            else:
                draw.polygon(corners, fill=level)
        return averaged(sheet)

    def blend(self, alpha: FloatArray, hematoxylin: FloatArray | float, eosin: FloatArray | float) -> None:
        """Replace what is there by the given amounts, in the share `alpha` [size, size]."""
        self.hematoxylin += alpha * (hematoxylin - self.hematoxylin)
        self.eosin += alpha * (eosin - self.eosin)

    def mark(self, outlines: Iterable[FloatArray], label: str) -> None:
        """Write outlines into the mask."""
        for outline in outlines:
            self._mask_draw.polygon(outline.ravel().tolist(), fill=MASK_LABELS[label])

    def mark_where(self, where: npt.NDArray[np.bool_], label: str) -> None:
        """Write a bool [size, size] area into the mask."""
        self._mask.paste(MASK_LABELS[label], (0, 0), Image.fromarray(where.astype(np.uint8) * 255))

    def inside(self, outlines: Iterable[FloatArray], margin_um: float = 0.0) -> npt.NDArray[np.bool_]:
        """bool [size, size]: the pixels within any of the outlines, or within `margin_um` of one."""
        sheet = Image.new("L", (self.size, self.size), 0)
        draw = ImageDraw.Draw(sheet)
        for outline in outlines:
            corners = outline.ravel().tolist()
            draw.polygon(corners, fill=1)
            if margin_um:
                draw.line(corners + corners[:4], fill=1, width=round(2 * self.px(margin_um)))
        return np.asarray(sheet) > 0

    def reserve(self, outlines: Iterable[FloatArray], margin_um: float = 0.0) -> None:
        """Keep the centres of ordinary nuclei out of these outlines, and `margin_um` away from them."""
        self.free &= ~self.inside(outlines, margin_um)

    def allowed(self, points: FloatArray, where: npt.NDArray[np.bool_] | None = None) -> FloatArray:
        """Those of the points [n, 2] that lie on `where` (default: `free`); a point outside takes the nearest pixel."""
        area = self.free if where is None else where
        index = np.clip(points.astype(np.int64), 0, self.size - 1)
        return points[area[index[:, 1], index[:, 0]]]

    def meets(self, outlines: FloatArray) -> npt.NDArray[np.bool_]:
        """bool [n]: which of the outlines [n, k, 2] reach into the field."""
        met: npt.NDArray[np.bool_] = ((outlines.max(axis=1) > 0) & (outlines.min(axis=1) < self.size)).all(axis=1)
        return met

    def seen(self, outline: FloatArray) -> bool:
        """Whether enough of an outline's bounding box lies inside the field to count it, or it fills much of the field."""
        x0, y0, x1, y1 = bounds(outline)
        wide = min(x1, self.size) - max(x0, 0)
        high = min(y1, self.size) - max(y0, 0)
        needed = min(VISIBLE_SHARE * (x1 - x0) * (y1 - y0), FILLING_SHARE * self.size**2)
        return wide > 0 and high > 0 and wide * high >= needed

    def note(self, label: str, outline: FloatArray, count: str | None = None) -> bool:
        """Record an object as a box, and in `count`, when enough of it is visible. Returns whether it was."""
        if not self.seen(outline):
            return False
        x0, y0, x1, y1 = (round(min(max(edge / self.size, 0.0), 1.0), 4) for edge in bounds(outline))
        self.boxes.append(Box(label, x0, y0, x1, y1))
        if count:
            self.counts[count] += 1
        return True

    def settle_nuclei(self) -> None:
        """Lay the drawn nuclei onto the tissue, with clumped chromatin inside them."""
        amount = averaged(self._nuclei)
        clumps = 1 + 0.17 * self.texture(0.45) + 0.10 * self.texture(0.9)
        strength = np.float32(1.08 * self.habit.nuclear_darkness)
        self.hematoxylin += strength * amount * np.clip(clumps, 0.35, 1.7)
        self.eosin *= 1 - 0.40 * np.minimum(amount * 2, 1)


def averaged(sheet: Image.Image) -> FloatArray:
    """An oversampled "L" sheet at its final size, in 0 to 1."""
    small = np.asarray(sheet.reduce(OVERSAMPLING), dtype=np.float32)
    return small * np.float32(1 / 255)
