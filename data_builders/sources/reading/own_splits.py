"""A table of the user's own beside a release that tells no splits: group and split of each image, and its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eosin.data_builders.group_split import check_splits
from eosin.data_builders.sources.image_tree import plain, split_named
from eosin.data_builders.sources.reading.listed import ListedImages, named_rows
from eosin.data_builders.sources.reading.tables import optional
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError

_NAMES = ("path", "file", "filename", "image")


@dataclass(frozen=True)
class Told:
    """What the table says of an image.

    Attributes:
        group: what must not cross splits.
        split: one of `SPLITS`.
        label: its class; empty where the table tells none.
    """

    group: str
    split: str
    label: str

    def check_label(self, label: str, where: str, classes: Sequence[str]) -> None:
        """Compare with what the release says; case, blanks and punctuation aside. A label that is none of the release's classes is its
        author's own word for one ("Colon adenocarcinoma"), and contradicts nothing.

        Args:
            label: the release's class.
            where: it says so.
            classes: all of the release's.

        Raises:
            Refused: `label_conflict`.
        """
        if plain(self.label) != plain(label) and plain(self.label) in map(plain, classes):
            raise Refused("label_conflict", f"the splits table calls it {self.label}, {where} {label}")


def own_splits(path: Path) -> ListedImages[Told]:
    """The table at `path`: columns path (or file, filename, image) and group, and split and label where it has them.

    Raises:
        InputError: a row without name or group, or of an unknown split; a group in two of train, val and test.
    """
    rows = list(_rows(path))
    check_splits(path, ((told.group, told.split) for _, told in rows))
    return ListedImages(rows)


def _rows(path: Path) -> Iterator[tuple[str, Told]]:
    for name, row in named_rows(path, *_NAMES):
        group = "" if isinstance(row, Refused) else optional(row, "group")
        split = None if isinstance(row, Refused) else split_named(optional(row, "split") or "none")
        if isinstance(row, Refused) or not group or split is None:
            raise InputError(f"{path}: the row of {name} lacks a path, a group, or one of train, val, test, none as split")
        yield name, Told(group, split, optional(row, "label") or "")
