"""What the two releases of Kather et al. 2018/2019 share: nine classes of colorectal tissue, Zenodo 1214456."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, plain
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import ExpectedFile, NoOptions, Refused

CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
RELEASES = ("NCT-CRC-HE-100K", "NCT-CRC-HE-100K-NONORM", "CRC-VAL-HE-7K")
PAPER = (
    "Kather et al., Predicting survival from colorectal cancer histology slides using deep learning, PLOS Medicine 16(1), 2019, "
    "doi:10.1371/journal.pmed.1002730; data: Kather, Halama, Marx 2018, doi:10.5281/zenodo.1214456"
)
CITATION = (
    "@misc{kather2018nct, title={100,000 histological images of human colorectal cancer and healthy tissue}, author={Kather, Jakob Nikolas "
    "and Halama, Niels and Marx, Alexander}, year={2018}, doi={10.5281/zenodo.1214456}}"
)
PROBLEMS = (
    "Tiles carry JPEG artefacts, colours that differ between classes and some broken dynamic ranges: a model can do well on colour alone "
    "(Ignatov, Malivenko 2024, arXiv:2409.11546). Audit against a colour baseline before a score is believed.",
    "Names are random letters: patients of single tiles are not told, so no split by patient can be made within this release.",
    "Quilt's protocol leaves BACK out and scores eight classes; CONCH's and PLIP's score nine: say which when figures are compared.",
    "PathMNIST of MedMNIST holds the same tiles, made smaller: never train on one and test on the other.",
)
WHY_UNKNOWN = "the release does not tell the patient of a tile; only its two parts, NCT-CRC-HE-100K and CRC-VAL-HE-7K, share no patients"


class CrcTiles(ImageTree[NoOptions]):
    """A folder a class; the release is the split.

    Attributes:
        releases: names of the folders that belong to this source.
        split: of all its tiles.
    """

    classes = CLASSES
    label_sets = ("nct_crc_he",)
    releases: ClassVar[tuple[str, ...]]
    split: ClassVar[str]

    def place(self, found: Found) -> Place:
        label = class_of(found, {name: name for name in CLASSES})
        own = {plain(name) for name in self.releases}
        other = [name for name in found.folders if plain(name) in {plain(release) for release in RELEASES} - own]
        if other:
            raise Refused("other_release", f"lies in {other[0]}, which is another source with other patients; read it as that")
        if not found.stem.upper().startswith(label):
            raise Refused("label_conflict", f"its folder says {label}, its name {found.stem}")
        return Place(label, found.path, self.split, mpp=0.5)

    def facts(self) -> Mapping[str, Any]:
        return {**super().facts(), "groups_unknown": WHY_UNKNOWN}


def expected(release: str) -> tuple[ExpectedFile, ...]:
    """The class folders of a release."""
    origin = f"{release}.zip of https://zenodo.org/records/1214456"
    return tuple(
        ExpectedFile(f"**/{name}/*.tif | **/{name}/*.png | **/{name}/*.jpg", f"tiles of {name}", origin, False) for name in CLASSES
    )
