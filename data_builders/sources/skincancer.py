"""Skin tumours and normal skin (Kriegsmann et al. 2022)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.image_tree import ImageTree, Place, split_named
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages, named_rows
from eosin.data_builders.sources.reading.tables import need_columns, optional, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused

TUMOURS = ("tumor_skin_epithelial_sqcc", "tumor_skin_melanoma_melanoma", "tumor_skin_epithelial_bcc", "tumor_skin_naevus_naevus")
CLASSES = (
    "nontumor_skin_necrosis_necrosis",
    "nontumor_skin_muscle_skeletal",
    "nontumor_skin_sweatglands_sweatglands",
    "nontumor_skin_vessel_vessel",
    "nontumor_skin_elastosis_elastosis",
    "nontumor_skin_chondraltissue_chondraltissue",
    "nontumor_skin_hairfollicle_hairfollicle",
    "nontumor_skin_epidermis_epidermis",
    "nontumor_skin_nerves_nerves",
    "nontumor_skin_subcutis_subcutis",
    "nontumor_skin_dermis_dermis",
    "nontumor_skin_sebaceousglands_sebaceousglands",
    *TUMOURS,
)
_PATIENT = ("case", "patient", "patient_id", "case_id")
WHY_UNKNOWN = "the table names no case: only the official sets, which were made by case, keep patients apart"


@dataclass(frozen=True)
class SkinCancerOptions:
    """Attributes:
    tumours_only: only the four tumour classes; the other tiles are rejected as not_a_tumour.
    """

    tumours_only: bool = False


class SkinCancer(ImageTree[SkinCancerOptions]):
    """data/tiles-v2.csv (file, class, set, malignicy) and the tiles it names."""

    Options = SkinCancerOptions
    label_sets = ("skincancer",)
    classes = CLASSES
    card = Card(
        name="skincancer",
        title="Deep learning for the detection of anatomical tissue structures and neoplasms of the skin",
        kind="labelled_images",
        paper="Kriegsmann et al., Deep Learning for the Detection of Anatomical Tissue Structures and Neoplasms of the Skin on Scanned "
        "Histopathological Tissue Sections, Frontiers in Oncology 12, 2022, doi:10.3389/fonc.2022.1022967; data: doi:10.11588/data/7QCR8S",
        homepage="https://doi.org/10.11588/data/7QCR8S",
        licence="unclear: see the homepage",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile("**/tiles-v2.csv | **/tiles_v2.csv", "file, class, set, malignicy", "the homepage"),
            ExpectedFile("**/*.jpg | **/*.png | **/*.tif", "tiles of about 100 microns a side", "the homepage"),
        ),
        counts={"images": 129364, "train": 88971, "val": 12354, "test": 28039, "cases": 386, "classes": 16},
        splits="Official: the column set (Train, Validation, Test).",
        groups="A column of cases, where the table has one; else unknown.",
        problems=(
            "The column of malignancy is spelt `malignicy`; it is kept in `extra`.",
            "Some code links to ISIC, which is another collection (photographs of skin, no histology).",
            "Quilt's names call the melanoma class `melanoma in-situ`; the release says melanoma.",
            "395 px stand for about 100 microns; no exact resolution is published: mpp is empty.",
        ),
        citation="@article{kriegsmann2022skin, title={Deep Learning for the Detection of Anatomical Tissue Structures and Neoplasms of the "
        "Skin on Scanned Histopathological Tissue Sections}, author={Kriegsmann, Katharina and others}, journal={Frontiers in Oncology}, "
        "volume={12}, year={2022}}",
    )

    def _file(self) -> Path:
        return self.path("**/tiles-v2.csv", "**/tiles_v2.csv")

    def problems(self) -> list[str]:
        need_columns(self._file(), ("file",), ("class",), ("set",))
        return []

    @functools.cached_property
    def _table(self) -> ListedImages[dict[str, str]]:
        return ListedImages(named_rows(self._file(), "file"))

    def place(self, found: Found) -> Place:
        row = self._table.of(found)
        if row is None:
            raise Refused("not_in_table", "the table of tiles does not name it")
        label, told = value(row, "class"), value(row, "set")
        malignancy, case = optional(row, "malignicy", "malignancy"), optional(row, *_PATIENT)
        split = split_named(told)
        if label not in CLASSES:
            raise Refused("unknown_class", f"its class is {label!r}")
        if split is None:
            raise Refused("unknown_split", f"its set is {told!r}")
        if self.options.tumours_only and label not in TUMOURS:
            raise Refused("not_a_tumour", f"{label}; options.tumours_only leaves it out")
        return Place(label, case or found.path, split, extra={"malignicy": malignancy} if malignancy else {})

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return self._table.absent()

    def facts(self) -> Mapping[str, Any]:
        cases = all(place.group != found.path for _, found, place in self._placed if isinstance(place, Place))
        return super().facts() if cases else {**super().facts(), "groups_unknown": WHY_UNKNOWN}
