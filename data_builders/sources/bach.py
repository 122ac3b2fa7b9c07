"""BACH: breast microscopy photographs of the ICIAR 2018 challenge (Aresta et al. 2019)."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping
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
        rows: list[tuple[str, str]] = []
        for path in sorted(self.folder.glob(f"**/{TABLE}")):
            with path.open(encoding="utf-8-sig", newline="") as file:
                try:
                    rows += [(row[0], row[1]) for row in csv.reader(file) if len(row) > 1 and row[0].strip()]
                except (csv.Error, UnicodeDecodeError) as error:
                    raise InputError(f"{path}: not readable as a table ({error}); fetch it again") from error
        known = {plain(label): label for label in CLASSES}
        # The published table has no header; a row that names no class can only be one.
        return ListedImages((name, known[plain(label)]) for name, label in rows if plain(label) in known)

    def is_image(self, found: Found) -> bool:
        return "wsi" not in {name.lower() for name in found.folders}

    def place(self, found: Found) -> Place:
        label = class_of(found, {name: name for name in CLASSES})
        told = self._table.of(found)
        if told not in (None, label):
            raise Refused("label_conflict", f"its folder says {label}, {TABLE} says {told}")
        return Place(label, found.path, mpp=0.42)

    def absent(self) -> Iterable[str]:
        return self._table.absent()

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "groups_unknown": WHY_UNKNOWN}
