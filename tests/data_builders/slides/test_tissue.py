"""Tissue on overviews of known truth, with everything that lies on real slides added."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from eosin.data_builders.phantoms import TISSUES, SlideTruth
from eosin.data_builders.slides.overview import BROKEN, HELD, MISSING, Overview, read_overview
from eosin.data_builders.slides.tissue import TissueConfig, find_tissue
from eosin.slides.reader import SlideReader

INKS = {"blue": (35, 70, 190), "green": (40, 150, 70), "black": (30, 30, 32), "red": (215, 35, 40)}
HEMATOXYLIN, DAB = np.array([0.65, 0.70, 0.29]), np.array([0.27, 0.57, 0.78])


@pytest.fixture(scope="module")
def seen(phantom: tuple[Path, SlideTruth]) -> tuple[Overview, np.ndarray]:
    """The phantom's overview, and where its tissue is."""
    path, truth = phantom
    with SlideReader(path) as slide:
        overview = read_overview(slide)
    is_tissue = Image.fromarray((truth.regions != list(TISSUES).index("BACK")).astype(np.uint8))
    return overview, np.asarray(is_tissue.resize(overview.pixels.shape[1::-1], Image.Resampling.NEAREST)) > 0


def changed(overview: Overview, pixels: np.ndarray) -> Overview:
    return Overview(pixels.astype(np.uint8), overview.state, overview.downsample, overview.mpp)


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_tissue_is_found_pale_fat_too(seen: tuple[Overview, np.ndarray], phantom: tuple[Path, SlideTruth]) -> None:
    overview, truth = seen
    found = find_tissue(overview, TissueConfig())
    assert iou(found, truth) > 0.93
    fat = Image.fromarray((phantom[1].regions == list(TISSUES).index("ADI")).astype(np.uint8))
    assert found[np.asarray(fat.resize(truth.shape[::-1], Image.Resampling.NEAREST)) > 0].mean() > 0.8


@pytest.mark.parametrize("ink", INKS)
def test_a_marker_on_glass_and_over_tissue_is_left_out(seen: tuple[Overview, np.ndarray], draw: SimpleNamespace, ink: str) -> None:
    overview, truth = seen
    height, width = truth.shape
    pixels, inked = draw.stroke(overview.pixels, INKS[ink], [(4, 4), (width - 8, 10), (width - 10, height * 0.5), (8, height * 0.6)], 9)
    found = find_tissue(changed(overview, pixels), TissueConfig())
    assert inked.mean() > 0.08
    assert found[inked].mean() < 0.05
    assert iou(found, truth & ~inked) > 0.9


def test_blur_costs_nothing(seen: tuple[Overview, np.ndarray]) -> None:
    overview, truth = seen
    blurred = np.asarray(Image.fromarray(overview.pixels).filter(ImageFilter.GaussianBlur(1.5)))
    assert iou(find_tissue(changed(overview, blurred), TissueConfig()), truth) > 0.9


def test_dark_edges_shadow_and_dust_are_no_tissue(seen: tuple[Overview, np.ndarray]) -> None:
    overview, truth = seen
    pixels = overview.pixels.astype(np.float32)
    height, width = truth.shape
    pixels *= np.linspace(0.75, 1, width)[None, :, None]
    pixels[:, :4] = 25
    pixels[-4:] = 60
    rng = np.random.default_rng(0)
    for y, x in rng.integers(6, min(height, width) - 6, (40, 2)):
        pixels[y : y + 2, x : x + 2] = 90
    kept = truth.copy()
    kept[:, :4] = kept[-4:] = False
    assert iou(find_tissue(changed(overview, pixels), TissueConfig()), kept) > 0.9


@pytest.mark.parametrize("positive", [0.02, 0.5, 0.98])
def test_brown_and_blue_immunostains_are_tissue(positive: float) -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros((200, 260), bool)
    truth[40:150, 50:200] = True
    amount = rng.uniform(0.05, 0.35, truth.shape)[..., None]
    brown = (rng.random(truth.shape) < positive)[..., None]
    density = amount * np.where(brown, DAB, HEMATOXYLIN) * truth[..., None]
    pixels = 240 * 10**-density + rng.normal(0, 2, (*truth.shape, 3))
    overview = Overview(pixels.clip(0, 255).astype(np.uint8), np.zeros(truth.shape, np.uint8), 16, 8)
    assert iou(find_tissue(overview, TissueConfig()), truth) > 0.93


def test_empty_glass_has_no_tissue() -> None:
    noise = np.random.default_rng(0).normal(235, 3, (120, 150, 3)).clip(0, 255).astype(np.uint8)
    found = find_tissue(Overview(noise, np.zeros((120, 150), np.uint8), 16, 8), TissueConfig())
    assert found.mean() < 0.01


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_glass_of_a_small_field_is_no_hole_in_its_tissue(top: int, left: int) -> None:
    # 0.115 square millimetres in all: the glass is less than the largest hole, yet reaches the edge.
    truth = np.zeros((44, 41), bool)
    truth[20:, 12:] = True
    truth[28:34, 20:26] = False
    density = np.random.default_rng(2).uniform(0.1, 0.5, truth.shape)[..., None] * HEMATOXYLIN * truth[..., None]
    pixels = (244 * 10**-density).astype(np.uint8)[:: 1 - 2 * top, :: 1 - 2 * left]
    found = find_tissue(Overview(pixels, np.zeros(truth.shape, np.uint8), 32, 8), TissueConfig())[:: 1 - 2 * top, :: 1 - 2 * left]
    assert found[28:34, 20:26].all()
    truth[28:34, 20:26] = True
    assert iou(found, truth) > 0.9


def test_an_overview_is_the_mean_of_its_pixels_whatever_the_blocks(draw: SimpleNamespace, tmp_path: Path) -> None:
    pixels = draw.tissue_like(830, 610)
    path = draw.write_svs(tmp_path / "single.svs", pixels)
    with SlideReader(path) as slide:
        overview = read_overview(slide, mpp=3.5)
        whole, _ = slide.read_level(0, (0, 0, 830, 610))
    assert overview.downsample == 7
    assert overview.pixels.shape == (88, 119, 3)
    wanted = whole[:609, :826].reshape(87, 7, 118, 7, 3).mean(axis=(1, 3))
    assert np.abs(overview.pixels[:87, :118] - wanted).max() <= 0.5 + 1e-6
    assert np.abs(overview.pixels[87, 118] - whole[609:, 826:].mean(axis=(0, 1))).max() <= 0.5 + 1e-6


def test_an_overview_tells_lost_and_broken_places(draw: SimpleNamespace, tmp_path: Path) -> None:
    path = draw.write_svs(tmp_path / "holes.svs", draw.tissue_like(512, 512), lost=(9,), broken=(20,))
    with SlideReader(path) as slide:
        overview = read_overview(slide, mpp=4)
    state = np.zeros((64, 64), np.uint8) + HELD
    state[8:16, 8:16] = MISSING
    state[16:24, 32:40] = BROKEN
    assert np.array_equal(overview.state, state)
    assert not find_tissue(overview, TissueConfig())[state != HELD].any()


def test_no_slide_makes_a_large_overview(phantom: tuple[Path, SlideTruth]) -> None:
    with SlideReader(phantom[0]) as slide:
        assert max(read_overview(slide, mpp=0.1, longest=100).pixels.shape) <= 100
