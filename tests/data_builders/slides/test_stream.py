"""Tiles off a slide: OpenSlide's pixels, whichever way they came."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openslide
import pytest

from eosin.slides.jpeg_tiles import jpeg_level
from eosin.slides.reader import SlideReader
from eosin.slides.stream import iter_tiles

Svs = Callable[..., Path]


def openslide_pixels(path: Path, x: int, y: int, size: int) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((x, y), 0, (size, size)).convert("RGB"))


def places(slide: SlideReader, side: int, step: int) -> list[tuple[int, int]]:
    width, height = slide.size
    return [(x, y) for y in range(0, height - side + 1, step) for x in range(0, width - side + 1, step)]


@pytest.fixture
def slides(svs: Svs, draw: SimpleNamespace, tmp_path: Path) -> list[Path]:
    """RGB and YCbCr Aperio slides, a pyramid, a DICOM and an SVS of a real scanner where there are any."""
    drawn = [svs("rgb"), svs("ycbcr", rgb=False), draw.write_slide(tmp_path / "pyramid.tiff", draw.tissue_like(1100, 700))]
    return drawn + draw.real("wsi/CMU-1-Small-Region.svs") + draw.real("wsi/highdicom/sm_image.dcm")


def test_every_tile_is_openslides_pixel_for_pixel_direct_or_not(slides: list[Path]) -> None:
    for path in slides:
        with SlideReader(path) as slide:
            side = min(100, *slide.size)
            at = places(slide, side, 37 if slide.size[0] < 1200 else 311)
            for direct in (True, False):
                for tile in iter_tiles(slide, at, side, slide.mpp, direct=direct):
                    assert tile.pixels is not None
                    assert np.array_equal(tile.pixels, openslide_pixels(path, tile.x, tile.y, side)), (path.name, tile.x, tile.y, direct)


def test_jpeg_slides_are_decoded_without_openslide(slides: list[Path]) -> None:
    for path in slides:
        with SlideReader(path) as slide:
            assert {jpeg_level(slide, number) is not None for number in range(len(slide.levels))} == {path.suffix != ".dcm"}


def test_resampled_tiles_are_the_same_direct_or_not_and_for_any_number_of_threads(slides: list[Path]) -> None:
    with SlideReader(slides[2]) as slide:
        at = places(slide, 130, 61)
        ways = [
            list(iter_tiles(slide, at, 100, 0.65, threads=threads, direct=direct)) for threads, direct in ((1, True), (3, True), (2, False))
        ]
        single = [slide.read_region(x, y, 100, 0.65) for x, y in at]
    for one, two, three, alone in zip(*ways, single, strict=True):
        assert (one.x, one.y) == (two.x, two.y) == (three.x, three.y)
        for other in (two.pixels, three.pixels, alone):
            assert other is not None
            assert one.pixels is not None
            assert np.array_equal(one.pixels, other)


def test_a_broken_tile_costs_only_the_tiles_that_touch_it(svs: Svs) -> None:
    for direct in (True, False):
        with SlideReader(svs("broken", broken=(9,))) as slide:
            found = {(tile.x, tile.y): tile for tile in iter_tiles(slide, places(slide, 64, 64), 64, 0.5, direct=direct)}
        refused = {place: tile.error.reason for place, tile in found.items() if tile.error}
        assert refused == {(64, 64): "unreadable_region"}
        assert all((tile.pixels is None) == (place in refused) for place, tile in found.items())


def test_a_lost_tile_is_missing_never_white(svs: Svs) -> None:
    for direct in (True, False):
        with SlideReader(svs("two-lost", lost=(9, 17))) as slide:
            found = {(tile.x, tile.y): tile for tile in iter_tiles(slide, places(slide, 48, 48), 48, 0.5, direct=direct)}
        touching = {(x, y) for x, y in found if x < 128 and x + 48 > 64 and y < 192 and y + 48 > 64}
        assert {place for place, tile in found.items() if tile.error and tile.error.reason == "missing_pixels"} == touching
        assert all(tile.pixels is not None for place, tile in found.items() if place not in touching)


def test_a_stream_may_be_left_early(svs: Svs) -> None:
    with SlideReader(svs("rgb")) as slide:
        stream = iter_tiles(slide, places(slide, 64, 16), 64, 0.5)
        assert next(stream).pixels is not None
        stream.close()
        assert slide.read_region(0, 0, 64, 0.5).shape == (64, 64, 3)


def test_a_tile_belongs_to_the_reader_who_may_write_on_it(svs: Svs) -> None:
    with SlideReader(svs("rgb")) as slide:
        tiles = []
        for tile in iter_tiles(slide, [(0, 0), (0, 0), (32, 0)], 64, 0.5):
            assert tile.pixels is not None
            tiles.append(tile.pixels.copy())
            tile.pixels[:] = 0
    assert np.array_equal(tiles[0], tiles[1])
    assert tiles[2].any()
