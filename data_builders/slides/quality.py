"""What is wrong with a tile, measured on the tile itself: `background`, `pen`, `fold` or `blur`, in this order.

background   share of the tile that is neither stained nor between stained walls
pen          share with the colour of an ink
fold         share that lets through less light than one layer of tissue does, over an area larger than nuclei. Twice the thickness is
             twice the optical density, but so is epidermis beside pale dermis, with as crisp a border and much the same hue: only
             what is denser than any one layer commonly is counts, so folds of few or pale layers pass
blur         how little a further blur takes away from the picture's edges, 0 (sharp) to 1 (Crete et al. 2007, "The blur effect")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eosin.data_builders.slides.ink import Floats, Mask, is_ink, optical_density
from eosin.data_builders.slides.tissue import ndimage
from eosin.errors import ConfigError
from eosin.images import Pixels

REASONS = ("background", "pen", "fold", "blur")
# Colours are judged on pixels of about 2 microns, blur at the tile's own resolution.
_COARSE_MPP = 2.0
_WALLS_UM = 48.0
_NUCLEI_UM = 24.0
_COLOURED = 0.05
_BLUR_PX = 9


@dataclass(frozen=True)
class QualityConfig:
    """The most that a tile may have of each; 1 lets all pass.

    Attributes:
        measure: read every tile that the overview takes for tissue and measure it; without it, no tile's pixels are read.
        background: share of the tile.
        pen: share of the tile.
        fold: share of the tile.
        fold_density: mean optical density of the three colours above which a place may count as folded.
        fold_layers: it must also be so many times as dense as the slide's tissue commonly is.
        blur: of 0 to 1.
    """

    measure: bool = True
    background: float = 0.7
    pen: float = 0.05
    fold: float = 0.1
    fold_density: float = 0.7
    fold_layers: float = 2.2
    blur: float = 0.5

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in REASONS}
        wrong = [f"{name} {value}" for name, value in shares.items() if not 0 <= value <= 1]
        if wrong:
            raise ConfigError(f"quality: shares are from 0 to 1; got {', '.join(wrong)}")
        if self.fold_density <= 0 or self.fold_layers < 0:
            raise ConfigError(f"quality: fold_density is above 0 and fold_layers 0 or more; got {self.fold_density} and {self.fold_layers}")


@dataclass(frozen=True)
class Look:
    """How a slide looks: its colour (0 to 255) where there is nothing, and the mean optical density that its tissue commonly has."""

    glass: tuple[float, float, float] = (255.0, 255.0, 255.0)
    density: float = 0.0


def measure(pixels: Pixels, mpp: float, config: QualityConfig, look: Look) -> dict[str, float]:
    """The four measures of a tile.

    Args:
        pixels: uint8 [height, width, 3].
        mpp: microns per pixel.
        config: for what counts as a fold.
        look: of the slide.

    Returns:
        name -> value from 0 to 1.
    """
    coarse, step = _smaller(pixels, max(1, round(_COARSE_MPP / mpp)))
    mpp_coarse = mpp * step
    density = optical_density(coarse, look.glass)
    ink = is_ink(density)
    strokes = ndimage().uniform_filter(ink.astype(np.float32), 5) > 0.5
    colour = density.max(axis=-1) - density.min(axis=-1)
    stained = _between_walls((colour > _COLOURED) | ink, max(1, round(_WALLS_UM / mpp_coarse)))
    folded = max(config.fold_density, config.fold_layers * look.density)
    thick = ndimage().uniform_filter(density.mean(axis=-1), max(1, round(_NUCLEI_UM / mpp_coarse))) > folded
    return {
        "background": 1 - float(stained.mean()),
        "pen": float(strokes.mean()),
        "fold": float((thick & ~strokes).mean()),
        "blur": blur_effect(pixels),
    }


def refuse(measures: Mapping[str, float], config: QualityConfig) -> str | None:
    """The first reason to leave a tile out, or None."""
    return next((reason for reason in REASONS if measures[reason] > getattr(config, reason)), None)


def blur_effect(pixels: Pixels) -> float:
    """Crete et al. 2007: the share of all steps between neighbours that a blur of 9 pixels leaves, the larger of the two directions."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return max(_left(grey, axis) for axis in (0, 1))


def _left(grey: Floats, axis: int) -> float:
    blurred = ndimage().uniform_filter1d(grey, _BLUR_PX, axis=axis)
    steps, after = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(blurred, axis=axis))
    total = float(steps.sum())
    lost = float(np.maximum(0, steps - after).sum())
    return (total - lost) / total if total > 0 else 1.0


def _between_walls(walls: Mask, radius: int) -> Mask:
    """A closing by a square: a tile is small enough that its shape does not matter, and its time does."""
    grown = ndimage().maximum_filter(walls.astype(np.uint8), 2 * radius + 1)
    between: Mask = ndimage().minimum_filter(grown, 2 * radius + 1) > 0
    return between


def _smaller(pixels: Pixels, step: int) -> tuple[Pixels, int]:
    """Means of squares of `step` pixels; what is left over at the right and below is left out."""
    height, width = (side // step * step for side in pixels.shape[:2])
    if step == 1 or min(height, width) == 0:
        return pixels, 1
    rows = pixels[:height, :width].reshape(height // step, step, width, 3).sum(axis=1, dtype=np.uint16)
    means = rows.reshape(height // step, width // step, step, 3).sum(axis=2, dtype=np.uint32) // (step * step)
    return means.astype(np.uint8), step
