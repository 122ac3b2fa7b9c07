"""WSSS4LUAD: lung adenocarcinoma, the labels in the file name (Han et al. 2022)."""

from __future__ import annotations

from eosin.data_builders.sources.image_tree import ImageTree, Place, matched, plain
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused

CLASSES = ("tumor", "stroma", "normal")
_NOT_IMAGES = {"mask", "masks", "backgroundmask"}


class Wsss4Luad(ImageTree[NoOptions]):
    """The training patches; `1001072-17642-37189-[1 0 1].png` shows tumour and normal tissue."""

    classes = CLASSES
    label_sets = ("wsss4luad",)
    card = Card(
        name="wsss4luad",
        title="WSSS4LUAD training patches",
        kind="labelled_images",
        paper="Han et al., WSSS4LUAD: Grand Challenge on Weakly-supervised Tissue Semantic Segmentation for Lung Adenocarcinoma, 2022, "
        "arXiv:2204.06455",
        homepage="https://wsss4luad.grand-challenge.org/",
        licence="terms of the challenge",
        gated=True,
        commercial="unclear",
        files=(ExpectedFile("**/*[[]*[]].png", "patches with their labels in the name", "1.training of the challenge"),),
        counts={"images": 10091, "single-label": 4693, "classes": 3},
        splits="These are the challenge's training patches. Its validation and test sets have masks, not labels: they are rejected.",
        groups="The slide: the number before the first dash.",
        problems=(
            "The list in the name is [tumor, stroma, normal], with blanks or commas between, and sizes vary.",
            "Benchmarks score different parts: 4,693 patches of one label (normal 1,832, stroma 1,680, tumor 1,181), or all 10,091 as "
            "tumor or not. `label` is set where exactly one applies; `labels` always.",
            "Part of it comes from TCGA: encoders trained on TCGA have seen it.",
            "Scanned at 10x; no microns per pixel are published: mpp is empty.",
        ),
        citation="@article{han2022wsss4luad, title={WSSS4LUAD: Grand Challenge on Weakly-supervised Tissue Semantic Segmentation for Lung "
        "Adenocarcinoma}, author={Han, Chu and others}, journal={arXiv:2204.06455}, year={2022}}",
    )

    def is_image(self, found: Found) -> bool:
        return not any(plain(name) in _NOT_IMAGES for name in found.folders)

    def place(self, found: Found) -> Place:
        match = matched(r"^([^\[]+?)[-_ ]*\[\s*([01])[ ,]+([01])[ ,]+([01])\s*\]$", found.stem, "its labels ([tumor stroma normal])")
        labels = tuple(name for name, flag in zip(CLASSES, match.groups()[1:], strict=True) if flag == "1")
        if not labels:
            raise Refused("no_label", "its name says that no class applies")
        slide = match.group(1).split("-")[0]
        if match.group(1).upper().startswith("TCGA-"):
            slide = "-".join(match.group(1).split("-")[:3])
        return Place(labels[0] if len(labels) == 1 else None, slide, "train", labels, slide=slide)
