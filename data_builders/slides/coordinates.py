"""HDF5 files of tile coordinates as CLAM (Lu et al. 2021) and TRIDENT (Zhang et al. 2025) lay them out, written and read.

Both hold `coords`, int64 [n, 2]: x, y of the top left corners at level 0. What differs is how the tile's size is told:

    CLAM      attributes of `coords`: patch_size in pixels of patch_level; downsample, downsampled_level_dim, level_dim, name, save_path
    TRIDENT   attributes of `coords`: patch_size in pixels of the tile; patch_size_level0, level0_magnification, target_magnification,
              overlap (pixels of the tile), name, savetodir, level0_width, level0_height

Their readers take a tile of patch_size from patch_level, or of patch_size_level0 from level 0; magnification is 10 / mpp there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eosin.errors import InputError, MissingDependency
from eosin.slides.sampling import Level, Sampling

Layout = Literal["clam", "trident"]


@dataclass(frozen=True)
class Coordinates:
    """Tiles of one slide.

    Attributes:
        layout: what wrote the file.
        name: of the slide.
        places: int64 [n, 2], x and y at level 0.
        side: of a tile at level 0, in pixels.
        attributes: as they stand in the file.
    """

    layout: Layout
    name: str
    places: npt.NDArray[np.int64]
    side: int
    attributes: Mapping[str, Any]


def h5() -> ModuleType:
    """h5py.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency("h5py", "slides") from error
    found: ModuleType = h5py
    return found


def write_clam(path: Path, name: str, places: npt.NDArray[np.int64], sampling: Sampling, levels: tuple[Level, ...]) -> None:
    """CLAM's file.

    Args:
        path: of the file.
        name: of the slide.
        places: int64 [n, 2] at level 0.
        sampling: which level a tile is read from.
        levels: of the slide.
    """
    level = levels[sampling.level]
    size = [level.width, level.height]
    attributes = {
        "patch_size": round(sampling.side / sampling.downsample),
        "patch_level": sampling.level,
        "downsample": [sampling.downsample, sampling.downsample],
        "downsampled_level_dim": size,
        "level_dim": size,
        "name": name,
        "save_path": ".",
    }
    _write(path, places, attributes, chunk=32)


def write_trident(
    path: Path, name: str, places: npt.NDArray[np.int64], sampling: Sampling, size: tuple[int, int], grid: tuple[float, float]
) -> None:
    """TRIDENT's file.

    Args:
        path: of the file.
        name: of the slide.
        places: int64 [n, 2] at level 0.
        sampling: how a tile is read.
        size: width and height of level 0.
        grid: microns per pixel of level 0, and the overlap as a share of the side.
    """
    mpp, overlap = grid
    attributes = {
        "patch_size": sampling.size,
        "patch_size_level0": sampling.side,
        "level0_magnification": round(10 / mpp),
        "target_magnification": round(10 / (mpp * sampling.side / sampling.size)),
        "overlap": round(overlap * sampling.size),
        "name": name,
        "savetodir": ".",
        "level0_width": size[0],
        "level0_height": size[1],
    }
    _write(path, places, attributes, chunk=None)


def read_coordinates(path: str | Path) -> Coordinates:
    """A file of either layout; which one is told by its attributes, never by its name.

    Raises:
        InputError: it is no HDF5, or of neither layout.
    """
    library = h5()
    try:
        with library.File(path, "r") as file:
            if "coords" not in file:
                raise InputError(f"{path}: there is no data set `coords`; CLAM's and TRIDENT's patch files have one")
            data = file["coords"]
            attributes = {key: _plain(value) for key, value in data.attrs.items()}
            places = np.asarray(data[()], np.int64).reshape(-1, 2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as HDF5 coordinates: {error}") from error
    name = str(attributes.get("name") or Path(path).stem)
    if "patch_size_level0" in attributes:
        return Coordinates("trident", name, places, int(attributes["patch_size_level0"]), attributes)
    if "patch_level" in attributes and "patch_size" in attributes:
        return Coordinates("clam", name, places, _clam_side(path, attributes), attributes)
    raise InputError(
        f"{path}: its attributes are {', '.join(sorted(attributes)) or 'none'}; "
        "CLAM writes patch_level and patch_size, TRIDENT patch_size_level0"
    )


def _clam_side(path: str | Path, attributes: Mapping[str, Any]) -> int:
    """Old files have no `downsample`: then only level 0 can be told."""
    downsample = attributes.get("downsample")
    if downsample is None and int(attributes["patch_level"]) != 0:
        raise InputError(f"{path}: patch_level is {attributes['patch_level']} but `downsample` is missing: the tile's size is not known")
    factor = float(np.ravel(downsample)[0]) if downsample is not None else 1.0
    # An older release halved patches by this attribute instead of a level.
    return round(int(attributes["patch_size"]) * factor * int(attributes.get("custom_downsample", 1)))


def _write(path: Path, places: npt.NDArray[np.int64], attributes: Mapping[str, Any], chunk: int | None) -> None:
    with h5().File(path, "w") as file:
        layout = {"chunks": (chunk, 2), "maxshape": (None, 2)} if chunk else {}
        data = file.create_dataset("coords", data=places.reshape(-1, 2), dtype="int64", **layout)
        for key, value in attributes.items():
            data.attrs[key] = value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
