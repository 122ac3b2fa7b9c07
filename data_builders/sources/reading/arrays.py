"""Pixel arrays as publishers ship them: HDF5, npy and npz, a slice at a time. Pickles in them are never opened."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError, MissingDependency
from eosin.images import DEFAULT_LIMITS, Pixels, encode_png
from eosin.progress import say

_BLOCK_BYTES = 1 << 24
_SPOOL = 1 << 22
Array = np.ndarray[Any, np.dtype[Any]]


def as_png(pixels: Array) -> bytes:
    """An image of an array as PNG.

    Args:
        pixels: [height, width, 3], [height, width, 1] or [height, width]; uint8, or numbers of 0 to 255.

    Raises:
        Refused: `pixel_range`: a number beyond 0..255, or none; `odd_shape`.
    """
    return encode_png(as_rgb(pixels))


def as_rgb(pixels: Array) -> Pixels:
    """uint8 [height, width, 3] of an array, rounded; grey is repeated. See `as_png`."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)) or 0 in pixels.shape:
        raise Refused("odd_shape", f"its array is {list(pixels.shape)}; [height, width, 3] or [height, width] is wanted")
    if pixels.dtype != np.uint8:
        if pixels.dtype.kind not in "fiu" or not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 255:
            raise Refused("pixel_range", f"its {pixels.dtype} array holds values beyond 0 to 255")
        pixels = np.rint(pixels).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels)


class H5Array:
    """One data set of an HDF5 file, read in blocks of whole chunks; at most some 16 MB are held.

    Args:
        path: an .h5 file.
        names: the data set is called one of these.

    Raises:
        InputError: damaged, or no such data set.
        MissingDependency: h5py is absent.
    """

    def __init__(self, path: Path, *names: str) -> None:
        try:
            import h5py
        except ImportError as error:
            raise MissingDependency("h5py", "slides") from error
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path}: not readable as HDF5 ({error}); fetch it again") from error
        name = next((name for name in names if isinstance(self._file.get(name, getclass=True), type) and name in self._file), None)
        if name is None or not isinstance(self._file[name], h5py.Dataset):
            raise InputError(f"{path}: no data set called {' or '.join(names)} in it; there are: {', '.join(self._file)}")
        self._data = self._file[name]
        self._start = 0
        self._block: Array = np.empty((0,))
        item = max(1, int(np.prod(self._data.shape[1:])) * self._data.dtype.itemsize)
        chunk = self._data.chunks[0] if self._data.chunks else 1
        # Whole chunks only: a chunk that two blocks share would be unpacked twice.
        self._rows = max(1, _BLOCK_BYTES // item // chunk) * chunk

    def __len__(self) -> int:
        return int(self._data.shape[0]) if self._data.shape else 0

    def __getitem__(self, number: int) -> Array:
        """One item.

        Raises:
            Refused: `corrupt`: its part of the file is damaged.
        """
        if not self._start <= number < self._start + len(self._block):
            start = number - number % self._rows
            try:
                self._block = self._data[start : start + self._rows]
            except OSError as error:
                raise Refused("corrupt", f"{self.path.name}: item {number}: {error}") from error
            self._start = start
        item: Array = self._block[number - self._start]
        return item


def unpacked(path: Path, folder: str = "") -> Path:
    """The content of a .gz file as a file that can be read from any place; other files as they are.

    HDF5 cannot be read from any place in a stream, so it is unpacked once; every process and later run uses the same copy.

    Args:
        path: a file, packed or not.
        folder: where copies go; empty: one of this user in the system's temporary folder.

    Raises:
        InputError: damaged, or no room for it.
    """
    if path.suffix != ".gz":
        return path
    base = Path(folder) if folder else Path(tempfile.gettempdir()) / f"eosin-unpacked-{os.getuid()}"
    status = path.stat()
    mark = hashlib.sha256(f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}".encode()).hexdigest()[:16]
    target = base / f"{mark}-{path.stem}"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not folder and base.stat().st_uid != os.getuid():
            raise InputError(f"{base} belongs to another user; name a folder of your own in options.unpack")
        with (base / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                _unpack(path, target)
    except OSError as error:
        raise InputError(f"{path} cannot be unpacked into {base}: {error}; name a folder with room in options.unpack") from error
    return target


def _unpack(path: Path, target: Path) -> None:
    say(f"unpacking {path.name} to {target}; it is used again by later runs and may be deleted after the last one")
    part = target.with_name(f"{target.name}.part")
    try:
        with gzip.open(path, "rb") as packed, part.open("wb") as file:
            shutil.copyfileobj(packed, file, _SPOOL)
        part.replace(target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged ({error}); fetch it again") from error
    finally:
        part.unlink(missing_ok=True)


def open_npy(path: Path) -> Array:
    """An .npy file as a memory map: only what is looked at is read.

    Raises:
        InputError: damaged, or an array of Python objects.
    """
    try:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not readable as an array of numbers or text ({error}); fetch it again") from error
    return found


class NpzArray:
    """One array of an .npz archive, read forward as a stream: no more than one item is held, whatever the array's size.

    Items are read in rising order at little cost; going back starts the stream anew.

    Args:
        path: the archive.
        name: of the array, without `.npy`.

    Raises:
        InputError: damaged, no such array, Python objects, or columns before rows.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._next = 0
        with _npz_errors(path):
            self._archive = zipfile.ZipFile(path)
            if f"{name}.npy" not in self._archive.namelist():
                raise InputError(f"{path}: no array called {name} in it; there are: {', '.join(npz_names(path))}")
            self._stream: IO[bytes] = self._open()

    def _open(self) -> IO[bytes]:
        stream = self._archive.open(f"{self.name}.npy")
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, columns_first, self.dtype = read(stream)
        if self.dtype.hasobject or (columns_first and len(self.shape) > 1) or not self.shape:
            raise InputError(f"{self.path}: {self.name} is {self.dtype} {list(self.shape)}, not rows of numbers: it cannot be read safely")
        self._item = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        DEFAULT_LIMITS.check_bytes(self._item)
        return stream

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, number: int) -> Array:
        """One item.

        Raises:
            Refused: `corrupt`: the archive is damaged there, or cut off.
        """
        try:
            if number < self._next:
                self._stream.close()
                self._stream = self._open()
                self._next = 0
            self._skip((number - self._next) * self._item)
            data = self._stream.read(self._item)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise Refused("corrupt", f"{self.path.name}: {self.name}, item {number}: {error}") from error
        if len(data) != self._item:
            raise Refused("corrupt", f"{self.path.name}: {self.name} ends before item {number}")
        self._next = number + 1
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def _skip(self, count: int) -> None:
        while count > 0:
            passed = len(self._stream.read(min(count, _SPOOL)))
            if not passed:
                raise EOFError("it ends early")
            count -= passed


def npz_names(path: Path) -> list[str]:
    """The arrays of an .npz archive.

    Raises:
        InputError: it is none.
    """
    with _npz_errors(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


@contextlib.contextmanager
def _npz_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not readable as an npz archive ({error}); fetch it again") from error
