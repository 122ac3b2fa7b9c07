"""BCCD: boxes around blood cells, in Pascal VOC form."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import missing
from eosin.data_builders.sources.reading.voc import read_annotation, split_lists
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused
from eosin.errors import InputError
from eosin.images import image_size, read_image_file

CLASSES = ("RBC", "WBC", "Platelets")
WHY_UNKNOWN = "the release does not tell the patient of a picture; the lists in ImageSets were made by picture"


class Bccd(ImageTree[NoOptions]):
    """JPEGImages, Annotations and ImageSets/Main."""

    classes = CLASSES
    label_sets = ("bccd",)
    card = Card(
        name="bccd",
        title="BCCD blood cell detection",
        kind="labelled_images",
        paper="none; the data set of https://github.com/Shenggan/BCCD_Dataset, after cosmicad/dataset",
        homepage="https://github.com/Shenggan/BCCD_Dataset",
        licence="MIT",
        gated=False,
        commercial="yes",
        files=(
            ExpectedFile("**/JPEGImages/*.jpg", "pictures of 640 x 480 px", "the homepage, folder BCCD"),
            ExpectedFile("**/Annotations/*.xml", "boxes, an XML a picture", "the homepage, folder BCCD"),
            ExpectedFile("**/ImageSets/Main/*.txt", "names of train, val and test", "the homepage, folder BCCD", False),
        ),
        counts={"images": 364, "classes": 3},
        splits="Official where ImageSets/Main lies there: train, val, test; else none.",
        groups="Unknown: no patient is told; each picture is its own group.",
        problems=(
            "A box of no width or height is in the release (BloodImage_00343): such boxes are left out and said in `extra.bad_boxes`.",
            "Not every cell has a box, and `difficult` and `truncated` are not kept up: counts of boxes are no blood counts.",
            "Stained smears seen through a microscope: neither H&E nor scanned slides, and no microns per pixel are told: mpp is empty.",
        ),
        citation="@misc{bccd, title={BCCD Dataset}, author={Shenggan}, howpublished={https://github.com/Shenggan/BCCD\\_Dataset}}",
    )

    @functools.cached_property
    def _annotations(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.folder.glob("**/Annotations/*.xml"))}

    @functools.cached_property
    def _lists(self) -> dict[str, set[str]]:
        return split_lists(self.folder)

    @functools.cached_property
    def _pictures(self) -> set[str]:
        return {path.stem for path in self.folder.glob("**/JPEGImages/*")}

    def is_image(self, found: Found) -> bool:
        return bool(found.folders) and found.folders[-1] == "JPEGImages"

    def place(self, found: Found) -> Place:
        if found.stem not in self._annotations:
            raise Refused("annotation_missing", f"{found.stem}.xml is not in Annotations")
        splits = [split for split, names in self._lists.items() if found.stem in names]
        if len(splits) > 1:
            raise Refused("in_two_splits", f"{' and '.join(splits)} both list it")
        told = read_annotation(self._annotations[found.stem])
        try:
            size = image_size(read_image_file(self.folder / found.path))
        except InputError as error:
            raise Refused("unreadable", str(error)) from error
        if size != (told.width, told.height):
            raise Refused("size_mismatch", f"the XML says {told.width} x {told.height} pixels, the picture has {size[0]} x {size[1]}")
        unknown = sorted({box.label for box in told.boxes} - set(CLASSES))
        if unknown:
            raise Refused("unknown_class", f"boxes of {', '.join(unknown)}; known are {', '.join(CLASSES)}")
        labels = tuple(name for name in CLASSES if any(box.label == name for box in told.boxes))
        extra = {"bad_boxes": list(told.bad)} if told.bad else {}
        return Place(None, found.stem, splits[0] if splits else "none", labels, boxes=told.boxes, extra=extra)

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return ((path.name, missing(path.stem)) for stem, path in self._annotations.items() if stem not in self._pictures)

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "groups_unknown": WHY_UNKNOWN}
