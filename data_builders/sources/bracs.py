"""BRACS regions of interest: seven breast lesion classes (Brancati et al. 2022)."""

from __future__ import annotations

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, matched, plain, split_of
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused

FOLDERS = {"0_N": "N", "1_PB": "PB", "2_UDH": "UDH", "3_FEA": "FEA", "4_ADH": "ADH", "5_DCIS": "DCIS", "6_IC": "IC"}


class Bracs(ImageTree[NoOptions]):
    """train, val and test, each with a folder a class; `BRACS_1003_N_1.png` is region 1 of slide BRACS_1003."""

    classes = tuple(FOLDERS.values())
    label_sets = ("bracs",)
    card = Card(
        name="bracs",
        title="BRACS regions of interest",
        kind="labelled_images",
        paper="Brancati et al., BRACS: A Dataset for BReAst Carcinoma Subtyping in H&E Histology Images, Database 2022, arXiv:2111.04740",
        homepage="https://www.bracs.icar.cnr.it/download/",
        licence="CC-BY-NC-4.0",
        gated=True,
        commercial="no",
        files=tuple(
            ExpectedFile(f"**/{split}/*_*/*.png", f"regions of the official {split} set", "BRACS_RoI/latest_version of the homepage", False)
            for split in ("train", "val", "test")
        ),
        counts={"images": 4539, "train": 3657, "val": 312, "test": 570, "slides": 547, "classes": 7},
        splits="Official: the folders train, val and test.",
        groups="The slide, from the file name. The patient is told by the homepage's BRACS.xlsx alone, which is not read.",
        problems=(
            "The homepage offers latest_version and previous_version, which hold the same regions in other splits: previous_version is "
            "rejected where both are given.",
            "Sizes vary from a few hundred to over ten thousand pixels a side, and a resize to 224 px loses the scale: 0.25 microns per "
            "pixel are recorded; regions beyond the decoder's limits are rejected by name.",
        ),
        citation="@article{brancati2022bracs, title={BRACS: A Dataset for BReAst Carcinoma Subtyping in H&E Histology Images}, "
        "author={Brancati, Nadia and others}, journal={Database}, year={2022}}",
    )

    def place(self, found: Found) -> Place:
        if any(plain(name) == "previousversion" for name in found.folders):
            raise Refused("previous_version", "the same regions lie in latest_version, in the official splits")
        label = class_of(found, FOLDERS)
        split = split_of(found)
        if split is None:
            raise Refused("no_split_folder", "lies in no folder called train, val or test")
        match = matched(r"^(BRACS_\d+)_([A-Z]+)_\d+$", found.stem, "slide and class (BRACS_1003_N_1)")
        if match.group(2) != label:
            raise Refused("label_conflict", f"its folder says {label}, its name {match.group(2)}")
        return Place(label, match.group(1), split, slide=match.group(1), mpp=0.25)
