"""Tile grids: whole coordinates inside the slide, the wanted distance apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.slides.grid import Grid
from eosin.errors import ConfigError
from eosin.slides.sampling import Level, sampling_of


@given(width=st.integers(1, 700), height=st.integers(1, 700), side=st.integers(16, 300), overlap=st.floats(0, 0.8), shift=st.booleans())
def test_tiles_lie_inside_and_drop_or_shift_decides_the_rest(width: int, height: int, side: int, overlap: float, shift: bool) -> None:
    grid = Grid.of((width, height), side, overlap, "shift" if shift else "drop")
    places = list(grid.places())
    assert len(places) == len(set(places)) == grid.rows * grid.columns
    assert all(0 <= x <= width - side and 0 <= y <= height - side for x, y in places)
    if min(width, height) < side:
        assert not places
        return
    columns = sorted({x for x, _ in places})
    stride = max(1.0, side * (1 - overlap))
    assert all(abs(x - number * stride) <= 0.5 + 1e-6 for number, x in enumerate(columns[:-1] if shift else columns))
    assert columns[-1] == width - side if shift else columns[-1] + stride > width - side - 1


def test_rows_are_the_places_in_order() -> None:
    grid = Grid.of((1000, 700), 100, 0.25)
    assert [place for row in range(grid.rows) for place in grid.row(row)] == list(grid.places())


def test_an_overlap_of_a_whole_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="overlap is 1"):
        Grid.of((100, 100), 10, 1.0)


LEVELS = (Level(40_000, 30_000, 1.0), Level(10_000, 7_500, 4.0), Level(2_500, 1_875, 16.0))


@pytest.mark.parametrize(
    ("slide_mpp", "mpp", "level", "side"),
    [(0.25, 0.25, 0, 224), (0.25, 0.5, 0, 448), (0.25, 1.0, 1, 896), (0.25, 4.0, 2, 3584), (0.499, 0.5, 0, 224), (0.2517, 0.5, 0, 445)],
)
def test_the_same_microns_are_read_from_every_scanner(slide_mpp: float, mpp: float, level: int, side: int) -> None:
    found = sampling_of(LEVELS, slide_mpp, 224, mpp)
    assert (found.level, found.side) == (level, side)
    assert found.side * slide_mpp == pytest.approx(224 * mpp, rel=0.005)


@given(x=st.integers(0, 39_000), y=st.integers(0, 29_000), mpp=st.floats(0.25, 1.1))
def test_what_is_read_covers_the_tile_and_stays_on_the_level(x: int, y: int, mpp: float) -> None:
    found = sampling_of(LEVELS, 0.25, 224, mpp)
    x, y = min(x, 40_000 - found.side), min(y, 30_000 - found.side)
    left, top, width, height = found.cover(x, y)
    assert left >= 0
    assert top >= 0
    assert left + width <= found.bounds[0]
    assert top + height <= found.bounds[1]
    for start, length, place in ((left, width, x), (top, height, y)):
        assert start <= place / found.downsample + 1e-3
        assert start + length >= (place + found.side) / found.downsample - 1e-3


def test_a_slide_coarser_than_wanted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ask for 0\.5 or more"):
        sampling_of(LEVELS, 0.5, 224, 0.25)
