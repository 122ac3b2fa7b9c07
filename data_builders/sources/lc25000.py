"""LC25000: lung and colon tiles (Borkowski et al. 2019, arXiv:1912.12142)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eosin.data_builders.sources.reading.class_folders import Found, image_paths, numbered, read_found
from eosin.data_builders.sources.reading.tables import optional, row_sections, section_rows
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, sections_of
from eosin.errors import InputError
from eosin.records import SPLITS, LabelledImage, Record

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
        groups: a CSV below the folder with the columns path (or file) and group, and split where it has one; empty: `splits.csv`
            where there is one.
    """

    groups: str = ""


class LC25000(Source[LC25000Options]):
    """A folder a class below lung_image_sets and colon_image_sets."""

    Options = LC25000Options
    label_sets = ("lc25000",)
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
    def _images(self) -> list[Found]:
        return image_paths(self.folder, lambda found: bool(found.folders) and found.folders[-1] in CLASSES)

    @functools.cached_property
    def _known(self) -> dict[str, tuple[str, str]]:
        """Path -> (group, split), from the groups file; empty where there is none."""
        path = self.folder / (self.options.groups or "splits.csv")
        if not path.is_file():
            if self.options.groups:
                raise InputError(f"options.groups: {path} is not a file")
            return {}
        known = {}
        for section in row_sections(path, path.name):
            for number, row in section_rows(path, section):
                name, group = optional(row, "path", "file", "filename", "image"), optional(row, "group")
                if not name or not group:
                    raise InputError(f"{path}: row {number + 1} lacks a path or a group; the columns path and group are wanted")
                known[name] = (group, optional(row, "split") or "none")
        return known

    def _place(self, found: Found) -> tuple[str, str]:
        """Group and split of a tile; by its path, else by the path below its class folder."""
        short = "/".join(found.path.split("/")[-2:])
        for name in (found.path, short, found.path.split("/")[-1]):
            if name in self._known:
                return self._known[name]
        return ("", "none") if self._known else (found.path, "none")

    def sections(self) -> Iterable[Section]:
        splits = sorted({self._place(found)[1] for found in self._images}, key=SPLITS.index)
        return sections_of("images", len(self._images), splits)

    def facts(self) -> Mapping[str, Any]:
        held = {found.folders[-1] for found in self._images}
        facts: dict[str, Any] = {"classes": [name for name in CLASSES if name in held]}
        return facts if self._known else {**facts, "groups_unknown": WHY_UNKNOWN}

    def items(self, section: Section) -> Iterator[Item]:
        for _, found in numbered(self._images, section.start, section.stop):
            yield Item(found.path, self._place(found)[1], functools.partial(self._record, found))

    def _record(self, found: Found) -> Record:
        group, split = self._place(found)
        if not group:
            raise Refused("no_group", "the groups file does not name it: it may be a copy of a tile of any split")
        return LabelledImage(**self.base(found.path, group, split), image=read_found(self.folder, found), label=found.folders[-1])
