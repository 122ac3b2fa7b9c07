"""SICAPv2: prostate patches with Gleason patterns (Silva-Rodriguez et al. 2020)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eosin.data_builders.sources.image_tree import ImageTree, Place, matched
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages, named_rows
from eosin.data_builders.sources.reading.tables import optional
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused
from eosin.images import read_image_file

GRADES = ("NC", "G3", "G4", "G5")
CLASSES = (*GRADES, "G4C")


@dataclass(frozen=True)
class SicapV2Options:
    """Attributes:
    validation: one of the four official folds: its test part becomes val; empty: all of the training part is train.
    grades: `all`: every pattern that a patch shows, in `labels`, with the cribriform pattern G4C; `single`: only patches of exactly one of
        NC, G3, G4, G5, and G4C is left to `extra`.
    """

    validation: Literal["", "Val1", "Val2", "Val3", "Val4"] = ""
    grades: Literal["all", "single"] = "all"


class SicapV2(ImageTree[SicapV2Options]):
    """images/, masks/ and partition/, whose tables hold a column of 0 and 1 a pattern."""

    Options = SicapV2Options
    label_sets = ("sicapv2",)
    classes = CLASSES
    card = Card(
        name="sicapv2",
        title="SICAPv2 prostate whole slide patches with Gleason grades",
        kind="labelled_images",
        paper="Silva-Rodriguez et al., Going deeper through the Gleason scoring scale, Computer Methods and Programs in Biomedicine 195, "
        "2020, doi:10.1016/j.cmpb.2020.105637; data: doi:10.17632/9xxm58dvs3",
        homepage="https://data.mendeley.com/datasets/9xxm58dvs3",
        licence="unclear: see the homepage",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile(
                "**/partition/Test/Train.xlsx | **/partition/Test/Train.csv",
                "image_name, NC, G3, G4, G5, G4C of training",
                "SICAPv2.zip of the homepage",
            ),
            ExpectedFile(
                "**/partition/Test/Test.xlsx | **/partition/Test/Test.csv", "the same of the test set", "SICAPv2.zip of the homepage"
            ),
            ExpectedFile("**/partition/Validation/Val*/*", "the same, for four folds", "SICAPv2.zip of the homepage", False),
            ExpectedFile("**/images/*.jpg", "patches of 512 x 512 px at 10x", "SICAPv2.zip of the homepage"),
            ExpectedFile("**/masks/*.png", "a mask a patch", "SICAPv2.zip of the homepage", False),
        ),
        counts={"images": 18783},
        splits="Official, by patient: partition/Test; options.validation takes val from one of the official folds.",
        groups="The slide, before `_Block` in the file name; the official split is by patient, the patient of a slide is not in the name.",
        problems=(
            "A patch may show several patterns: Quilt's protocol takes the first of NC, G3, G4, G5, PathGen's only patches of exactly one, "
            "and papers count 12,081 or 1,501 patches: say which. Here `label` is set only where exactly one of the four applies.",
            "What the values of a mask mean is unclear; masks are passed on as they are.",
            "Patches overlap by half: never split within a slide.",
            "Images that no partition names are rejected as not_in_partition.",
        ),
        citation="@article{silva2020going, title={Going deeper through the Gleason scoring scale: An automatic end-to-end system for "
        "histology prostate grading and cribriform pattern detection}, author={Silva-Rodr{\\'i}guez, Julio and others}, journal={Computer "
        "Methods and Programs in Biomedicine}, volume={195}, year={2020}}",
    )

    def _sheet(self, place: str) -> Path:
        return self.path(f"**/partition/{place}.xlsx", f"**/partition/{place}.csv")

    @functools.cached_property
    def _table(self) -> ListedImages[tuple[str, tuple[str, ...]]]:
        return ListedImages(self._rows())

    def _rows(self) -> Iterator[tuple[str, tuple[str, tuple[str, ...]] | Refused]]:
        fold = self.options.validation
        held_out = {name for name, _ in named_rows(self._sheet(f"Validation/{fold}/Test"), "image_name")} if fold else set()
        for table, split in (("Train", "train"), ("Test", "test")):
            for name, row in named_rows(self._sheet(f"Test/{table}"), "image_name"):
                if isinstance(row, Refused):
                    yield f"{table}/{name}", row
                else:
                    shown = tuple(label for label in CLASSES if optional(row, label) in ("1", "1.0"))
                    yield name, ("val" if name in held_out and split == "train" else split, shown)

    def is_image(self, found: Found) -> bool:
        return "masks" not in found.folders

    def place(self, found: Found) -> Place:
        row = self._table.of(found)
        if row is None:
            raise Refused("not_in_partition", "no partition names it")
        split, labels = row
        grades = [label for label in labels if label in GRADES]
        if not grades:
            raise Refused("no_label", "no pattern of NC, G3, G4, G5 applies")
        slide = matched(r"^(.+?)_Block", found.stem, "the slide (16B0001851_Block_...)").group(1)
        cribriform = {"cribriform": True} if "G4C" in labels else {}
        single = grades[0] if len(grades) == 1 else None
        if self.options.grades == "single":
            if single is None:
                raise Refused("several_grades", f"shows {', '.join(grades)}; options.grades=all keeps it")
            labels = ()
        return Place(single, slide, split, labels, slide=slide, extra=cribriform)

    def absent(self) -> Iterable[tuple[str, Refused]]:
        return self._table.absent()

    def mask(self, found: Found) -> bytes | None:
        if "images" not in found.folders:
            return None
        path = self.folder / ("/".join(found.path.split("/")[:-2]) or ".") / "masks" / f"{found.stem}.png"
        return read_image_file(path) if path.is_file() else None
