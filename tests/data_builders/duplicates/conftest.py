"""Tiles drawn for the tests, and the changes that make near duplicates of them."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def phantom_tiles() -> list[Pixels]:
    """Eighteen tiles of all tissues."""
    tissues, scanners = list(TISSUES), list(SCANNERS)
    return [
        render_tile(TileSpec(seed, tissues[seed % len(tissues)], f"P{seed}", "S0", scanners[seed % len(scanners)])).image
        for seed in range(18)
    ]


@pytest.fixture(scope="session")
def changes() -> dict[str, Callable[[Pixels], Pixels]]:
    """The changes a near duplicate may have gone through."""
    from PIL import Image

    def resized(pixels: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(pixels).resize((150, 150), Image.Resampling.BICUBIC))

    def stained(pixels: Pixels) -> Pixels:
        density = -np.log((pixels.astype(float) + 1) / 256) * np.array([1.25, 0.85, 1.1])
        return np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8)

    return {
        "equal": lambda pixels: pixels,
        "corner": lambda pixels: pixels[11:, 11:],
        "border": lambda pixels: pixels[11:-11, 11:-11],
        "resized": resized,
        "flipped": lambda pixels: pixels[:, ::-1],
        "turned": lambda pixels: np.rot90(pixels),
        "transposed": lambda pixels: pixels.swapaxes(0, 1),
        "stained": stained,
    }
