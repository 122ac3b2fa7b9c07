"""BACH: breast microscopy photographs of the ICIAR 2018 challenge (Aresta et al. 2019)."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, plain
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused
from eosin.errors import InputError

CLASSES = ("Normal", "Benign", "InSitu", "Invasive")
TABLE = "microscopy_ground_truth.csv"
WHY_UNKNOWN = "the release does not tell the patient of a photograph; several photographs may show one patient"


class Bach(ImageTree[NoOptions]):
    """A folder a class below Photos, and a table without header that says the same."""

    classes = CLASSES
    label_sets = ("bach",)
    card = Card(
        name="bach",
        title="BACH breast cancer histology photographs (ICIAR 2018)",
        kind="labelled_images",
        paper="Aresta et al., BACH: Grand challenge on breast cancer histology images, Medical Image Analysis 56, 2019, "
        "doi:10.1016/j.media.2019.05.010",
        homepage="https://zenodo.org/records/3632035",
        licence="CC-BY-NC-ND-4.0",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile(
                "**/Benign/*.tif | **/Normal/*.tif | **/InSitu/*.tif | **/Invasive/*.tif",
                "photographs of 2048 x 1536 px, a folder a class",
                "ICIAR2018_BACH_Challenge.zip of the homepage",
            ),
            ExpectedFile(f"**/{TABLE}", "file name and class, no header", "ICIAR2018_BACH_Challenge.zip of the homepage", False),
        ),
        counts={"images": 400, "classes": 4},
        splits="None that is labelled: the challenge's test photographs have no class and are rejected.",
        groups="Unknown: the patients are not told; each photograph is its own group.",
        problems=(
            "One benchmark's card counts 408 photographs where the release has 400: figures on other lists do not compare.",
            "Where folder and table disagree the photograph is rejected as label_conflict.",
            "The whole slides and their thumbnails (WSI) are another task and are not read.",
        ),
        citation="@article{aresta2019bach, title={BACH: Grand challenge on breast cancer histology images}, author={Aresta, Guilherme and "
        "others}, journal={Medical Image Analysis}, volume={56}, pages={122--139}, year={2019}}",
    )

    @functools.cached_property
    def _table(self) -> ListedImages[str]:
        return ListedImages(row for path in sorted(self.folder.glob(f"**/{TABLE}")) for row in _rows(path))

    def is_image(self, found: Found) -> bool:
        return "wsi" not in {name.lower() for name in found.folders}

    def place(self, found: Found) -> Place:
        told = self._table.of(found)
        label = class_of(found, {name: name for name in CLASSES})
        if told not in (None, label):
            raise Refused("label_conflict", f"its folder says {label}, {TABLE} says {told}")
        return Place(label, found.path, mpp=0.42)

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return self._table.absent()

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "groups_unknown": WHY_UNKNOWN}


def _rows(path: Path) -> Iterator[tuple[str, str | Refused]]:
    known = {plain(label): label for label in CLASSES}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file)):
                key = f"{path.name}#{number}"
                if len(row) < 2:
                    yield from [(key, Refused("wrong_columns", "a file name and a class are wanted"))] if row else []
                elif plain(row[1]) in known:
                    yield row[0], known[plain(row[1])]
                # The published table has no header; a first row that names no class can only be one.
                elif number:
                    yield key, Refused("unknown_class", f"{row[0]} is of class {row[1]!r}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as a table ({error}); fetch it again") from error
