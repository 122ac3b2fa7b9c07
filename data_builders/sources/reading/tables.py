"""CSV as publishers ship it: comma, semicolon or tab, quoted line breaks, a byte order mark, line ends of any system, any column order."""

from __future__ import annotations

import codecs
import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from eosin.data_builders.sources.source import ITEMS_A_SHARD, Refused, Section
from eosin.errors import InputError
from eosin.progress import say

_FIELD_LIMIT = 1 << 27
_DELIMITERS = ",\t;|"
_BLOCK = 1 << 20
# A quote opens a field only where the field begins; "5\" long" is text.
_QUOTED = re.compile(rb'(?<![^,\t;|\r\n])"(?:[^"]|"")*+(?:"|\Z)')
_AGAIN = " (again, column "
_BREAK = re.compile(r"\s*[\r\n]\s*")


def row_sections(path: Path, name: str, splits: tuple[str, ...] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """A CSV file cut into sections of `size` rows; the file is read through once.

    Raises:
        InputError: no header, a quote that is never closed, or UTF-16.
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
    """Like `value`, or None.

    Raises:
        InputError: several columns are called so.
    """
    lowered = {key.lower(): content for key, content in row.items()}
    found = next((name.lower() for name in names if name.lower() in lowered), None)
    if found is None:
        return None
    if any(key.startswith(found + _AGAIN) for key in lowered):
        raise InputError(f"several columns of the table are called {found}; give each a name of its own")
    return lowered[found]


def header_of(path: Path) -> list[str]:
    """The column names.

    Raises:
        InputError: the file is empty or UTF-16.
    """
    return _header(path)[0]


def need_columns(path: Path, *wanted: Sequence[str]) -> None:
    """Each of `wanted` is a column under one of its names.

    Raises:
        InputError: one is missing, or there several times.
    """
    header = header_of(path)
    lowered = {name.lower() for name in header}
    missing = [" or ".join(names) for names in wanted if not any(name.lower() in lowered for name in names)]
    if missing:
        raise InputError(f"{path}: the column {', '.join(missing)} is missing; there are: {', '.join(header)}")
    read = [next(name.lower() for name in names if name.lower() in lowered) for names in wanted]
    twice = [name for name in read if any(other.startswith(name + _AGAIN) for other in lowered)]
    if twice:
        raise InputError(f"{path}: several columns are called {', '.join(twice)}; give each a name of its own")


def own_names(path: Path, names: Sequence[str]) -> list[str]:
    """The names, with a later column of the same name under one of its own: `optional` and `need_columns` tell by it that the name is
    doubled. A doubled column that nothing reads does no harm, so that it is only a warning. Those without a name stay as they are."""
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        say(f"warning: {path}: several columns are called {', '.join(twice)}")
    return [f"{name}{_AGAIN}{place + 1})" if name and name in names[:place] else name for place, name in enumerate(names)]


@functools.lru_cache(maxsize=32)
def _form(path: Path) -> tuple[str, bytes]:
    """The encoding, and the end of a line: a carriage return where no line ends otherwise, as on old Macs. Python's csv writer makes
    `\\r\\r\\n` in Windows' text mode, and a header may have another end than the rows: the line feed decides there.

    Raises:
        InputError: UTF-16 or UTF-32.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        block = file.read(_BLOCK)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{path}: its byte order mark says UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)")
        unquoted = _QUOTED.sub(b"", block.removeprefix(codecs.BOM_UTF8))
        end = b"\r" if b"\r" in unquoted and b"\n" not in unquoted else b"\n"
        try:
            while block:
                decoder.decode(block)
                block = file.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            say(f"warning: {path} is not UTF-8; it is read as Windows-1252")
            return "cp1252", end
    return "utf-8", end


class _Lines:
    """Lines of a table as text, and how many bytes were read."""

    def __init__(self, path: Path, place: int) -> None:
        self.path = path
        self.place = place
        self.encoding, self.end = _form(path)
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            file.seek(self.place)
            for line in file if self.end == b"\n" else _split(file, self.end):
                self.read += len(line)
                text = line if self.place or self.read > len(line) else line.removeprefix(codecs.BOM_UTF8)
                yield text.decode(self.encoding, "replace")


def _split(file: IO[bytes], end: bytes) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK):
        *lines, rest = (rest + block).split(end)
        yield from (line + end for line in lines)
    if rest:
        yield rest


@functools.lru_cache(maxsize=32)
def _header(path: Path) -> tuple[list[str], str, int]:
    """The column names, the delimiter, and the byte after the header."""
    csv.field_size_limit(_FIELD_LIMIT)
    first = next(iter(_Lines(path, 0)), "")
    if not first.strip():
        raise InputError(f"{path}: empty; a table with a header line is wanted")
    delimiter = max(_DELIMITERS, key=first.count)
    lines = _Lines(path, 0)
    try:
        names = [_BREAK.sub(" ", name.strip()) for name in next(csv.reader(iter(lines), delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise InputError(f"{path}: its header is not readable ({error}); mend its quotes and line ends") from error
    return own_names(path, names), delimiter, lines.read


def _rows(path: Path, offset: int) -> Iterator[tuple[int, dict[str, str]]]:
    """(byte where it begins, row) from the row that begins at `offset`, or from the first one."""
    csv.field_size_limit(_FIELD_LIMIT)
    names, delimiter, first = _header(path)
    lines = _Lines(path, offset or first)
    place = lines.place
    try:
        # The reader takes no more lines than the row has, so `read` tells where the next row begins.
        for fields in csv.reader(iter(lines), delimiter=delimiter, strict=True):
            if fields:
                yield place, dict(zip(names, map(str.strip, fields), strict=True)) if len(fields) == len(names) else {}
            place = lines.place + lines.read
    except csv.Error as error:
        raise InputError(
            f"{path}, line {_line_at(path, place)}: the row that begins there has a quote that is not closed where it should be "
            f"({error}), or the file is cut off: mend the line, or fetch it again"
        ) from error


def _line_at(path: Path, place: int) -> int:
    with path.open("rb") as file:
        return 1 + sum(file.read(min(_BLOCK, place - start)).count(_form(path)[1]) for start in range(0, place, _BLOCK))
