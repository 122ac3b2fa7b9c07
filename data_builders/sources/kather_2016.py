"""Kather 2016: textures of colorectal cancer (Kather et al., Scientific Reports 6, 2016)."""

from __future__ import annotations

from eosin.data_builders.sources.image_tree import ImageTree, Place, class_of, matched
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions

CLASSES = ("01_TUMOR", "02_STROMA", "03_COMPLEX", "04_LYMPHO", "05_DEBRIS", "06_MUCOSA", "07_ADIPOSE", "08_EMPTY")


class Kather2016(ImageTree[NoOptions]):
    """A folder a class; names such as `1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif` tell the slide."""

    classes = CLASSES
    label_sets = ("kather_2016",)
    card = Card(
        name="kather_2016",
        title="Collection of textures in colorectal cancer histology",
        kind="labelled_images",
        paper="Kather et al., Multi-class texture analysis in colorectal cancer histology, Scientific Reports 6, 27988, 2016, "
        "doi:10.1038/srep27988; data: doi:10.5281/zenodo.53169",
        homepage="https://zenodo.org/records/53169",
        licence="CC-BY-4.0",
        gated=False,
        commercial="yes",
        files=tuple(
            ExpectedFile(f"**/{name}/*.tif", f"625 tiles of {name}", "Kather_texture_2016_image_tiles_5000.zip of the homepage", False)
            for name in CLASSES
        ),
        counts={"images": 5000, "classes": 8},
        splits="None official.",
        groups="The slide, from the file name (CRC-Prim-HE-07); the classes are spread unevenly over few slides.",
        problems=(
            "There are very few slides (ten by the publisher's own larger images): splits by slide are coarse, random splits leak.",
            "The larger images of 5000 x 5000 px (another zip of the homepage) have no class; where they lie beside the tiles they are "
            "rejected.",
        ),
        citation="@article{kather2016multiclass, title={Multi-class texture analysis in colorectal cancer histology}, author={Kather, "
        "Jakob Nikolas and others}, journal={Scientific Reports}, volume={6}, pages={27988}, year={2016}}",
    )

    def place(self, found: Found) -> Place:
        label = class_of(found, {name: name for name in CLASSES})
        slide = matched(r"(?i)(CRC-Prim-HE-\d+)", found.stem, "the slide (CRC-Prim-HE-NN)").group(1)
        return Place(label, slide, slide=slide, mpp=0.495)
