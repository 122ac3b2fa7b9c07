"""What a source is: a card, sections of work, and items that become records.

A source plans cheaply (`sections`) and reads lazily (`items`): an item tells its key and split at once, and makes its record, with its
pixels, only when the split is the one that is being written. What cannot become a record raises `Refused`, which the builder writes down
as a reject: no item is lost in silence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from eosin.errors import InputError
from eosin.records import Record

O_co = TypeVar("O_co", covariant=True)

ITEMS_A_SHARD = 1000


class Refused(Exception):
    """An item that cannot become a record.

    Attributes:
        reason: short and stable, such as `image_missing`; rejects are counted by it.
        message: what was wrong with this one.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class ExpectedFile:
    """A file or folder that a publisher's release holds.

    Attributes:
        pattern: globs below the folder, any of which will do, separated by ` | `.
        holds: what is in it.
        origin: where it comes from.
        required: nothing can be read without it.
    """

    pattern: str
    holds: str
    origin: str
    required: bool = True

    def found(self, folder: Path) -> bool:
        """Whether the folder holds it."""
        return any(next(folder.glob(pattern), None) is not None for pattern in self.pattern.split(" | "))


@dataclass(frozen=True)
class Card:
    """What is known of a published corpus; it goes into the artefact's card.

    Attributes:
        name: in recipes and ids.
        title: what its publisher calls it.
        kind: of the artefact it becomes.
        paper: how it is cited in short: authors, title, venue, year, identifier.
        homepage: where it is got.
        licence: SPDX name where there is one, else the publisher's words.
        gated: the publisher wants to be asked first.
        commercial: whether the licence allows commercial use.
        files: what a complete folder holds.
        counts: what the publisher says it holds, such as images: 25000.
        splits: the official splits, or that there are none.
        groups: the unit that must not cross splits, and where it is known from.
        problems: known faults of the release, and what is done about each.
        citation: BibTeX.
    """

    name: str
    title: str
    kind: Literal["image_text", "conversations", "labelled_images", "slides"]
    paper: str
    homepage: str
    licence: str
    gated: bool
    commercial: Literal["yes", "no", "unclear", "by record"]
    files: tuple[ExpectedFile, ...]
    counts: Mapping[str, int]
    splits: str
    groups: str
    problems: tuple[str, ...]
    citation: str


@dataclass(frozen=True)
class Section:
    """Items that are read in one go: each section becomes a task for every split it may hold.

    Attributes:
        name: the file or folder, relative; it tells sections of other files apart.
        start: number of the first item, within `name`.
        stop: number after the last one.
        splits: which splits its items may be of. Items of others would be lost, so the builder counts them as an error.
        offset: where the first item lies in the file, in bytes, where that saves reading what is before it.
    """

    name: str
    start: int
    stop: int
    splits: tuple[str, ...] = ("none",)
    offset: int = 0


def sections_of(name: str, count: int, splits: Iterable[str] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """`count` items of one file as sections of at most `size`."""
    for start in range(0, count, size):
        yield Section(name, start, min(start + size, count), tuple(splits))


@dataclass(frozen=True)
class Item:
    """One item of a source.

    Attributes:
        key: the publisher's own key; with the source's name before it, the id of the record.
        split: that it belongs to.
        build: makes the record; raises `Refused` or an error of the image decoder.
    """

    key: str
    split: str
    build: Callable[[], Record]


def refused_item(key: str, split: str, reason: str, message: str) -> Item:
    """An item of which is known beforehand that it cannot be read."""

    def build() -> Record:
        raise Refused(reason, message)

    return Item(key, split, build)


@dataclass(frozen=True)
class NoOptions:
    """A source that has nothing to choose."""


class Source(ABC, Generic[O_co]):
    """One corpus in one folder. Made anew in every process, from a folder and options; it may keep an index of the folder.

    Args:
        folder: where the release lies.
        options: of the type `Options`.

    Attributes:
        label_sets: of labelled images: the shipped ones that say the classes in words, also where a folder holds only some of the
            classes; the first that names them all is taken.
    """

    card: ClassVar[Card]
    Options: ClassVar[type[Any]] = NoOptions
    label_sets: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path, options: O_co) -> None:
        self.folder = folder
        self.options = options

    @abstractmethod
    def sections(self) -> Iterable[Section]:
        """The work, in a stable order. Cheap: pixels are not read.

        Raises:
            InputError: an index file is missing, damaged or of another form.
        """

    @abstractmethod
    def items(self, section: Section) -> Iterator[Item]:
        """The items of a section, in order, of all its splits."""

    def facts(self) -> Mapping[str, Any]:
        """What the artefact's readers need beside the records: `classes` for labelled images; `groups_unknown`, with the reason, where
        the release does not tell which items belong together, so that no split by group can be made."""
        return {}

    def problems(self) -> list[str]:
        """What `check_folder` should say beside missing files; a source adds its own."""
        return []

    def base(self, key: str, group: str, split: str = "none", *, licence: str = "") -> dict[str, Any]:
        """The columns every record has: `id`, `source`, `licence`, `group`, `split`."""
        name = self.card.name
        return {"id": f"{name}/{key}", "source": name, "licence": licence or self.card.licence, "group": group, "split": split}

    def path(self, *patterns: str) -> Path:
        """The one file below the folder that fits the first pattern that any file fits.

        Raises:
            InputError: none does, or several do.
        """
        for pattern in patterns:
            found = sorted(self.folder.glob(pattern))
            if len(found) > 1:
                names = ", ".join(str(path.relative_to(self.folder)) for path in found[:5])
                raise InputError(f"{self.folder}: {pattern} fits {len(found)} files ({names}); leave one of them here")
            if found:
                return found[0]
        raise InputError(
            f"{self.folder}: {' or '.join(patterns)} is missing; `eosin build --card {self.card.name}` tells where it comes from"
        )


@dataclass(frozen=True)
class Shard:
    """A section's name and place as a task's source says them: `name`, or `name@offset`."""

    name: str
    offset: int = field(default=0)

    @property
    def source(self) -> str:
        """As a task says it."""
        return f"{self.name}@{self.offset}" if self.offset else self.name

    @staticmethod
    def parse(source: str) -> Shard:
        """The inverse of `source`."""
        name, at, offset = source.rpartition("@")
        return Shard(name, int(offset)) if at and offset.isdecimal() else Shard(source)
