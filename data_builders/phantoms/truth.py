"""What a phantom shows: the closed vocabularies and the record that goes with every tile.

The nine tissue classes are those of Kather et al. 2019 (NCT-CRC-HE-100K). Everything in a truth record was drawn and
lies inside the tile; an object that the border cuts counts when at least `VISIBLE_SHARE` of its bounding box is inside, or
when its box covers at least `FILLING_SHARE` of the tile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

TISSUES: dict[str, str] = {
    "ADI": "adipose tissue",
    "BACK": "background",
    "DEB": "debris",
    "LYM": "lymphocytes",
    "MUC": "mucus",
    "MUS": "smooth muscle",
    "NORM": "normal colon mucosa",
    "STR": "cancer-associated stroma",
    "TUM": "colorectal adenocarcinoma epithelium",
}

MASK_LABELS: dict[str, int] = {
    "glass": 0,
    "connective tissue": 1,
    "smooth muscle": 2,
    "epithelium": 3,
    "lumen": 4,
    "fat": 5,
    "mucin": 6,
    "debris": 7,
    "lymphoid tissue": 8,
    "vessel wall": 9,
    "red cell": 10,
    "epithelial nucleus": 11,
    "tumour nucleus": 12,
    "lymphocyte nucleus": 13,
    "spindle nucleus": 14,
    "muscle nucleus": 15,
    "mitosis": 16,
    "goblet cell": 17,
    "nuclear fragment": 18,
    "foreign material": 19,
    "endothelial nucleus": 20,
}

# Every attribute with its values. "absent" / "present" pairs are drawn with equal probability, the others uniformly.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "air_bubble": ("absent", "present"),
    "blood_vessel": ("absent", "present"),
    "cellularity": ("low", "moderate", "high"),
    "clefts": ("absent", "present"),
    "fat_cell_size": ("small", "large"),
    "fibre_direction": ("horizontal", "vertical", "diagonal"),
    "fibrous_septum": ("absent", "present"),
    "floating_cells": ("absent", "present"),
    "foreign_material": ("none", "dust", "thread"),
    "germinal_centre": ("absent", "present"),
    "ghost_cells": ("absent", "present"),
    "gland_number": ("few", "many"),
    "goblet_cells": ("few", "many"),
    "growth_pattern": ("glandular", "cribriform", "solid"),
    "lumen": ("open", "collapsed"),
    "lymphocytic_infiltrate": ("absent", "present"),
    "mitoses": ("absent", "present"),
    "mucin_amount": ("moderate", "abundant"),
    "necrosis": ("absent", "present"),
    "nuclear_dust": ("sparse", "dense"),
    "nucleoli": ("inconspicuous", "prominent"),
    "pleomorphism": ("mild", "marked"),
    "red_cells": ("absent", "present"),
}

# What is drawn on purpose in each class, so that its value can be asked for. A tumour has "lumen" when it is glandular.
TISSUE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "ADI": ("fat_cell_size", "fibrous_septum", "blood_vessel", "lymphocytic_infiltrate", "red_cells"),
    "BACK": ("foreign_material", "air_bubble"),
    "DEB": ("nuclear_dust", "ghost_cells", "clefts", "lymphocytic_infiltrate", "red_cells"),
    "LYM": ("cellularity", "germinal_centre", "blood_vessel", "red_cells"),
    "MUC": ("mucin_amount", "floating_cells", "lymphocytic_infiltrate", "red_cells"),
    "MUS": ("fibre_direction", "cellularity", "blood_vessel", "lymphocytic_infiltrate", "red_cells"),
    "NORM": ("gland_number", "lumen", "goblet_cells", "lymphocytic_infiltrate", "red_cells"),
    "STR": ("fibre_direction", "cellularity", "blood_vessel", "lymphocytic_infiltrate", "red_cells"),
    "TUM": (
        "growth_pattern",
        "lumen",
        "pleomorphism",
        "nucleoli",
        "mitoses",
        "necrosis",
        "lymphocytic_infiltrate",
        "red_cells",
    ),
}

COUNTS: tuple[str, ...] = (
    "nuclei",
    "epithelial_nuclei",
    "tumour_nuclei",
    "lymphocytes",
    "spindle_nuclei",
    "muscle_nuclei",
    "mitoses",
    "nuclear_fragments",
    "glands",
    "lumens",
    "goblet_cells",
    "fat_cells",
    "mucin_pools",
    "cell_clusters",
    "blood_vessels",
    "red_cells",
    "foreign_objects",
)

BOX_LABELS: tuple[str, ...] = (
    "air bubble",
    "blood vessel",
    "cell cluster",
    "fat cell",
    "fibrous septum",
    "foreign material",
    "germinal centre",
    "gland",
    "lymphocyte cluster",
    "mitosis",
    "mucin pool",
    "necrosis",
    "red cells",
)

VISIBLE_SHARE = 1 / 3
FILLING_SHARE = 1 / 4  # of the tile: what covers this much counts however large it is


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle around one drawn object, clipped to the tile.

    `x0, y0` is the top left and `x1, y1` the bottom right corner, as fractions of the width and the height.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclasses.dataclass(frozen=True)
class TileTruth:
    """Everything known about one tile.

    `counts` has every key of `COUNTS`, zeros included. `attributes` has the keys of `TISSUE_ATTRIBUTES[tissue]` (of a tumour,
    "lumen" only when its growth is glandular). `boxes` are sorted by label, then top to bottom, left to right.
    """

    tissue: str
    seed: int
    patient: str
    slide: str
    scanner: str
    size_px: int
    mpp: float
    counts: Mapping[str, int]
    attributes: Mapping[str, str]
    boxes: tuple[Box, ...]

    def to_json(self) -> dict[str, object]:
        """The record as plain dicts, lists, strings and numbers, for `json.dumps`."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["counts"] = dict(self.counts)
        plain["attributes"] = dict(self.attributes)
        plain["boxes"] = [dataclasses.asdict(box) for box in self.boxes]
        return plain
