"""CSV as publishers ship it: comma, semicolon or tab, quoted line breaks, a byte order mark, Windows line ends, any column order."""

from __future__ import annotations

import codecs
import csv
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from eosin.data_builders.sources.source import ITEMS_A_SHARD, Refused, Section
from eosin.errors import InputError
from eosin.progress import say

_FIELD_LIMIT = 1 << 27
_DELIMITERS = ",\t;|"


def row_sections(path: Path, name: str, splits: tuple[str, ...] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """A CSV file cut into sections of `size` rows; the file is read through once.

    Raises:
        InputError: no header, or a quote that is never closed.
    """
    start, offset, count = 0, 0, 0
    for place, _ in _rows(path, 0):
        if count % size == 0:
            if count:
                yield Section(name, start, count, splits, offset)
            start, offset = count, place
        count += 1
    if count > start:
        yield Section(name, start, count, splits, offset)


def section_rows(path: Path, section: Section) -> Iterator[tuple[int, dict[str, str]]]:
    """(number, row) of a section made by `row_sections`. Column names and values are stripped of white space; a row of more or fewer
    fields than the header comes as an empty mapping: see `value`."""
    reader = _rows(path, section.offset)
    for number in range(section.start, section.stop):
        yield number, next(reader)[1]


def value(row: dict[str, str], *names: str) -> str:
    """The first of these columns that the row has, upper and lower case aside.

    Raises:
        Refused: `wrong_columns`: none of them, or the row does not fit the header.
    """
    if not row:
        raise Refused("wrong_columns", "the row has more or fewer fields than the header")
    found = optional(row, *names)
    if found is None:
        raise Refused("wrong_columns", f"none of the columns {', '.join(names)}; there are: {', '.join(row)}")
    return found


def optional(row: dict[str, str], *names: str) -> str | None:
    """Like `value`, or None."""
    lowered = {key.lower(): content for key, content in row.items()}
    return next((lowered[name.lower()] for name in names if name.lower() in lowered), None)


def header_of(path: Path) -> list[str]:
    """The column names.

    Raises:
        InputError: the file is empty.
    """
    return _header(path)[0]


def need_columns(path: Path, *wanted: Sequence[str]) -> None:
    """Each of `wanted` is a column under one of its names.

    Raises:
        InputError: one is missing.
    """
    header = header_of(path)
    lowered = {name.lower() for name in header}
    missing = [" or ".join(names) for names in wanted if not any(name.lower() in lowered for name in names)]
    if missing:
        raise InputError(f"{path}: the column {', '.join(missing)} is missing; there are: {', '.join(header)}")


@functools.lru_cache(maxsize=32)
def _encoding(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            say(f"warning: {path} is not UTF-8; it is read as Windows-1252")
            return "cp1252"
    return "utf-8"


@functools.lru_cache(maxsize=32)
def _header(path: Path) -> tuple[list[str], str, int]:
    """The column names, the delimiter, and the byte after the header."""
    with path.open("rb") as file:
        line = file.readline()
    text = line.removeprefix(codecs.BOM_UTF8).decode(_encoding(path), "replace").rstrip("\r\n")
    if not text.strip():
        raise InputError(f"{path}: empty; a table with a header line is wanted")
    delimiter = max(_DELIMITERS, key=text.count)
    names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    return names, delimiter, len(line)


def _rows(path: Path, offset: int) -> Iterator[tuple[int, dict[str, str]]]:
    """(byte where it begins, row) from the row that begins at `offset`, or from the first one."""
    csv.field_size_limit(_FIELD_LIMIT)
    names, delimiter, first = _header(path)
    place = offset or first
    with path.open("rb") as file:
        file.seek(place)
        read = 0

        def lines() -> Iterator[str]:
            nonlocal read
            for line in file:
                read += len(line)
                yield line.decode(encoding, "replace")

        encoding = _encoding(path)
        try:
            # The reader takes no more lines than the row has, so `read` is where the next row begins.
            for fields in csv.reader(lines(), delimiter=delimiter, strict=True):
                if fields:
                    yield place, dict(zip(names, map(str.strip, fields), strict=True)) if len(fields) == len(names) else {}
                place = (offset or first) + read
        except csv.Error as error:
            raise InputError(
                f"{path}, line {_line_at(path, place)}: the row that begins there has a quote that is not closed where it should be "
                f"({error}), or the file is cut off: mend the line, or fetch it again"
            ) from error


def _line_at(path: Path, place: int) -> int:
    with path.open("rb") as file:
        return 1 + sum(file.read(min(1 << 20, place - start)).count(b"\n") for start in range(0, place, 1 << 20))
