"""What is wrong with a tile is told, and what is right is left alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from eosin.data_builders.phantoms import SCANNERS, TISSUES
from eosin.data_builders.phantoms.tile import TileSpec, render_tile
from eosin.data_builders.slides.ink import optical_density
from eosin.data_builders.slides.overview import read_overview
from eosin.data_builders.slides.quality import Look, QualityConfig, measure, refuse
from eosin.data_builders.slides.tissue import TissueConfig, common_density, find_tissue
from eosin.errors import ConfigError
from eosin.slides.reader import SlideReader
from eosin.slides.stream import iter_tiles

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


@pytest.fixture(scope="module")
def looks(tiles: dict[str, list[np.ndarray]]) -> list[Look]:
    """How each patient's slide, of all these tissues, looks."""
    found = []
    for seed in range(3):
        density = optical_density(np.stack([same[seed] for same in tiles.values()]), GLASS).mean(axis=-1)
        found.append(Look(GLASS, float(np.median(density[density > 0.1]))))
    return found


def verdict(pixels: np.ndarray, look: Look = Look(GLASS, 0.3)) -> str | None:  # noqa: B008
    return refuse(measure(pixels, 0.5, CONFIG, look), CONFIG)


def test_every_sharp_clean_tissue_passes(tiles: dict[str, list[np.ndarray]], looks: list[Look]) -> None:
    found = {name: [verdict(*both) for both in zip(same, looks, strict=True)] for name, same in tiles.items()}
    assert found == {name: [None] * 3 for name in tiles}


def test_a_picture_out_of_focus_is_blur_whatever_the_tissue(tiles: dict[str, list[np.ndarray]], looks: list[Look]) -> None:
    for same in tiles.values():
        for tile, look in zip(same, looks, strict=True):
            assert verdict(np.asarray(Image.fromarray(tile).filter(ImageFilter.GaussianBlur(3))), look) == "blur"


def test_glass_is_background() -> None:
    noise = np.random.default_rng(0).normal(GLASS, 1.5, (224, 224, 3)).clip(0, 255).astype(np.uint8)
    assert verdict(noise) == "background"


@pytest.mark.parametrize("colour", [(40, 150, 70), (30, 30, 32), (215, 35, 40)])
def test_a_marker_across_a_tile_is_pen(tiles: dict[str, list[np.ndarray]], draw: SimpleNamespace, colour: tuple[int, int, int]) -> None:
    for found in tiles.values():
        inked, _ = draw.stroke(found[0], colour, [(0, 20), (224, 160)], 40)
        assert verdict(inked) == "pen"


def test_blue_marker_is_pen_on_pale_tissue_and_too_dense_on_dark(tiles: dict[str, list[np.ndarray]], draw: SimpleNamespace) -> None:
    for name, found in tiles.items():
        inked, _ = draw.stroke(found[0], (35, 70, 190), [(0, 20), (224, 160)], 150)
        assert verdict(inked) in (("pen",) if name == "ADI" else ("pen", "fold"))


@pytest.mark.parametrize("name", ["MUS", "TUM", "LYM"])
def test_a_band_of_three_layers_is_a_fold(tiles: dict[str, list[np.ndarray]], looks: list[Look], name: str) -> None:
    for tile, look in zip(tiles[name], looks, strict=True):
        light = tile / 255
        light[60:140] = light[60:140] ** 3
        assert verdict((light * 255).astype(np.uint8), look) in ("fold", "pen")


@pytest.mark.parametrize("name", ["TUM", "LYM", "NORM"])
def test_dense_epithelium_in_a_pale_section_is_no_fold(tiles: dict[str, list[np.ndarray]], name: str) -> None:
    for pale, dense in zip(tiles["STR"], tiles[name], strict=True):
        layers = [optical_density(tile, GLASS) for tile in (pale, dense)]
        # As measured on skin: dermis of 0.21, epidermis of 0.62.
        found, epidermis = (layer * (wanted / layer.mean()) for layer, wanted in zip(layers, (0.21, 0.62), strict=True))
        found[60:140] = epidermis[60:140]
        pixels = (np.array(GLASS) * 10**-found).clip(0, 255).astype(np.uint8)
        assert measure(pixels, 0.5, CONFIG, Look(GLASS, 0.21))["fold"] <= CONFIG.fold
        assert measure(pixels, 0.5, QualityConfig(fold_density=0.5), Look(GLASS, 0.21))["fold"] > CONFIG.fold


def test_a_dark_stain_is_no_fold(tiles: dict[str, list[np.ndarray]]) -> None:
    dark = ((tiles["LYM"][0] / 255) ** 1.5 * 255).astype(np.uint8)
    assert refuse(measure(dark, 0.5, CONFIG, Look(GLASS, 0.45)), CONFIG) is None


def test_the_thresholds_are_the_recipes(tiles: dict[str, list[np.ndarray]]) -> None:
    measures = measure(tiles["TUM"][0], 0.5, CONFIG, Look(GLASS))
    assert refuse(measures, QualityConfig(blur=0.01)) == "blur"
    assert refuse(dict.fromkeys(measures, 1.0), QualityConfig(background=1, pen=1, fold=1, blur=1)) is None
    with pytest.raises(ConfigError, match="pen 2"):
        QualityConfig(pen=2)


def test_real_tiles_in_focus_are_not_called_blurred(draw: SimpleNamespace, tiles: dict[str, list[np.ndarray]]) -> None:
    folders: list[Path] = draw.real("tiles/lc25000_768px")
    found = [tile for same in tiles.values() for tile in same]
    for folder in folders:
        found += [np.asarray(Image.open(path).convert("RGB"))[:224, :224] for path in sorted(folder.rglob("*.jp*g"))[:20]]
    assert np.mean([measure(tile, 0.5, CONFIG, Look(GLASS))["blur"] <= CONFIG.blur for tile in found]) >= 0.9


def test_real_skin_is_not_called_folded(draw: SimpleNamespace, tiles: dict[str, list[np.ndarray]], looks: list[Look]) -> None:
    found = [(tile, look) for same in tiles.values() for tile, look in zip(same, looks, strict=True)]
    for path in draw.real("wsi/CMU-1-Small-Region.svs"):
        with SlideReader(path) as slide:
            overview = read_overview(slide, 8.0, 2048, 1)
            look = Look(GLASS, common_density(overview, find_tissue(overview, TissueConfig())))
            places = [(x, y) for y in range(0, slide.size[1] - 256, 256) for x in range(0, slide.size[0] - 256, 256)]
            found += [(tile.pixels, look) for tile in iter_tiles(slide, places, 256, 0.5, threads=1) if tile.pixels is not None]
    assert max(measure(tile, 0.5, CONFIG, look)["fold"] for tile, look in found) <= CONFIG.fold
