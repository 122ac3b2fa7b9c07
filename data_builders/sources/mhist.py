"""MHIST: hyperplastic polyps and sessile serrated adenomas (Wei et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place, split_named
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages, named_rows
from eosin.data_builders.sources.reading.tables import need_columns, optional, value
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused

CLASSES = ("HP", "SSA")
TABLE = "annotations.csv"
_NAME, _LABEL, _PARTITION = "Image Name", "Majority Vote Label", "Partition"
_VOTES = "Number of Annotators who Selected SSA (Out of 7)"
WHY_UNKNOWN = "the release does not tell the patient or slide of an image; only its official split is known"


class Mhist(ImageTree[NoOptions]):
    """images/ and annotations.csv."""

    classes = CLASSES
    label_sets = ("mhist",)
    card = Card(
        name="mhist",
        title="MHIST colorectal polyps",
        kind="labelled_images",
        paper="Wei et al., A Petri Dish for Histopathology Image Analysis, AIME 2021, arXiv:2101.12355",
        homepage="https://bmirds.github.io/MHIST/",
        licence="the publisher's Dataset Research Use Agreement",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                f"{TABLE} | **/{TABLE}", "image name, label by majority, votes for SSA, partition", "the publisher's mail after the form"
            ),
            ExpectedFile("**/*.png", "images.zip, unpacked: 224 x 224 px", "the publisher's mail after the form"),
        ),
        counts={"images": 3152, "train": 2175, "test": 977},
        splits="Official: the column Partition, train or test. Some protocols choose models on test.",
        groups="Unknown: no patient and no slide is told; each image is its own group.",
        problems=(
            "The label is the majority of seven pathologists; one image in six was decided by four to three. The votes are kept in "
            "`extra.votes_ssa`.",
            "Images were scanned at 40x and made smaller by eight; benchmarks give 2.0 microns per pixel, the release itself none: mpp is "
            "empty.",
        ),
        citation="@inproceedings{wei2021petri, title={A Petri Dish for Histopathology Image Analysis}, author={Wei, Jerry and others}, "
        "booktitle={Artificial Intelligence in Medicine}, year={2021}}",
    )

    def problems(self) -> list[str]:
        need_columns(self.path(TABLE, f"**/{TABLE}"), (_NAME,), (_LABEL,), (_PARTITION,))
        return []

    @functools.cached_property
    def _table(self) -> ListedImages[dict[str, str]]:
        return ListedImages(named_rows(self.path(TABLE, f"**/{TABLE}"), _NAME))

    def place(self, found: Found) -> Place:
        row = self._table.of(found)
        if row is None:
            raise Refused("not_in_table", f"{TABLE} does not name it")
        label, split = value(row, _LABEL).upper(), split_named(value(row, _PARTITION))
        if label not in CLASSES:
            raise Refused("unknown_class", f"its label is {label!r}; known are {', '.join(CLASSES)}")
        if split is None:
            raise Refused("unknown_split", f"its partition is {value(row, _PARTITION)!r}")
        votes = optional(row, _VOTES, "Number of Annotators who Selected SSA")
        return Place(label, found.path, split, extra={"votes_ssa": int(votes)} if votes and votes.isdecimal() else {})

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return self._table.absent()

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "groups_unknown": WHY_UNKNOWN}
