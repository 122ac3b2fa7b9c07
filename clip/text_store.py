"""Distinct texts by number, on disk: a million captions cost eight bytes of memory each, not the texts."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, overload

import numpy as np

from eosin.artefacts.files import replacing


def text_key(text: str) -> int:
    """A text as 64 bits; two of a million different texts agree by chance once in 30 million sets."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class TextStore(Sequence[str]):
    """The texts of a file that `TextStoreWriter` wrote; a sequence that reads each from disk.

    Raises:
        ValueError: the file is cut.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, dtype=np.uint8)
        self._ends = np.load(_ends_of(path), mmap_mode="r")
        if len(self._bytes) != (int(self._ends[-1]) if len(self._ends) else 0):
            raise ValueError(f"{path.name} has {len(self._bytes)} bytes, and its table of ends says otherwise")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))


class TextStoreWriter:
    """Numbers texts as they come, equal ones alike; a context manager that writes `path` and its table of ends.

    Memory holds a key and a number for each distinct text, about 130 bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers: dict[int, int] = {}
        self._ends = array("q")
        self._handle: IO[bytes] | None = None
        self._end = 0

    def __enter__(self) -> TextStoreWriter:
        self._handle = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.close()
        with replacing(_ends_of(self.path)) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.frombuffer(self._ends, dtype=np.int64) if self._ends else np.empty(0, dtype=np.int64))

    def number(self, text: str) -> int:
        """The text's number, a new one for a new text."""
        key = text_key(text)
        found = self._numbers.setdefault(key, len(self._numbers))
        if found == len(self._ends) and self._handle is not None:
            self._end += self._handle.write(text.encode("utf-8", "surrogatepass"))
            self._ends.append(self._end)
        return found


def _ends_of(path: Path) -> Path:
    return path.with_suffix(".ends.npy")
