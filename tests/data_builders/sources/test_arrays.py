"""Arrays are read a slice at a time, whatever their size, and no pickle is opened."""

import gzip
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.sources.reading.arrays import H5Array, NpzArray, as_rgb, open_npy, unpacked
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError

ROWS = np.random.default_rng(5).integers(0, 255, (40, 6, 6, 3), dtype=np.uint8)


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "packed"])
def npz(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    request.param(tmp_path / "x.npz", images=ROWS, objects=np.array([{"a": 1}], dtype=object), columns=np.asfortranarray(ROWS))
    return tmp_path / "x.npz"


def test_npz_items_come_in_any_order(npz: Path) -> None:
    array = NpzArray(npz, "images")
    assert len(array) == 40
    for number in (0, 1, 7, 39, 3, 3, 0):
        assert (array[number] == ROWS[number]).all()


@pytest.mark.parametrize(
    ("name", "what"), [("objects", "cannot be read safely"), ("columns", "cannot be read safely"), ("none", "no array called")]
)
def test_npz_refuses_what_is_no_rows_of_numbers(npz: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        NpzArray(npz, name)


def test_a_damaged_or_cut_archive_is_named(npz: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.npz"
    cut.write_bytes(npz.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut\.npz: not readable as an npz archive"):
        NpzArray(cut, "images")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive, zipfile.ZipFile(npz) as whole:
        archive.writestr("images.npy", whole.read("images.npy")[:-50])
    array = NpzArray(tmp_path / "short.npz", "images")
    assert (array[38] == ROWS[38]).all()
    with pytest.raises(Refused, match="ends before item 39"):
        array[39]


@pytest.mark.parametrize("chunks", [None, (7, 6, 6, 3), (1, 6, 6, 3)], ids=["whole", "seven", "one"])
def test_h5_items_come_in_any_order(tmp_path: Path, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eosin.data_builders.sources.reading.arrays._BLOCK_BYTES", 1000)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=ROWS, chunks=chunks)
    array = H5Array(tmp_path / "x.h5", "y", "x")
    assert len(array) == 40
    for number in (39, 0, 6, 7, 20, 19):
        assert (array[number] == ROWS[number]).all()
    with pytest.raises(InputError, match="no data set called z in it; there are: x"):
        H5Array(tmp_path / "x.h5", "z")
    (tmp_path / "bad.h5").write_bytes(b"no h5")
    with pytest.raises(InputError, match=r"bad\.h5: not readable as HDF5"):
        H5Array(tmp_path / "bad.h5", "x")


def test_a_packed_file_is_unpacked_once_and_again_when_it_changes(tmp_path: Path) -> None:
    packed = tmp_path / "x.h5.gz"
    packed.write_bytes(gzip.compress(b"first"))
    first = unpacked(packed, str(tmp_path / "copies"))
    assert first.read_bytes() == b"first"
    first.write_bytes(b"marked")
    assert unpacked(packed, str(tmp_path / "copies")).read_bytes() == b"marked"
    packed.write_bytes(gzip.compress(b"second one"))
    assert unpacked(packed, str(tmp_path / "copies")).read_bytes() == b"second one"
    assert unpacked(first) == first


def test_a_damaged_packed_file_leaves_nothing_behind(tmp_path: Path) -> None:
    packed = tmp_path / "x.h5.gz"
    packed.write_bytes(gzip.compress(np.random.default_rng(1).bytes(5000))[:-100])
    with pytest.raises(InputError, match="damaged"):
        unpacked(packed, str(tmp_path / "copies"))
    assert [path.suffix for path in (tmp_path / "copies").iterdir()] == [".lock"]


def test_npy_is_mapped_and_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    assert isinstance(open_npy(tmp_path / "x.npy"), np.memmap)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not readable as an array of numbers or text"):
        open_npy(tmp_path / "objects.npy")


@given(st.floats(width=64), st.sampled_from([(2, 3), (2, 3, 1), (2, 3, 3)]))
def test_floats_become_bytes_or_are_refused(value: float, shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, value)
    if 0 <= value <= 255:
        assert (as_rgb(pixels) == round(value)).all()
        assert as_rgb(pixels).shape == (2, 3, 3)
    else:
        with pytest.raises(Refused, match="beyond 0 to 255"):
            as_rgb(pixels)


@pytest.mark.parametrize("make", [lambda: np.zeros((2, 3, 4)), lambda: np.zeros((0, 3)), lambda: np.zeros(3)])
def test_other_shapes_are_refused(make: Callable[[], np.ndarray]) -> None:
    with pytest.raises(Refused, match="height, width, 3"):
        as_rgb(make())


def test_a_large_array_is_never_held(tmp_path: Path) -> None:
    large = np.zeros((6000, 64, 64, 3), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=large)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=large, chunks=(32, 64, 64, 3), compression="gzip")
    for array in (NpzArray(tmp_path / "x.npz", "images"), H5Array(tmp_path / "x.h5", "x")):
        tracemalloc.start()
        for number in range(0, 6000, 500):
            array[number]
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # Two blocks while one takes the other's place; the array itself has 70 MB.
        assert held < 36 << 20
