"""Tables that name images, met with the files that are there: by as much of the path as both have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.sheets import sheet_rows
from eosin.data_builders.sources.reading.tables import value
from eosin.data_builders.sources.source import Refused

T = TypeVar("T")

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")


class ListedImages(Generic[T]):
    """What a table says of each image.

    A name in the table and a file are the same image when the shorter of the two paths is the end of the longer one; suffixes such as
    `.jpg`, and whether the table has them, do not count.

    Args:
        rows: (name, what is said of it), or (a name for the row, why it cannot be read).
    """

    def __init__(self, rows: Iterable[tuple[str, T | Refused]]) -> None:
        self._by_name: dict[str, list[tuple[str, tuple[str, ...], T]]] = {}
        self._met: set[str] = set()
        self._bad: list[tuple[str, Refused]] = []
        for name, told in rows:
            if isinstance(told, Refused):
                self._bad.append((name, told))
                continue
            parts = _parts(name)
            self._by_name.setdefault(parts[-1], []).append((name, parts, told))

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def of(self, found: Found) -> T | None:
        """What the table says of a file; None where it does not name it.

        Raises:
            Refused: `listed_twice`: several rows name it, and do not say the same.
        """
        parts = _parts(found.path)
        rows = [row for row in self._by_name.get(parts[-1], ()) if _same(row[1], parts)]
        self._met.update(name for name, _, _ in rows)
        # A row that was copied takes nothing from the image: only rows that differ leave open which of them holds.
        if any(row[2] != rows[0][2] for row in rows):
            raise Refused("listed_twice", f"{len(rows)} rows of the table name it, and do not say the same")
        return rows[0][2] if rows else None

    def absent(self) -> Iterator[tuple[str, Refused]]:
        """The names that no file asked about so far has, and the rows that cannot be read, each with why."""
        for rows in self._by_name.values():
            yield from ((name, missing(name)) for name, _, _ in rows if name not in self._met)
        yield from self._bad


def missing(name: str) -> Refused:
    """A table names an image that is not there."""
    return Refused("image_missing", f"the release's table names {name}; it is not in the folder")


def named_rows(path: Path, *columns: str) -> Iterator[tuple[str, dict[str, str] | Refused]]:
    """(name of the image, row) of a table for `ListedImages`.

    Args:
        path: .xlsx or CSV.
        columns: the name stands in one of these.

    Raises:
        InputError: see `sheet_rows`.
    """
    for number, row in enumerate(sheet_rows(path)):
        try:
            name = value(row, *columns)
            yield (name, row) if name else (f"{path.name}#{number}", Refused("wrong_columns", f"its {columns[0]} is empty"))
        except Refused as error:
            yield f"{path.name}#{number}", error


def _parts(name: str) -> tuple[str, ...]:
    cleaned = name.strip().replace("\\", "/").strip("/")
    lowered = cleaned.lower()
    suffix = next((suffix for suffix in _SUFFIXES if lowered.endswith(suffix)), "")
    return tuple(cleaned[: len(cleaned) - len(suffix)].split("/"))


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]
