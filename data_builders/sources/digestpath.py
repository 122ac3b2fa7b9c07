"""DigestPath 2019, tissue task: colonoscopy tissue with and without malignant lesions (Da et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from eosin.data_builders.sources.image_tree import ImageTree, Place, plain
from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused
from eosin.images import decode_image, encode_png, read_image_file

CLASSES = ("malignant", "benign")
_MASK_SUFFIXES = (".jpg", ".png", ".jpeg")


class DigestPath(ImageTree[NoOptions]):
    """Regions of some thousand pixels; a malignant one has a mask `NAME_mask.jpg` beside it."""

    classes = CLASSES
    label_sets = ("benign_malignant",)
    card = Card(
        name="digestpath",
        title="DigestPath 2019 tissue segmentation",
        kind="labelled_images",
        paper="Da et al., DigestPath: A benchmark dataset with challenge review for the pathological detection and segmentation of "
        "digestive-system, Medical Image Analysis 80, 2022, doi:10.1016/j.media.2022.102485",
        homepage="https://digestpath2019.grand-challenge.org/",
        licence="terms of the challenge",
        gated=True,
        commercial="unclear",
        files=(
            ExpectedFile(
                "**/tissue-train-pos*/*.jpg", "malignant regions and their masks", "tissue-train-pos-v1.zip of the homepage", False
            ),
            ExpectedFile("**/tissue-train-neg*/*.jpg", "benign regions", "tissue-train-neg.zip of the homepage", False),
        ),
        counts={"malignant": 250},
        splits="None: all of it is the challenge's training part.",
        groups="The slide, where the name tells it before the region (...-lv1-x-y-w-h); else each region is its own group.",
        problems=(
            "Masks are JPEG, so their values blur at edges: over 127 counts as lesion; they become lossless PNG of 0 and 255.",
            "A malignant region without its mask is rejected as mask_missing; a benign one needs none.",
            "PLIP's protocol cuts 224 px crops and, by a fault in its code, splits them at random: crops of one slide are in train and "
            "test.",
            "Regions beyond the decoder's limits in pixels are rejected by name.",
        ),
        citation="@article{da2022digestpath, title={DigestPath: A benchmark dataset with challenge review for the pathological detection "
        "and segmentation of digestive-system}, author={Da, Qian and others}, journal={Medical Image Analysis}, volume={80}, year={2022}}",
    )

    def is_image(self, found: Found) -> bool:
        return not found.stem.endswith("_mask")

    def place(self, found: Found) -> Place:
        folder = plain("/".join(found.folders[-1:]))
        if "trainpos" in folder:
            label = "malignant"
            if self._mask_path(found) is None:
                raise Refused("mask_missing", f"{found.stem}_mask.jpg is not beside it")
        elif "trainneg" in folder:
            label = "benign"
        else:
            raise Refused("no_class_folder", "lies in no folder called tissue-train-pos... or tissue-train-neg")
        slide = self._slide(found)
        return Place(label, slide or found.path, "train", slide=slide)

    def facts(self) -> Mapping[str, Any]:
        if all(self._slide(found) for _, found, _ in self._placed):
            return super().facts()
        return {**super().facts(), "groups_unknown": "some file names do not tell the slide: regions of one slide may be in several groups"}

    def mask(self, found: Found) -> bytes | None:
        name = self._mask_path(found)
        if name is None:
            return None
        pixels = decode_image(read_image_file(self.folder / name))
        image = decode_image(read_image_file(self.folder / found.path))
        if pixels.shape != image.shape:
            raise Refused(
                "mask_size", f"its mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, itself {image.shape[1]} x {image.shape[0]}"
            )
        return encode_png(np.where(pixels[..., 0] > 127, 255, 0).astype(np.uint8))

    def _mask_path(self, found: Found) -> str | None:
        stem = found.path.rpartition(".")[0]
        return next((f"{stem}_mask{suffix}" for suffix in _MASK_SUFFIXES if (self.folder / f"{stem}_mask{suffix}").is_file()), None)

    @staticmethod
    def _slide(found: Found) -> str | None:
        match = re.match(r"^(.+?)[-_]lv\d+[-_]", found.stem)
        return match.group(1) if match else None
