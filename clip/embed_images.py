"""What `eosin clip embed` reads: the records of an artefact, or the files of a plain folder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from eosin.artefacts import RecordTable, Task, open_artefact
from eosin.errors import ConfigError, ImageError
from eosin.images import read_image_file
from eosin.records import SPLITS, ImageText, LabelledImage, Reject

Pictured: TypeAlias = ImageText | LabelledImage

_COLUMNS = ("id", "source", "licence", "group", "split", "slide", "mpp", "provenance", "extra", "image")
_OWN = {"image_text": ("captions",), "labelled_images": ("label",)}
_NO_SPLIT = "none"


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

    def counts(self) -> dict[str, int]:
        """Records by split.

        Raises:
            ConfigError: a split that was asked for has none.
        """
        held = open_artefact(self.path).manifest["splits"]
        for split in self.splits:
            if split not in held:
                raise ConfigError(f"splits: {self.path} has no records of split {split!r}; it holds: {', '.join(held) or 'none'}")
        return {split: int(held[split]) for split in SPLITS if split in held and (not self.splits or split in self.splits)}

    def title(self) -> str:
        """What the data calls itself."""
        return str(open_artefact(self.path).plan.facts.get("title", "images"))

    def classes(self) -> list[str]:
        """Its class list."""
        return list(open_artefact(self.path).classes)

    def read(self, task: Task, start: int, stop: int) -> Sequence[Pictured | Reject]:
        """The records `start` to `stop` - 1 of the task's split."""
        table = _table(self.path, task.split)
        return [table[row] for row in range(start, stop)]


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

    def counts(self) -> dict[str, int]:
        """Files; a folder has no splits."""
        return {_NO_SPLIT: len(_files(self.path))}

    def title(self) -> str:
        """The source's name."""
        return self.source

    def classes(self) -> list[str]:
        """None."""
        return []

    def read(self, task: Task, start: int, stop: int) -> Sequence[Pictured | Reject]:
        """The files `start` to `stop` - 1 in the order of their names."""
        return [self._record(name) for name in _files(self.path)[start:stop]]

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
