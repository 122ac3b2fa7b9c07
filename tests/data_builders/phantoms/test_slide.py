"""A phantom slide is what OpenSlide expects, shows what its truth says, and is written in bounded memory."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import pytest

from eosin.data_builders.phantoms import TISSUES, SlideSpec, SlideTruth, render_slide
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.errors import InputError

SPEC = SlideSpec(3, "P1", "S1", "birch", width=1604, height=1200, mpp=0.5, tissues=("TUM", "STR", "ADI"))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SlideTruth]:
    path = tmp_path_factory.mktemp("slide") / "phantom.tiff"
    return path, render_slide(SPEC, path)


def test_openslide_opens_it_with_its_size_levels_and_resolution(slide: tuple[Path, SlideTruth]) -> None:
    path, truth = slide
    with openslide.OpenSlide(path) as opened:
        assert opened.properties["openslide.vendor"] == "generic-tiff"
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.5, rel=1e-4)
        assert float(opened.properties["openslide.mpp-y"]) == pytest.approx(0.5, rel=1e-4)
        assert opened.level_dimensions == truth.levels == ((1604, 1200), (401, 300))


def test_levels_show_the_same_picture(slide: tuple[Path, SlideTruth]) -> None:
    with openslide.OpenSlide(slide[0]) as opened:
        full = np.asarray(opened.read_region((0, 0), 0, (1604, 1200)).convert("RGB"), dtype=np.float64)
        small = np.asarray(opened.read_region((0, 0), 1, (401, 300)).convert("RGB"), dtype=np.float64)
    shrunk = full.reshape(300, 4, 401, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 8


def test_regions_lie_where_the_truth_says(slide: tuple[Path, SlideTruth]) -> None:
    path, truth = slide
    names = np.array(list(TISSUES))
    assert set(names[np.unique(truth.regions)]) == {"BACK", "TUM", "STR", "ADI"}
    assert truth.regions.shape == (19, 25)
    with openslide.OpenSlide(path) as opened:
        grey = np.asarray(opened.read_region((0, 0), 0, (1604, 1200)).convert("L"), dtype=np.float64)
    spread = np.zeros_like(truth.regions, dtype=np.float64)
    for row, column in np.ndindex(*truth.regions.shape):
        spread[row, column] = grey[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64].std()
    inner = np.zeros_like(truth.regions, dtype=bool)
    inner[1:-1, 1:-1] = True
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        inner &= np.roll(truth.regions, shift, (0, 1)) == truth.regions
    glass, tumour = (spread[inner & (names[truth.regions] == name)] for name in ("BACK", "TUM"))
    assert glass.max() < 8 < tumour.min()


def test_facts_follow_from_the_regions_and_the_attributes(slide: tuple[Path, SlideTruth]) -> None:
    truth = slide[1]
    shares = {name: truth.facts[f"{name.lower()}_percent"] for name in TISSUES if name != "BACK"}
    assert sum(float(share) for share in shares.values()) == pytest.approx(100, abs=0.5)
    assert shares["LYM"] == 0
    assert float(shares["TUM"]) > 5
    assert truth.facts["tumour"] == "present"
    assert truth.facts["growth_pattern"] == truth.attributes["TUM"]["growth_pattern"]
    assert json.loads(json.dumps(truth.to_json()))["regions"][0][0] == "BACK"


def test_a_slide_without_tumour_says_so(tmp_path: Path) -> None:
    truth = render_slide(SlideSpec(1, width=1024, height=1024, tissues=("ADI",)), tmp_path / "fat.tiff")
    assert truth.facts["tumour"] == "absent"
    assert "growth_pattern" not in truth.facts


def test_the_same_spec_gives_the_same_bytes_and_another_seed_does_not(slide: tuple[Path, SlideTruth], tmp_path: Path) -> None:
    again, other = tmp_path / "again.tiff", tmp_path / "other.tiff"
    rows: list[int] = []
    render_slide(SPEC, again, on_rows=rows.append)
    render_slide(SlideSpec(4, width=1024, height=1024, tissues=("STR",)), other)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (slide[0], again, other)]
    assert digests[0] == digests[1] != digests[2]
    assert sum(rows) == 1200


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    def peak(height: int) -> int:
        white = np.full((448, 1024, 3), 255, dtype=np.uint8)
        bands: Iterator[np.ndarray] = (white[: min(448, height - top)] for top in range(0, height, 448))
        tracemalloc.start()
        write_pyramid(tmp_path / f"{height}.tiff", (1024, height), 0.5, bands)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(16_384) < 1.6 * peak(2048)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (SlideSpec(0, tissues=()), "at least one"),
        (SlideSpec(0, tissues=("TUM", "LIVER")), "unknown tissue"),
        (SlideSpec(0, width=100), "at least 1024"),
    ],
)
def test_a_slide_that_cannot_be_drawn_is_refused_before_anything_is_written(spec: SlideSpec, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        render_slide(spec, tmp_path / "no.tiff")
    assert not (tmp_path / "no.tiff").exists()
