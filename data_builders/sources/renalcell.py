"""RenalCell: textures of renal tissue (Zenodo 6528599)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, split_of
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions

CLASSES = ("blood", "cancer", "normal", "other", "stroma")


class RenalCell(ImageTree[NoOptions]):
    """A folder a class."""

    classes = CLASSES
    label_sets = ("renalcell",)
    card = Card(
        name="renalcell",
        title="Renal cell carcinoma tissue textures",
        kind="labelled_images",
        paper="Brummer et al., Computational textural mapping harmonises sampling variation and reveals multidimensional histopathological "
        "fingerprints, British Journal of Cancer 2023; data: doi:10.5281/zenodo.6528599",
        homepage="https://zenodo.org/records/6528599",
        licence="unclear: see the homepage",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile(
                "**/cancer/*.png | **/cancer/*.jpg | **/cancer/*.jpeg | **/cancer/*.tif",
                "tiles of cancer; so the other classes",
                "the homepage",
            ),
        ),
        counts={},
        splits="None official is known; folders called train, val or test count.",
        groups="The TCGA patient where the file name holds a barcode (TCGA-XX-XXXX); else each tile is its own group.",
        problems=(
            "Test sets made of it count 36,687 tiles of five classes (blood, cancer, normal, other, stroma); tiles of other folders are "
            "rejected.",
            "The tiles come from TCGA: encoders and captions that were trained on TCGA have seen these patients. Audit by barcode.",
            "No microns per pixel are told here: mpp is empty.",
        ),
        citation="@misc{brummer2022renal, title={Renal cell carcinoma tissue textures}, author={Brummer, Otso and others}, "
        "doi={10.5281/zenodo.6528599}}",
    )

    def place(self, found: Found) -> Place:
        label = class_of(found, {name: name for name in CLASSES})
        barcode = self._barcode(found)
        return Place(label, barcode or found.path, split_of(found) or "none")

    def facts(self) -> Mapping[str, Any]:
        facts = super().facts()
        if all(self._barcode(found) for _, found, _ in self._placed):
            return facts
        return {**facts, "groups_unknown": "some file names hold no TCGA barcode: the patients of those tiles are not told"}

    @staticmethod
    def _barcode(found: Found) -> str:
        match = re.search(r"(?i)TCGA[-_]([0-9A-Z]{2})[-_]([0-9A-Z]{4})", found.path)
        return f"TCGA-{match.group(1)}-{match.group(2)}".upper() if match else ""
