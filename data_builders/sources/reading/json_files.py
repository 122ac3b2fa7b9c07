"""JSON as publishers ship it: a list of any length read element by element, JSON lines, and small documents.

A byte order mark and Windows line ends are no part of the content. Memory holds one block and one element, whatever the file's size.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.source import ITEMS_A_SHARD, Section
from eosin.errors import InputError

_BLOCK = 1 << 20
_DOCUMENT_LIMIT = 1 << 29
_ELEMENT_LIMIT = 1 << 28
_NUMBER = "0123456789+-.eE"
_SPACE = " \t\r\n"
BROKEN = object()


def document(path: Path) -> Any:
    """A whole JSON file, for those that are small by nature.

    Raises:
        InputError: not JSON, or over 512 MB.
    """
    if path.stat().st_size > _DOCUMENT_LIMIT:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a nested JSON document may have {_DOCUMENT_LIMIT}")
    try:
        return parsed(path.read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error}); fetch it again") from error


def list_sections(path: Path, name: str, splits: tuple[str, ...] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """A JSON list, or JSON lines, cut into sections of `size` elements; the file is read through once.

    Args:
        path: the file.
        name: of the sections.
        splits: see `Section`.
        size: elements a section.

    Raises:
        InputError: the file is neither, is cut off or damaged; the message says at which byte.
    """
    start, offset, count = 0, 0, 0
    for place, _ in elements(path):
        if count % size == 0:
            if count:
                yield Section(name, start, count, splits, offset)
            start, offset = count, place
        count += 1
    if count > start:
        yield Section(name, start, count, splits, offset)


def section_elements(path: Path, section: Section) -> Iterator[tuple[int, Any]]:
    """(number, element) of a section made by `list_sections`; a line that is no JSON comes as `BROKEN`."""
    reader = elements(path, section.offset)
    for number in range(section.start, section.stop):
        yield number, next(reader)[1]


def elements(path: Path, offset: int = 0) -> Iterator[tuple[int, Any]]:
    """(byte where it begins, element) of a JSON list or of JSON lines, from the element that begins at byte `offset`.

    Raises:
        InputError: see `list_sections`.
    """
    if _is_list(path):
        yield from _list_elements(path, offset)
    else:
        yield from _lines(path, offset)


def parsed(written: str | bytes) -> Any:
    """One JSON value; a whole number of more digits than Python reads comes as text.

    Raises:
        ValueError: it is none, or nests too deep.
    """
    try:
        return json.loads(written, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if head[:1] not in (b"[", b"{"):
        raise InputError(f"{path}: begins with {head[:20]!r}; a JSON list or JSON lines are wanted")
    return head[:1] == b"["


def _lines(path: Path, offset: int) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        file.seek(offset)
        place = offset
        for line in file:
            text = line.removeprefix(codecs.BOM_UTF8).strip()
            if text:
                yield place, _line_value(text)
            place += len(line)


def _line_value(text: bytes) -> Any:
    try:
        return parsed(text)
    except ValueError:
        return BROKEN


class _Window:
    """The text from some byte on, a block at a time."""

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self.file = path.open("rb")
        self.file.seek(offset)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.at = 0
        self.byte = offset

    def more(self) -> bool:
        """Read on; False at the end of the file. Blocks grow with what is waiting, so that a long element is not parsed over and over."""
        block = self.file.read(max(_BLOCK, len(self.text) - self.at))
        try:
            new = self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not UTF-8 near byte {self.byte}: {error}; save it as UTF-8") from error
        self.text = self.text[self.at :] + new
        self.at = 0
        return bool(block)

    def skip(self, count: int) -> None:
        """Go on by so many characters."""
        piece = self.text[self.at : self.at + count]
        self.byte += count if piece.isascii() else len(piece.encode())
        self.at += count

    def character(self) -> str:
        """The next one that is no white space; empty at the end."""
        while True:
            rest = len(self.text)
            at = self.at
            while at < rest and self.text[at] in _SPACE:
                at += 1
            self.skip(at - self.at)
            if self.at < rest:
                return self.text[self.at]
            if not self.more():
                return ""


def _list_elements(path: Path, offset: int) -> Iterator[tuple[int, Any]]:
    window = _Window(path, offset)
    try:
        if offset == 0:
            if window.character() == "\ufeff":
                window.skip(1)
            window.character()
            window.skip(1)
            if window.character() == "]":
                return
        while True:
            window.character()
            place = window.byte
            yield place, _value(window)
            after = window.character()
            if after == "]":
                return
            if after != ",":
                raise InputError(f"{path}: cut off or damaged at byte {window.byte}; fetch it again")
            window.skip(1)
    finally:
        window.file.close()


def _value(window: _Window) -> Any:
    decoder = json.JSONDecoder(parse_int=_whole)
    while True:
        try:
            value, end = decoder.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            if len(window.text) - window.at < _ELEMENT_LIMIT and window.more():
                continue
            raise InputError(f"{window.path}: cut off or damaged after byte {window.byte} ({error.msg}); fetch it again") from error
        except RecursionError as error:
            raise InputError(
                f"{window.path}: the element at byte {window.byte} nests too deep to be read; mend it or take it out"
            ) from error
        # A number at the end of the block may go on in the next one, after a point or an exponent.
        if window.text[end : end + 2].strip(_NUMBER) == "" and window.more():
            continue
        window.skip(end - window.at)
        return value
