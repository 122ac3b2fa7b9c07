"""Where which tissue lies on a phantom slide: a smooth map that can be asked at any place, at any resolution."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from eosin.data_builders.phantoms.noise import PERIOD, FloatArray, periodic_field
from eosin.data_builders.phantoms.truth import TISSUES

GLASS = list(TISSUES).index("BACK")
LabelArray = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class RegionMap:
    """Tissue as a function of the place.

    Cells of a warped Voronoi diagram inside one rounded piece of tissue; labels are positions in `TISSUES`.

    Attributes:
        seeds: float32 [n, 2], the cells' centres in units of the longer side.
        labels: uint8 [n], each cell's tissue.
        offsets: int64 [4], where in the noise the warps begin.
        aspect: width and height in units of the longer side.
        longer: the longer side in px.
    """

    seeds: FloatArray
    labels: LabelArray
    offsets: npt.NDArray[np.int64]
    aspect: tuple[float, float]
    longer: int

    def at(self, x: FloatArray, y: FloatArray) -> LabelArray:
        """Tissue at the px coordinates `x` [w] and `y` [h]. Returns: uint8 [h, w]."""
        across, down = np.meshgrid(x, y)
        u, v = (part.astype(np.float32) / np.float32(self.longer) for part in (across, down))
        warp_u, warp_v, edge = (self._noise(u, v, part) for part in range(3))
        moved = np.stack([u + 0.035 * warp_u, v + 0.035 * warp_v], axis=-1)
        distance = ((moved[:, :, None, :] - self.seeds) ** 2).sum(axis=-1)
        label: LabelArray = self.labels[distance.argmin(axis=-1)]
        wide, high = self.aspect
        radius = ((u - wide / 2) / (0.46 * wide)) ** 2 + ((v - high / 2) / (0.46 * high)) ** 2
        outside = radius + 0.10 * edge > 0.93
        label[outside] = GLASS
        return label

    def _noise(self, u: FloatArray, v: FloatArray, part: int) -> FloatArray:
        bank = periodic_field(36.0, 36.0).ravel()
        columns = (u * 640 + self.offsets[part]).astype(np.int64) & (PERIOD - 1)
        rows = (v * 640 + self.offsets[part + 1]).astype(np.int64) & (PERIOD - 1)
        noise: FloatArray = bank.take(rows * PERIOD + columns)
        return noise


def draw_regions(rng: np.random.Generator, width: int, height: int, tissues: tuple[str, ...]) -> RegionMap:
    """A map on which every one of `tissues` gets at least one cell. "BACK" is what lies around the tissue."""
    longer = max(width, height)
    wide, high = width / longer, height / longer
    names = [list(TISSUES).index(name) for name in tissues if name != "BACK"]
    angles = rng.uniform(0, 2 * np.pi) + np.arange(len(names)) * 2.39996  # the golden angle spreads them evenly
    radii = 0.36 * np.sqrt((np.arange(len(names)) + 0.6) / len(names))
    order = rng.permutation(len(names))
    seeds = np.stack([wide * (0.5 + radii * np.cos(angles)), high * (0.5 + radii * np.sin(angles))], axis=-1)
    seeds += rng.standard_normal(seeds.shape) * 0.012
    return RegionMap(
        seeds=seeds.astype(np.float32),
        labels=np.array(names, dtype=np.uint8)[order],
        offsets=rng.integers(0, PERIOD, 4),
        aspect=(wide, high),
        longer=longer,
    )
