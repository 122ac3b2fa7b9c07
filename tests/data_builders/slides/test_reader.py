"""What a slide says, and what a slide that cannot be read becomes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eosin.errors import ConfigError, ImageError
from eosin.slides.reader import SlideReader, slide_mpp

Svs = Callable[..., Path]


def reason_of(act: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        act()
    return caught.value.reason


def test_an_aperio_slide_tells_size_levels_and_mpp(svs: Svs) -> None:
    with SlideReader(svs("plain")) as slide:
        assert (slide.vendor, slide.size, len(slide.levels), slide.mpp) == ("aperio", (500, 330), 1, 0.5)


def test_the_override_wins_and_what_the_slide_says_is_kept(svs: Svs) -> None:
    with SlideReader(svs("plain"), mpp=0.25) as slide:
        assert (slide.mpp, slide.own_mpp) == (0.25, 0.5)


def test_without_mpp_the_error_names_both_ways_and_the_objective_is_no_answer(svs: Svs) -> None:
    with SlideReader(svs("no-mpp", text="|AppMag = 20")) as slide, pytest.raises(ImageError, match="mpp_overrides") as caught:
        _ = slide.mpp
    assert caught.value.reason == "no_mpp"
    assert "carries its resolution" in caught.value.message


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}, 0.25),
        ({"tiff.ResolutionUnit": "centimeter", "tiff.XResolution": "20000", "tiff.YResolution": "20000"}, 0.5),
        ({"tiff.ResolutionUnit": "inch", "tiff.XResolution": "50800", "tiff.YResolution": "50800"}, 0.5),
        ({"tiff.ResolutionUnit": "none", "tiff.XResolution": "20000", "tiff.YResolution": "20000"}, "no_mpp"),
        ({"tiff.XResolution": "20000", "tiff.YResolution": "20000"}, "no_mpp"),
        ({"tiff.ResolutionUnit": "inch", "tiff.XResolution": "72", "tiff.YResolution": "72"}, "no_mpp"),
        ({"openslide.mpp-x": "352.7", "openslide.mpp-y": "352.7"}, "no_mpp"),
        ({"openslide.mpp-x": "nan", "openslide.mpp-y": "inf"}, "no_mpp"),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}, "uneven_mpp"),
        ({"openslide.objective-power": "40"}, "no_mpp"),
    ],
)
def test_mpp_is_stated_or_missing_never_guessed(properties: Mapping[str, str], wanted: float | str) -> None:
    if isinstance(wanted, str):
        assert reason_of(lambda: slide_mpp(properties, "x")) == wanted
    else:
        assert slide_mpp(properties, "x") == pytest.approx(wanted)


def test_what_is_no_slide_has_a_reason(draw: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    (tmp_path / "cut.svs").write_bytes(draw.write_svs(tmp_path / "whole.svs", draw.tissue_like(200, 200)).read_bytes()[:4000])
    draw.write_svs(tmp_path / "dot.svs", draw.tissue_like(64, 64)[:1, :1])
    assert reason_of(lambda: SlideReader(tmp_path / "absent.svs")) == "unreadable_slide"
    assert reason_of(lambda: SlideReader(tmp_path / "text.svs")) == "unsupported_format"
    assert reason_of(lambda: SlideReader(tmp_path / "cut.svs")) in ("unsupported_format", "unreadable_slide")
    assert reason_of(lambda: SlideReader(tmp_path / "dot.svs")) == "too_small"


def test_a_broken_tile_is_named_and_the_handle_lives_on(svs: Svs) -> None:
    with SlideReader(svs("broken", broken=(9,))) as slide:
        assert reason_of(lambda: slide.read_region(64, 64, 64, 0.5)) == "unreadable_region"
        assert slide.read_region(0, 0, 64, 0.5).shape == (64, 64, 3)


def test_pixels_that_are_not_in_the_file_are_missing_not_white(svs: Svs) -> None:
    with SlideReader(svs("lost", lost=(9,))) as slide:
        assert reason_of(lambda: slide.read_region(100, 100, 64, 0.5)) == "missing_pixels"
        assert slide.read_region(192, 64, 64, 0.5).shape == (64, 64, 3)


def test_a_region_at_half_the_resolution_is_the_mean_of_its_pixels(draw: SimpleNamespace, tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(draw.tissue_like(64, 64), 8, axis=0), 8, axis=1)
    with SlideReader(draw.write_slide(tmp_path / "slide.tiff", pixels)) as slide:
        found = slide.read_region(64, 128, 64, 1.0)
    wanted = pixels[128:256, 64:192].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - wanted).mean() < 4


def test_the_coarsest_level_that_has_the_detail_is_read(draw: SimpleNamespace, tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(draw.tissue_like(140, 140), 8, axis=0), 8, axis=1)
    with SlideReader(draw.write_slide(tmp_path / "slide.tiff", pixels)) as slide:
        found = slide.read_region(256, 512, 32, 2.0)
        level, _ = slide.read_level(1, (64, 128, 32, 32))
    assert np.array_equal(found, level)


def test_no_detail_is_made_up(svs: Svs) -> None:
    with SlideReader(svs("plain")) as slide, pytest.raises(ConfigError, match=r"the slide has 0\.5"):
        slide.read_region(0, 0, 64, 0.25)
