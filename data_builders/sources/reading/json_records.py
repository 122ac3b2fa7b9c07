"""JSON files of records in any of the forms they come in: a list, a line each, or one object of keyed records."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.json_files import document, list_sections, parsed, section_elements
from eosin.data_builders.sources.source import Section, sections_of
from eosin.errors import InputError


class JsonRecords:
    """The records of one file. Lists and lines are read as streams; an object of records is held whole (512 MB at most).

    Args:
        path: the file.
        name: of its sections.
        of_texts: an object of texts is an object of records too, each a text.
    """

    def __init__(self, path: Path, name: str, *, of_texts: bool = False) -> None:
        self.path = path
        self.name = name
        self.kinds = (Mapping, list, str) if of_texts else (Mapping, list)

    def sections(self, splits: tuple[str, ...] = ("none",)) -> Iterator[Section]:
        """The file in sections.

        Raises:
            InputError: neither of the forms, or damaged.
        """
        if self._keyed:
            return sections_of(self.name, len(self._entries), splits)
        return list_sections(self.path, self.name, splits)

    def items(self, section: Section) -> Iterator[tuple[str, Any]]:
        """(key, element): the publisher's key in an object of records, else `#` and the number."""
        if self._keyed:
            yield from self._entries[section.start : section.stop]
        else:
            for number, element in section_elements(self.path, section):
                yield f"#{number}", element

    @functools.cached_property
    def _keyed(self) -> bool:
        """Whether the file is one object: of lines, the first one is whole and another one follows."""
        with self.path.open("rb") as file:
            head = file.read(1 << 20).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not head.startswith(b"{"):
                return False
            file.seek(0)
            first = file.readline().removeprefix(b"\xef\xbb\xbf").strip()
            try:
                value = parsed(first)
            except ValueError:
                # Records may be written over many lines; a broken first line of many is told by what follows it.
                return not (first.endswith(b"}") or file.readline().lstrip().startswith(b"{"))
            return bool(value) and all(isinstance(entry, self.kinds) for entry in value.values()) and not file.readline().strip()

    @functools.cached_property
    def _entries(self) -> list[tuple[str, Any]]:
        value = document(self.path)
        if not isinstance(value, Mapping):
            raise InputError(f"{self.path}: an object of records is wanted")
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        if len(value) == 1 and lists:
            # {"annotations": [...]}: a list with a name around it.
            return [(f"#{number}", entry) for number, entry in enumerate(lists[0])]
        return [(str(key), entry) for key, entry in value.items()]
