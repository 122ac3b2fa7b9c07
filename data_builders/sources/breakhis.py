"""BreaKHis: eight breast tumour classes at four magnifications (Spanhol et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eosin.data_builders.sources.image_tree import ImageTree, Place, matched
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused
from eosin.errors import ConfigError

TYPES = {
    "A": ("adenosis", "benign"),
    "F": ("fibroadenoma", "benign"),
    "PT": ("phyllodes_tumor", "benign"),
    "TA": ("tubular_adenoma", "benign"),
    "DC": ("ductal_carcinoma", "malignant"),
    "LC": ("lobular_carcinoma", "malignant"),
    "MC": ("mucinous_carcinoma", "malignant"),
    "PC": ("papillary_carcinoma", "malignant"),
}
MAGNIFICATIONS = (0, 40, 100, 200, 400)
NAME = r"^SOB_([BM])_([A-Z]{1,2})[-_](\d+)-(\d+)([A-Z]*)-(40|100|200|400)-(\d+)$"


@dataclass(frozen=True)
class BreakHisOptions:
    """Attributes:
    magnification: 40, 100, 200 or 400 alone; 0: all of them. The same field at several magnifications is several images.
    label: `subtype`, eight classes, or `malignancy`, two.
    """

    magnification: int = 0
    label: Literal["subtype", "malignancy"] = "subtype"

    def __post_init__(self) -> None:
        if self.magnification not in MAGNIFICATIONS:
            raise ConfigError(f"magnification must be one of {', '.join(map(str, MAGNIFICATIONS))}; got {self.magnification}")


class BreakHis(ImageTree[BreakHisOptions]):
    """Nested folders; all that counts stands in the file name: `SOB_M_DC-14-2523-40-001.png`."""

    Options = BreakHisOptions
    label_sets = ("breakhis", "benign_malignant")
    classes = (*(name for name, _ in TYPES.values()), "benign", "malignant")
    card = Card(
        name="breakhis",
        title="BreaKHis breast cancer histopathological images",
        kind="labelled_images",
        paper="Spanhol et al., A Dataset for Breast Cancer Histopathological Image Classification, IEEE TBME 63(7), 2016, "
        "doi:10.1109/TBME.2015.2496264",
        homepage="https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
        licence="CC-BY-4.0 as one benchmark's card says; the homepage's own words decide",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile("**/SOB_*.png", "700 x 460 px, nested by class, patient and magnification", "BreaKHis_v1.tar.gz of the homepage"),
        ),
        counts={
            "images": 7909,
            "40X": 1995,
            "100X": 2081,
            "200X": 2013,
            "400X": 1820,
            "benign": 2480,
            "malignant": 5429,
            "patients": 82,
        },
        splits="None that the release itself holds: the homepage's folds are lists of their own. Splits by group keep patients together.",
        groups="Year and number of the slide without its letter (14-22549 of 14-22549AB): slides of one number may be one patient's.",
        problems=(
            "Patient 14-13412 lies both under ductal and under lobular carcinoma: with label=subtype one of the two is wrong. Both are "
            "kept, in one group.",
            "No microns per pixel are published, only the magnification of the microscope: mpp is empty, `extra.magnification` is told.",
            "A field was photographed at four magnifications: images of one slide are no independent samples; see options.magnification.",
        ),
        citation="@article{spanhol2016breakhis, title={A Dataset for Breast Cancer Histopathological Image Classification}, "
        "author={Spanhol, Fabio A. and others}, journal={IEEE Transactions on Biomedical Engineering}, volume={63}, number={7}, "
        "year={2016}}",
    )

    def is_image(self, found: Found) -> bool:
        wanted = self.options.magnification
        return not wanted or f"-{wanted}-" in found.stem or not found.stem.startswith("SOB_")

    def place(self, found: Found) -> Place:
        match = matched(NAME, found.stem, "class, patient and magnification (SOB_M_DC-14-2523-40-001)")
        nature, code, year, number, letters, magnification, _ = match.groups()
        if code not in TYPES:
            raise Refused("unknown_class", f"its name says {code}; known are {', '.join(TYPES)}")
        subtype, malignancy = TYPES[code]
        folders = {name.lower() for name in found.folders} & {name for name, _ in TYPES.values()}
        if malignancy[0].upper() != nature or folders - {subtype}:
            raise Refused("label_conflict", f"its name says {nature} and {code}, its folders {', '.join(sorted(folders)) or 'nothing'}")
        return Place(
            subtype if self.options.label == "subtype" else malignancy,
            f"{year}-{number}",
            slide=f"{year}-{number}{letters}",
            extra={"magnification": int(magnification), "subtype": subtype, "malignancy": malignancy},
        )
