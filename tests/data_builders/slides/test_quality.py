"""What is wrong with a tile is told, and what is right is left alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from eosin.data_builders.phantoms import SCANNERS, TISSUES
from eosin.data_builders.phantoms.tile import TileSpec, render_tile
from eosin.data_builders.slides.quality import QualityConfig, measure, refuse
from eosin.errors import ConfigError

GLASS = (243.0, 241.0, 244.0)
CONFIG = QualityConfig()


@pytest.fixture(scope="module")
def tiles() -> dict[str, list[np.ndarray]]:
    """Three tiles of each tissue, each from another patient."""
    specs = {
        name: [TileSpec(seed, name, f"P{seed}", "S", list(SCANNERS)[seed % len(SCANNERS)], 224, 0.5) for seed in range(3)]
        for name in TISSUES
        if name != "BACK"
    }
    return {name: [render_tile(spec).image for spec in found] for name, found in specs.items()}


def verdict(pixels: np.ndarray) -> str | None:
    return refuse(measure(pixels, 0.5, CONFIG, GLASS), CONFIG)


def test_every_sharp_clean_tissue_passes(tiles: dict[str, list[np.ndarray]]) -> None:
    assert {name: [verdict(tile) for tile in found] for name, found in tiles.items()} == {name: [None] * 3 for name in tiles}


def test_a_picture_out_of_focus_is_blur_whatever_the_tissue(tiles: dict[str, list[np.ndarray]]) -> None:
    for found in tiles.values():
        for tile in found:
            assert verdict(np.asarray(Image.fromarray(tile).filter(ImageFilter.GaussianBlur(3)))) == "blur"


def test_glass_is_background() -> None:
    noise = np.random.default_rng(0).normal(GLASS, 1.5, (224, 224, 3)).clip(0, 255).astype(np.uint8)
    assert verdict(noise) == "background"


@pytest.mark.parametrize("colour", [(35, 70, 190), (40, 150, 70), (30, 30, 32), (215, 35, 40)])
def test_a_marker_across_a_tile_is_pen(tiles: dict[str, list[np.ndarray]], draw: SimpleNamespace, colour: tuple[int, int, int]) -> None:
    for found in tiles.values():
        inked, _ = draw.stroke(found[0], colour, [(0, 20), (224, 160)], 40)
        assert verdict(inked) == "pen"


@pytest.mark.parametrize("name", ["MUS", "TUM", "LYM"])
def test_a_band_of_three_layers_is_a_fold(tiles: dict[str, list[np.ndarray]], name: str) -> None:
    for tile in tiles[name]:
        light = tile / 255
        light[60:140] = light[60:140] ** 3
        assert verdict((light * 255).astype(np.uint8)) == "fold"


def test_the_thresholds_are_the_recipes(tiles: dict[str, list[np.ndarray]]) -> None:
    measures = measure(tiles["TUM"][0], 0.5, CONFIG, GLASS)
    assert refuse(measures, QualityConfig(blur=0.01)) == "blur"
    assert refuse(dict.fromkeys(measures, 1.0), QualityConfig(background=1, pen=1, fold=1, blur=1)) is None
    with pytest.raises(ConfigError, match="pen 2"):
        QualityConfig(pen=2)


def test_real_tiles_in_focus_are_not_called_blurred(draw: SimpleNamespace, tiles: dict[str, list[np.ndarray]]) -> None:
    folders: list[Path] = draw.real("tiles/lc25000_768px")
    found = [tile for same in tiles.values() for tile in same]
    for folder in folders:
        found += [np.asarray(Image.open(path).convert("RGB"))[:224, :224] for path in sorted(folder.rglob("*.jp*g"))[:20]]
    assert np.mean([measure(tile, 0.5, CONFIG, GLASS)["blur"] <= CONFIG.blur for tile in found]) >= 0.9
