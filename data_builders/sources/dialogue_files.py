"""What all sources in LLaVA's JSON have in common; each says which files it reads, where its images lie and what belongs together."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from eosin.data_builders.sources.reading.dialogue import IMAGE, Gold, gold_of, turns_of
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import BROKEN, list_sections, section_elements
from eosin.data_builders.sources.source import Item, Refused, Section, Source, refused_item
from eosin.records import Conversation, Message, Part, Record

O_co = TypeVar("O_co", covariant=True)


class DialogueFiles(Source[O_co]):
    """One record an element of a JSON list or JSON lines; its key is the file and the number, for publishers' ids repeat."""

    def __init__(self, folder: Path, options: O_co) -> None:
        super().__init__(folder, options)
        self.images = self.image_files()

    def image_files(self) -> ImageFiles:
        """Where images are looked for."""
        return ImageFiles(self.folder)

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """The files to read, in a stable order."""

    @abstractmethod
    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        """What the record belongs to; `names` are its images.

        Raises:
            Refused: `no_group`.
        """

    def splits(self, path: Path) -> tuple[str, ...]:
        """The splits that a file's records may be of."""
        return ("none",)

    def split(self, path: Path, record: Mapping[str, Any]) -> str:
        """The split of a record.

        Raises:
            Refused: `unknown_split`.
        """
        return self.splits(path)[0]

    def shown(self, names: tuple[str, ...]) -> tuple[Part, ...]:
        """The parts that `<image>` stands for."""
        return (IMAGE,) * len(names)

    def read(self, names: tuple[str, ...], record: Mapping[str, Any]) -> tuple[bytes, ...]:
        """The record's images.

        Raises:
            Refused: see `ImageFiles.read`.
        """
        return tuple(self.images.read(name) for name in names)

    def turns(self, record: Mapping[str, Any], shown: tuple[Part, ...]) -> tuple[Message, ...]:
        """The messages.

        Raises:
            Refused: see `turns_of`.
        """
        return turns_of(record, shown)

    def gold(self, record: Mapping[str, Any], messages: tuple[Message, ...]) -> Gold:
        """What is asked for."""
        return gold_of(messages)

    def columns(self, names: tuple[str, ...], record: Mapping[str, Any]) -> dict[str, Any]:
        """Further columns of the record, such as `slide`."""
        return {}

    def sections(self) -> Iterable[Section]:
        for path in self.files():
            yield from list_sections(path, path.relative_to(self.folder).as_posix(), self.splits(path))

    def items(self, section: Section) -> Iterator[Item]:
        path = self.folder / section.name
        for number, record in section_elements(path, section):
            key = f"{section.name}#{number}"
            try:
                split = self.split(path, record) if isinstance(record, Mapping) else section.splits[-1]
            except Refused as refused:
                yield refused_item(key, section.splits[-1], refused.reason, refused.message)
                continue
            yield Item(key, split, functools.partial(self._record, record, key, split))

    def _record(self, record: Any, key: str, split: str) -> Record:
        if not isinstance(record, Mapping):
            raise Refused("broken_json", "not a JSON object" if record is not BROKEN else "the line is no JSON")
        names = image_names(record)
        shown = self.shown(names)
        messages = self.turns(record, shown)
        gold = self.gold(record, messages)
        return Conversation(
            **self.base(key, self.group(names, record), split),
            **self.columns(names, record),
            images=self.read(names, record) if any(part.type == "image" for part in shown) else (),
            messages=messages,
            task=gold.task,
            answer=gold.answer,
            options=gold.options,
            extra=plain_extra(record, names),
        )


def image_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The images that a record names: one, a list, or none.

    Raises:
        Refused: `wrong_image`: neither a name nor a list of names.
    """
    value = record.get("image", record.get("images"))
    names = [] if value in (None, "", []) else value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise Refused("wrong_image", f"image is {value!r}; a file name or a list of them is wanted")
    return tuple(names)


def plain_extra(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The record's other keys, and its images' names: texts stand in the messages."""
    left_out = {"conversations", "conversatons", "conversation", "messages", "image", "images"}
    extra = {str(key): value for key, value in record.items() if key not in left_out and value not in (None, "", [])}
    return {**extra, "images": list(names)} if names else extra
