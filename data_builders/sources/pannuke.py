"""PanNuke: nuclei of 19 tissues (Gamper et al. 2019, 2020)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eosin.data_builders.sources.reading.arrays import Array, as_png, open_npy
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, sections_of
from eosin.errors import ConfigError, InputError
from eosin.images import encode_png
from eosin.records import SPLITS, Box, LabelledImage, Record

TISSUES = (
    "Adrenal_gland",
    "Bile-duct",
    "Bladder",
    "Breast",
    "Cervix",
    "Colon",
    "Esophagus",
    "HeadNeck",
    "Kidney",
    "Liver",
    "Lung",
    "Ovarian",
    "Pancreatic",
    "Prostate",
    "Skin",
    "Stomach",
    "Testis",
    "Thyroid",
    "Uterus",
)
ROTATION = {"1": "train", "2": "val", "3": "test"}
CELLS = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
NATURES = ("benign", "malignant")
WHY_UNKNOWN = "the release does not tell the slide or patient of an image: one patient may be in several folds"


@dataclass(frozen=True)
class PanNukeOptions:
    """Attributes:
    label: `tissue`, the 19 tissues; or `malignancy` by PLIP's rule: malignant from 10 neoplastic nuclei that are over 30 % of all, benign
        without any, else rejected.
    folds: fold -> split, where it is not the authors' first rotation: 1 train, 2 val, 3 test.
    """

    label: Literal["tissue", "malignancy"] = "tissue"
    folds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = {fold: split for fold, split in self.folds.items() if fold not in ROTATION or split not in SPLITS}
        if wrong:
            raise ConfigError(f"folds: {wrong} is none of fold 1, 2, 3 to one of {', '.join(SPLITS)}")


class PanNuke(Source[PanNukeOptions]):
    """Three arrays a fold: images, masks of six channels, and the tissue of each image."""

    Options = PanNukeOptions
    label_sets = ("pannuke", "benign_malignant")
    card = Card(
        name="pannuke",
        title="PanNuke nuclei of 19 tissues",
        kind="labelled_images",
        paper="Gamper et al., PanNuke: an open pan-cancer histology dataset for nuclei instance segmentation and classification, ECDP "
        "2019; and PanNuke Dataset Extension, Insights and Baselines, 2020, arXiv:2003.10778",
        homepage="https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke",
        licence="CC-BY-NC-SA-4.0",
        gated=False,
        commercial="no",
        files=tuple(
            ExpectedFile(f"**/{name}.npy", f"{what}, below a folder of the fold", "fold_1.zip, fold_2.zip, fold_3.zip of the homepage")
            for name, what in (("images", "[n, 256, 256, 3]"), ("masks", "[n, 256, 256, 6]"), ("types", "tissue names"))
        ),
        counts={"images": 7901, "fold1": 2656, "fold2": 2523, "fold3": 2722, "tissues": 19, "cells": 5},
        splits="The three official folds; options.folds says which is train, val and test.",
        groups="Unknown: neither slide nor patient is told; each image is its own group.",
        problems=(
            "Images are stored as 64-bit floats of 0 to 255 (4 GB a fold): they are read through a memory map and become 8-bit PNG.",
            "masks.npy: channels 0 to 4 hold the nuclei of a class as numbers, channel 5 the background. A nucleus in pieces has one box.",
            "Labels were made half by machine, as the authors say; some images have no nucleus.",
            "Part of it comes from TCGA: encoders trained on TCGA have seen it.",
            "40x is told (resampled to 0.25 microns per pixel).",
        ),
        citation="@article{gamper2020pannuke, title={PanNuke Dataset Extension, Insights and Baselines}, author={Gamper, Jevgenij and "
        "others}, journal={arXiv:2003.10778}, year={2020}}",
    )

    @functools.cached_property
    def _folds(self) -> dict[str, dict[str, Path]]:
        """Fold -> images, masks and types."""
        folds: dict[str, dict[str, Path]] = {}
        for name in ("images", "masks", "types"):
            for path in sorted(self.folder.rglob(f"{name}.npy")):
                relative = path.relative_to(self.folder).as_posix()
                numbers = re.findall(r"(?i)fold[ _-]*([123])", relative) or re.findall(r"(?i)fold[ _-]*([123])", self.folder.name)
                if not numbers:
                    raise InputError(f"{path}: none of its folders is called fold1, fold2 or fold3")
                if name in folds.setdefault(numbers[-1], {}):
                    raise InputError(f"{path}: {folds[numbers[-1]][name]} is fold {numbers[-1]} too; leave one of them here")
                folds[numbers[-1]][name] = path
        return dict(sorted(folds.items()))

    def problems(self) -> list[str]:
        return [
            f"fold {fold}: {name}.npy is missing; it comes from fold_{fold}.zip of the homepage"
            for fold, paths in self._folds.items()
            for name in ("images", "masks", "types")
            if name not in paths
        ]

    def __init__(self, folder: Path, options: PanNukeOptions) -> None:
        super().__init__(folder, options)
        self._opened: dict[str, tuple[Array, Array, Array]] = {}
        self._splits = {**ROTATION, **options.folds}

    def _open(self, fold: str) -> tuple[Array, Array, Array]:
        if fold in self._opened:
            return self._opened[fold]
        images, masks, types = (open_npy(self._folds[fold][name]) for name in ("images", "masks", "types"))
        if not len(images) == len(masks) == len(types) or masks.ndim != 4 or masks.shape[-1] != len(CELLS) + 1:
            raise InputError(f"fold {fold}: images {images.shape}, masks {masks.shape} and types {types.shape} do not belong together")
        self._opened[fold] = images, masks, types
        return images, masks, types

    def sections(self) -> Iterable[Section]:
        for fold in self._folds:
            yield from sections_of(f"fold{fold}", len(self._open(fold)[0]), (self._splits[fold],))

    def facts(self) -> Mapping[str, Any]:
        if self.options.label == "malignancy":
            return {"classes": list(NATURES), "cells": list(CELLS), "groups_unknown": WHY_UNKNOWN}
        held = {str(name) for fold in self._folds for name in np.unique(self._open(fold)[2])}
        return {"classes": [name for name in TISSUES if name in held], "cells": list(CELLS), "groups_unknown": WHY_UNKNOWN}

    def items(self, section: Section) -> Iterator[Item]:
        fold = section.name.removeprefix("fold")
        for number in range(section.start, section.stop):
            yield Item(
                f"{section.name}/{number}",
                self._splits[fold],
                functools.partial(self._record, fold, number, section.splits[0]),
            )

    def _record(self, fold: str, number: int, split: str) -> Record:
        images, masks, types = self._open(fold)
        tissue, mask = str(types[number]), np.asarray(masks[number])
        if tissue not in TISSUES:
            raise Refused("unknown_class", f"its tissue is {tissue!r}; known are {', '.join(TISSUES)}")
        if mask.dtype.kind == "f" and not np.isfinite(mask).all():
            raise Refused("bad_mask", "its mask holds values that are no numbers")
        boxes = tuple(nucleus_boxes(mask))
        counts = {cell: sum(box.label == cell for box in boxes) for cell in CELLS}
        key = f"fold{fold}/{number}"
        return LabelledImage(
            **self.base(key, key, split),
            mpp=0.25,
            extra={
                "tissue": tissue,
                "nuclei": {cell: count for cell, count in counts.items() if count},
                "mask_values": ["background", *CELLS],
            },
            image=as_png(np.asarray(images[number])),
            label=tissue if self.options.label == "tissue" else malignancy(counts),
            boxes=boxes,
            mask=encode_png(class_map(mask)),
        )


def malignancy(counts: Mapping[str, int]) -> str:
    """PLIP's rule for a whole image, from its nuclei by class.

    Raises:
        Refused: `no_nuclei`, or `few_neoplastic`: neither clearly benign nor malignant.
    """
    nuclei, neoplastic = sum(counts.values()), counts["neoplastic"]
    if not nuclei:
        raise Refused("no_nuclei", "no nucleus in it")
    if neoplastic >= 10 and neoplastic > 0.3 * nuclei:
        return "malignant"
    if neoplastic:
        raise Refused("few_neoplastic", f"{neoplastic} of {nuclei} nuclei are neoplastic: neither benign nor clearly malignant")
    return "benign"


def class_map(mask: Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [height, width]: 0 background, 1 to 5 the cells in the order of `CELLS`.

    Args:
        mask: [height, width, 6], the number of the nucleus at each pixel, a class a channel.
    """
    cells = mask[..., : len(CELLS)] > 0
    found: np.ndarray[Any, np.dtype[np.uint8]] = np.where(cells.any(axis=-1), cells.argmax(axis=-1) + 1, 0).astype(np.uint8)
    return found


def nucleus_boxes(mask: Array) -> Iterator[Box]:
    """The box around each nucleus of `class_map`'s mask, by class and number."""
    height, width = mask.shape[:2]
    for channel, cell in enumerate(CELLS):
        rows, columns = np.nonzero(mask[..., channel] > 0)
        if not len(rows):
            continue
        _, which = np.unique(mask[rows, columns, channel], return_inverse=True)
        count = int(which.max()) + 1
        low, high = np.full((count, 2), np.iinfo(np.int64).max), np.zeros((count, 2), np.int64)
        places = np.stack([rows, columns], axis=1)
        np.minimum.at(low, which, places)
        np.maximum.at(high, which, places)
        for (top, left), (bottom, right) in zip(low.tolist(), high.tolist(), strict=True):
            yield Box(left / width, top / height, (right + 1) / width, (bottom + 1) / height, cell)
