"""What `eosin clip embed` reads: the records of an artefact, or the files of a plain folder; each decoded once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from eosin.artefacts import RecordTable, Task, open_artefact
from eosin.errors import ConfigError, ImageError
from eosin.images import Pixels, decode_image, read_image_file
from eosin.pipeline import chunked
from eosin.records import SPLITS, ImageText, LabelledImage, Record, Reject

Pictured: TypeAlias = ImageText | LabelledImage

_COLUMNS = ("id", "source", "licence", "group", "split", "slide", "mpp", "provenance", "extra", "image")
_OWN = {"image_text": ("captions",), "labelled_images": ("label",)}
_NO_SPLIT = "none"


@dataclass(frozen=True)
class Found:
    """A picture to embed, with what goes along: uint8 [height, width, 3], caption and label."""

    record: Record
    pixels: Pixels
    caption: str | None
    label: str | None
    extra: Mapping[str, Any]


class Images(Protocol):
    """What is embedded; picklable."""

    @property
    def name(self) -> str:
        """What its tasks begin with."""

    def tasks(self, shard_size: int) -> list[Task]:
        """The tasks of the plan."""

    def title(self) -> str:
        """What the data calls itself."""

    def classes(self) -> list[str]:
        """Its class list."""

    def batches(self, task: Task, size: int) -> Generator[list[Found | Reject]]:
        """A task's pictures in order, at most `size` at a time."""


def _decoded(task: Task, size: int, read: Callable[[int], Pictured | Reject]) -> Generator[list[Found | Reject]]:
    """The records `task.start` to `task.stop` - 1, read one after the other and decoded side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(task.start, task.stop, size):
            yield list(pool.map(_look, [read(number) for number in range(start, min(start + size, task.stop))]))


def _look(record: Pictured | Reject) -> Found | Reject:
    """The record's pixels, caption and label, which come from its own column, else from `extra`; or why it cannot be embedded."""
    if isinstance(record, Reject):
        return record
    try:
        pixels = decode_image(record.image)
    except ImageError as error:
        return Reject(record.id, error.reason, error.message)
    if isinstance(record, ImageText):
        return Found(record, pixels, next(iter(record.captions), None), _text(record.extra.get("label")), record.extra)
    return Found(record, pixels, _text(record.extra.get("caption")), record.label, record.extra)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@dataclass(frozen=True)
class ArtefactImages:
    """The records of a data artefact, one in, one out.

    Attributes:
        path: of the artefact.
        splits: only these; all when empty.
    """

    path: str
    splits: tuple[str, ...] = ()
    name = "data"

    def tasks(self, shard_size: int) -> list[Task]:
        """`shard_size` records of a split each.

        Raises:
            ConfigError: a split that was asked for has none.
        """
        return [task for split, count in self._counts().items() for task in chunked(self.name, split, count, shard_size)]

    def _counts(self) -> dict[str, int]:
        held = open_artefact(self.path).manifest["splits"]
        for split in self.splits:
            if split not in held:
                raise ConfigError(
                    f"splits: {self.path} has no records of split {split!r}; it holds: {', '.join(held) or 'none'}; splits=[] takes all"
                )
        return {split: int(held[split]) for split in SPLITS if split in held and (not self.splits or split in self.splits)}

    def title(self) -> str:
        """What the data calls itself."""
        return str(open_artefact(self.path).plan.facts.get("title", "images"))

    def classes(self) -> list[str]:
        """Its class list."""
        return list(open_artefact(self.path).classes)

    def batches(self, task: Task, size: int) -> Generator[list[Found | Reject]]:
        """The records of the task's split; what cannot be decoded becomes a reject."""
        table = _table(self.path, task.split)
        return _decoded(task, size, lambda row: table[row])


@functools.lru_cache(maxsize=4)
def _table(path: str, split: str) -> RecordTable[ImageText] | RecordTable[LabelledImage]:
    artefact = open_artefact(path)
    columns = (*_COLUMNS, *_OWN[artefact.kind])
    if artefact.kind == "image_text":
        return RecordTable(artefact, ImageText, split, columns)
    return RecordTable(artefact, LabelledImage, split, columns)


@dataclass(frozen=True)
class FolderImages:
    """The files of a folder, hidden ones left out; what is no image becomes a reject, so that every file is accounted for.

    Records of one sub-folder are one group: a folder tells no more of who belongs together.

    Attributes:
        path: of the folder.
        source: what ids begin with.
        licence: of the images.
    """

    path: str
    source: str
    licence: str
    name = "images"

    def tasks(self, shard_size: int) -> list[Task]:
        """`shard_size` files each; a folder has no splits."""
        return list(chunked(self.name, _NO_SPLIT, len(_files(self.path)), shard_size))

    def title(self) -> str:
        """The source's name."""
        return self.source

    def classes(self) -> list[str]:
        """None."""
        return []

    def batches(self, task: Task, size: int) -> Generator[list[Found | Reject]]:
        """The files in the order of their names; what cannot be read or decoded becomes a reject."""
        names = _files(self.path)
        return _decoded(task, size, lambda number: self._record(names[number]))

    def _record(self, name: str) -> Pictured | Reject:
        key = f"{self.source}/{name.encode('utf-8', 'backslashreplace').decode()}"
        try:
            image = read_image_file(Path(self.path) / name)
        except ImageError as error:
            return Reject(key, error.reason, error.message)
        parent = key.rpartition("/")[0]
        group = key if parent == self.source else parent
        return ImageText(id=key, source=self.source, licence=self.licence, group=group, split=_NO_SPLIT, image=image, captions=())


@functools.lru_cache(maxsize=1)
def _files(path: str) -> tuple[str, ...]:
    """Names relative to the folder, sorted."""
    folder = Path(path)
    names = (found.relative_to(folder) for found in folder.rglob("*") if found.is_file())
    return tuple(sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)))
