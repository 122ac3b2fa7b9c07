"""LC25000: lung and colon tiles (Borkowski et al. 2019, arXiv:1912.12142)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages
from eosin.data_builders.sources.reading.own_splits import Told, own_splits
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused
from eosin.errors import InputError

CLASSES = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
WHY_UNKNOWN = (
    "the release does not tell which of the 25,000 files were made from the same one of the 1,250 originals "
    "(20 each, by rotation and flips), so a random split tests on what it trained on; "
    "give options.groups=FILE, a CSV with the columns path and group, or a splits.csv in the folder"
)


@dataclass(frozen=True)
class LC25000Options:
    """What is known beside the release.

    Attributes:
        groups: a CSV below the folder with the columns path (or file) and group, and split and label where it has them; empty:
            `splits.csv` where there is one.
    """

    groups: str = ""


class LC25000(ImageTree[LC25000Options]):
    """A folder a class below lung_image_sets and colon_image_sets."""

    Options = LC25000Options
    label_sets = ("lc25000",)
    classes = CLASSES
    card = Card(
        name="lc25000",
        title="LC25000 lung and colon histopathology",
        kind="labelled_images",
        paper="Borkowski et al., Lung and Colon Cancer Histopathological Image Dataset (LC25000), 2019, arXiv:1912.12142",
        homepage="https://github.com/tampapath/lung_colon_image_set",
        licence="free to use as the authors state; no formal licence",
        gated=False,
        commercial="unclear",
        files=tuple(
            ExpectedFile(
                f"**/{name}/*.jpeg | **/{name}/*.jpg | **/{name}/*.png", f"5,000 tiles of {name}", "LC25000.zip of the homepage", False
            )
            for name in CLASSES
        ),
        counts={"images": 25000, "originals": 1250},
        splits="None official; a given splits file decides.",
        groups="The original a tile was augmented from, from a given groups or splits file; unknown without one.",
        problems=(
            "Each of 1,250 originals was augmented 20 times (rotation up to 25 degrees, flips): random splits leak. "
            "Splits by group are refused while the groups are not given.",
            "No microns per pixel are published: mpp is left empty.",
        ),
        citation="@article{borkowski2019lc25000, title={Lung and Colon Cancer Histopathological Image Dataset (LC25000)}, "
        "author={Borkowski, Andrew A. and others}, journal={arXiv:1912.12142}, year={2019}}",
    )

    @functools.cached_property
    def _listed(self) -> ListedImages[Told]:
        """The groups file; empty where there is none."""
        path = self.folder / (self.options.groups or "splits.csv")
        if path.is_file():
            return own_splits(path)
        if self.options.groups:
            raise InputError(f"options.groups: {path} is not a file")
        return ListedImages(())

    def is_image(self, found: Found) -> bool:
        return bool(found.folders) and found.folders[-1] in CLASSES

    def place(self, found: Found) -> Place:
        label = found.folders[-1]
        if not self._listed:
            return Place(label, found.path)
        told = self._listed.of(found)
        if told is None:
            raise Refused("no_group", "the groups file does not name it: it may be a copy of a tile of any split")
        told.check_label(label, "its folder", CLASSES)
        return Place(label, told.group, told.split)

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return self._listed.absent()

    def facts(self) -> Mapping[str, Any]:
        return super().facts() if self._listed else {**super().facts(), "groups_unknown": WHY_UNKNOWN}
