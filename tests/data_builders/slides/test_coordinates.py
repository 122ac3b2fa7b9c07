"""CLAM's and TRIDENT's files: written, read, told apart."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from eosin.data_builders.slides.coordinates import read_coordinates, write_clam, write_trident
from eosin.errors import InputError
from eosin.slides.sampling import Level, sampling_of

LEVELS = (Level(8000, 6000, 1.0), Level(2000, 1500, 4.0))
PLACES = np.array([[0, 0], [896, 0], [0, 1792]], np.int64)
SAMPLING = sampling_of(LEVELS, 0.25, 224, 1.0)


@pytest.mark.parametrize("places", [PLACES, PLACES[:0]])
def test_what_was_written_is_read_again(tmp_path: Path, places: np.ndarray) -> None:
    write_clam(tmp_path / "a.h5", "slide", places, SAMPLING, LEVELS)
    write_trident(tmp_path / "b.h5", "slide", places, SAMPLING, (8000, 6000), (0.25, 0.0))
    for name, layout in (("a.h5", "clam"), ("b.h5", "trident")):
        found = read_coordinates(tmp_path / name)
        assert (found.layout, found.name, found.side) == (layout, "slide", 896)
        assert np.array_equal(found.places, places)


def test_clams_attributes_are_there(tmp_path: Path) -> None:
    write_clam(tmp_path / "a.h5", "slide", PLACES, SAMPLING, LEVELS)
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["coords"]
        assert data.shape == (3, 2)
        assert data.maxshape == (None, 2)
        attributes = dict(data.attrs)
    assert (attributes["patch_size"], attributes["patch_level"], attributes["name"]) == (224, 1, "slide")
    assert list(attributes["downsample"]) == [4.0, 4.0]
    assert list(attributes["downsampled_level_dim"]) == list(attributes["level_dim"]) == [2000, 1500]
    assert "save_path" in attributes


def test_tridents_attributes_are_there(tmp_path: Path) -> None:
    write_trident(tmp_path / "b.h5", "slide", PLACES, SAMPLING, (8000, 6000), (0.25, 0.5))
    with h5py.File(tmp_path / "b.h5") as file:
        attributes = {key: value for key, value in file["coords"].attrs.items() if key not in ("savetodir", "name")}
    assert attributes == {
        "patch_size": 224,
        "patch_size_level0": 896,
        "level0_magnification": 40,
        "target_magnification": 10,
        "overlap": 112,
        "level0_width": 8000,
        "level0_height": 6000,
    }


def write(path: Path, **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("coords", data=PLACES)
        for key, value in attributes.items():
            data.attrs[key] = value
    return path


def test_files_of_older_releases_are_read(tmp_path: Path) -> None:
    assert read_coordinates(write(tmp_path / "a.h5", patch_size=512, patch_level=0, custom_downsample=2)).side == 1024
    named = read_coordinates(write(tmp_path / "b.h5", patch_size=256, patch_level=0, name=b"as bytes"))
    assert (named.name, named.side) == ("as bytes", 256)


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CLAM writes patch_level"):
        read_coordinates(write(tmp_path / "a.h5", stride=4))
    with pytest.raises(InputError, match="`downsample` is missing"):
        read_coordinates(write(tmp_path / "b.h5", patch_size=256, patch_level=1))
    (tmp_path / "c.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_coordinates(tmp_path / "c.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["features"] = [1.0]
    with pytest.raises(InputError, match="no data set `coords`"):
        read_coordinates(tmp_path / "d.h5")
