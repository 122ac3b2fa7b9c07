"""The family of corpora that ship image files in folders: a member says its classes, and what a file's path and the tables tell of it."""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from eosin.data_builders.folder_files import find_files, printable
from eosin.data_builders.sources.reading.class_folders import Found, read_found
from eosin.data_builders.sources.source import ITEMS_A_SHARD, Item, Refused, Section, Source
from eosin.records import SPLITS, Box, LabelledImage, Record

O_co = TypeVar("O_co", covariant=True)

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "none": "none",
}


@dataclass(frozen=True)
class Place:
    """What is known of an image before it is opened.

    Attributes:
        label: its class; None where the release gives several (`labels`) or none.
        group: what must not cross splits.
        split: one of `SPLITS`.
        labels: all that apply, for multi-label corpora.
        slide: the slide's name.
        mpp: microns per pixel.
        boxes: labelled boxes, in fractions.
        extra: anything else.
    """

    label: str | None
    group: str
    split: str = "none"
    labels: tuple[str, ...] = ()
    slide: str | None = None
    mpp: float | None = None
    boxes: tuple[Box, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class ImageTree(Source[O_co]):
    """Images found by walking the folder; `place` says what each one is.

    Attributes:
        classes: of the label set, in the publisher's order.
    """

    classes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def place(self, found: Found) -> Place:
        """What an image is, from its path and from the release's tables.

        Raises:
            Refused: it cannot become a record; it is written down as a reject.
        """

    def is_image(self, found: Found) -> bool:
        """Whether a file is an image of the corpus at all, and not a mask or a thumbnail that lies beside it."""
        return True

    def absent(self) -> Iterable[tuple[str, Refused]]:
        """What the release's tables name and the folder lacks, and rows that cannot be read; called after every image was placed."""
        return ()

    def mask(self, found: Found) -> bytes | None:
        """The PNG mask that belongs to an image."""
        return None

    @functools.cached_property
    def _placed(self) -> list[tuple[str, Found, Place | Refused]]:
        """(split, image, what it is): what can be read first, by path; the refused ones at the end, in the last split that there is."""
        good: list[tuple[str, Found, Place | Refused]] = []
        refused: list[tuple[Found, Refused]] = []
        files = find_files(self.folder)
        for found in filter(self.is_image, map(Found, files.images)):
            try:
                place = self.place(found)
                good.append((place.split, found, place))
            except Refused as error:
                refused.append((found, error))
        linked = Refused("linked_folder", "links to folders are not followed: put the folder itself here")
        refused += [(Found(printable(name)), linked) for name in files.linked_folders]
        refused += [(Found(name), error) for name, error in self.absent()]
        last = good[-1][0] if good else "none"
        return [*good, *((last, found, error) for found, error in refused)]

    @functools.cached_property
    def held_classes(self) -> list[str]:
        """The classes that at least one image has, in the publisher's order."""
        held = {label for _, _, place in self._placed if isinstance(place, Place) for label in (place.label, *place.labels)}
        return [name for name in self.classes if name in held]

    def sections(self) -> Iterable[Section]:
        placed = self._placed
        for start in range(0, len(placed), ITEMS_A_SHARD):
            part = placed[start : start + ITEMS_A_SHARD]
            splits = sorted({split for split, _, _ in part}, key=SPLITS.index)
            yield Section("images", start, start + len(part), tuple(splits))

    def facts(self) -> Mapping[str, Any]:
        return {"classes": self.held_classes}

    def items(self, section: Section) -> Iterator[Item]:
        for split, found, place in self._placed[section.start : section.stop]:
            yield Item(found.path, split, functools.partial(self._record, found, place))

    def _record(self, found: Found, place: Place | Refused) -> Record:
        if isinstance(place, Refused):
            raise place
        return LabelledImage(
            **self.base(found.path, place.group, place.split),
            slide=place.slide,
            mpp=place.mpp,
            extra=dict(place.extra),
            image=read_found(self.folder, found),
            label=place.label,
            labels=place.labels,
            boxes=place.boxes,
            mask=self.mask(found),
        )


def class_of(found: Found, folders: Mapping[str, str]) -> str:
    """The class of the nearest folder above an image that names one; case, blanks, dashes and underscores aside.

    Args:
        found: the image.
        folders: name of a folder -> class.

    Raises:
        Refused: `no_class_folder`.
    """
    known = {plain(name): label for name, label in folders.items()}
    for name in reversed(found.folders):
        if plain(name) in known:
            return known[plain(name)]
    raise Refused("no_class_folder", f"lies in no folder called {', '.join(folders)}")


def split_of(found: Found) -> str | None:
    """The split of the nearest folder above an image that is called like one."""
    return next((split for name in reversed(found.folders) if (split := split_named(name)) is not None), None)


def split_named(name: str) -> str | None:
    """The split that a publisher calls so, or None."""
    return _SPLIT_NAMES.get(name.strip().lower())


def plain(name: str) -> str:
    """A name without case, blanks and punctuation, to compare spellings."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def matched(pattern: str, text: str, what: str) -> re.Match[str]:
    """The match of a publisher's naming scheme.

    Raises:
        Refused: `odd_name`.
    """
    match = re.search(pattern, text)
    if match is None:
        raise Refused("odd_name", f"its name does not tell {what}: {text}")
    return match
