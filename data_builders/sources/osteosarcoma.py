"""Osteosarcoma of UT Southwestern / UT Dallas: viable and dead tumour after treatment (Leavey et al. 2019, TCIA)."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, matched, plain
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages, missing, named_rows
from eosin.data_builders.sources.reading.own_splits import Told, own_splits
from eosin.data_builders.sources.reading.tables import need_columns, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused

CLASSES = ("Non-Tumor", "Non-Viable-Tumor", "Viable")
MIXED = "viable: non-viable"
TABLE = "ML_Features_1144.csv"
SPLITS_TABLE = "splits.csv"
_NAME_COLUMNS = ("image.name", "image name", "imagename", "image")


@dataclass(frozen=True)
class OsteosarcomaOptions:
    """Attributes:
    mixed: tiles that the table calls `viable: non-viable`: rejected, counted as `viable` or `non-viable`, or kept as a class of their own.
    """

    mixed: Literal["reject", "viable", "non-viable", "keep"] = "reject"


class Osteosarcoma(ImageTree[OsteosarcomaOptions]):
    """The classes stand in ML_Features_1144.csv; where it is not there, tiles lie in a folder a class, with a splits.csv or without."""

    Options = OsteosarcomaOptions
    label_sets = ("osteosarcoma_mixed",)
    classes = (*CLASSES, MIXED)
    card = Card(
        name="osteosarcoma",
        title="Osteosarcoma data from UT Southwestern/UT Dallas for viable and necrotic tumor assessment",
        kind="labelled_images",
        paper="Leavey et al., Osteosarcoma data from UT Southwestern/UT Dallas for Viable and Necrotic Tumor Assessment, TCIA 2019, "
        "doi:10.7937/tcia.2019.bvhjhdas",
        homepage="https://www.cancerimagingarchive.net/collection/osteosarcoma-tumor-assessment/",
        licence="CC-BY-3.0",
        gated=False,
        commercial="yes",
        files=(
            ExpectedFile("**/*.jpg | **/*.png | **/*.tif | **/*.tiff", "tiles in Training-Set-1 and -2 or class folders", "the homepage"),
            ExpectedFile(f"**/{TABLE}", "the class of each tile", "the homepage", False),
            ExpectedFile(SPLITS_TABLE, "path, label, split, group of tiles in class folders", "you", False),
        ),
        counts={"images": 1144},
        splits="None official; a splits.csv in the folder decides.",
        groups="The patient, from the file name (Case-3 of Case-3-A17-7799-34542, P9 of P9-B28-...), or the group of splits.csv; "
        "Case-48-P5 makes Case-48 and P5 one patient.",
        problems=(
            "Names in the table have blanks where the files have dashes (Case 3 A17- 7799-34542): both are compared with one dash for any "
            "of these. A name that two files have is rejected as image_ambiguous.",
            "Tiles called `viable: non-viable`: Quilt's protocol drops them, PathGen's counts them as viable, so their figures do not "
            "compare. options.mixed chooses; the default rejects them.",
            "Table and folders spell classes in several cases (Non-tumor, viable); they are made one.",
            "Very few patients: splits by patient are coarse.",
        ),
        citation="@misc{leavey2019osteosarcoma, title={Osteosarcoma data from UT Southwestern/UT Dallas for Viable and Necrotic Tumor "
        "Assessment}, author={Leavey, Patrick and others}, year={2019}, doi={10.7937/tcia.2019.bvhjhdas}}",
    )

    def __init__(self, folder: Path, options: OsteosarcomaOptions) -> None:
        super().__init__(folder, options)
        self._bad_rows: list[tuple[str, Refused]] = []

    def problems(self) -> list[str]:
        for path in self.folder.glob(f"**/{TABLE}"):
            need_columns(path, _NAME_COLUMNS, ("classification", "class", "label"))
        return []

    @functools.cached_property
    def _table(self) -> Mapping[str, tuple[str, str]]:
        """`_key` of a name -> (name, class), from the publisher's table; empty where it is not there."""
        found = {}
        for path in sorted(self.folder.glob(f"**/{TABLE}")):
            for name, row in named_rows(path, *_NAME_COLUMNS):
                if isinstance(row, Refused):
                    self._bad_rows.append((name, row))
                else:
                    found[_key(name.removesuffix(".jpg"))] = (name, value(row, "classification", "class", "label"))
        return found

    @functools.cached_property
    def _splits(self) -> ListedImages[Told]:
        path = self.folder / SPLITS_TABLE
        return own_splits(path) if path.is_file() else ListedImages(())

    @functools.cached_property
    def _named(self) -> Counter[str]:
        return Counter(
            _key(path.stem) for path in self.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff")
        )

    def place(self, found: Found) -> Place:
        listed = self._splits.of(found)
        called = self._class(found)
        if listed is not None:
            listed.check_label(called, "the release", self.classes)
        label = self._label(called)
        told = matched(r"(?i)^(Case[- ]?\d+|P\d+)(?!\d)", found.stem, "the patient (Case-3-..., P9-...)").group(1)
        patient = self._aliases.get(told.upper(), told)
        block = matched(r"(?i)^(.*?)[- ]+\d+[- ]+\d+$", found.stem, "block and place (...-A17-7799-34542)").group(1)
        group, split = (listed.group, listed.split) if listed else (patient, "none")
        return Place(label, group, split, slide=block, extra={"patient": patient})

    @functools.cached_property
    def _aliases(self) -> Mapping[str, str]:
        """Case-48-P5-... says that Case-48 and P5 are one patient: P5 -> Case-48."""
        names = (re.match(r"(?i)^(Case[- ]?\d+)[- ]+(P\d+)[- ]", path.stem) for path in self.folder.rglob("*"))
        return {match.group(2).upper(): match.group(1) for match in names if match}

    def absent(self) -> Iterable[tuple[str, Refused]]:
        lacking = ((name, missing(name)) for key, (name, _) in self._table.items() if key not in self._named)
        return (*lacking, *self._bad_rows, *self._splits.absent())

    def _class(self, found: Found) -> str:
        if not self._table:
            return class_of(found, {**{name: name for name in CLASSES}, MIXED: MIXED})
        name = _key(found.stem)
        if name not in self._table:
            raise Refused("not_in_table", f"{TABLE} does not name it")
        if self._named[name] > 1:
            raise Refused("image_ambiguous", f"{self._named[name]} files are called so")
        return self._table[name][1]

    def _label(self, told: str) -> str:
        if plain(told) == plain(MIXED):
            mixed = {"viable": "Viable", "non-viable": "Non-Viable-Tumor", "keep": MIXED}
            if self.options.mixed == "reject":
                raise Refused("mixed_class", "viable and non-viable tumour in one tile; options.mixed says what to do with these")
            return mixed[self.options.mixed]
        label = {plain(name): name for name in CLASSES}.get(plain(told))
        if label is None:
            raise Refused("unknown_class", f"its class is {told!r}; known are {', '.join((*CLASSES, MIXED))}")
        return label


def _key(name: str) -> str:
    """A name with one dash for any run of blanks and dashes: the numbers in it must not run together."""
    return re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-")
