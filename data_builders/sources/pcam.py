"""PatchCamelyon: lymph node patches with and without metastasis (Veeling et al. 2018)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.arrays import H5Array, as_png, unpacked
from eosin.data_builders.sources.reading.sheets import sheet_rows
from eosin.data_builders.sources.reading.tables import optional
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, sections_of
from eosin.errors import InputError
from eosin.records import LabelledImage, Record

CLASSES = ("normal", "tumor")
SPLITS = {"train": "train", "valid": "val", "test": "test"}
STEM = "camelyonpatch_level_2_split"
ORIGIN = "https://zenodo.org/records/2546921"
WHY_UNKNOWN = "no *_meta.csv lies beside the images, so the slide of a patch is not told; the official splits keep slides apart"


@dataclass(frozen=True)
class PCamOptions:
    """Attributes:
    unpack: folder for the unpacked copies of .h5.gz files (7 GB for training); empty: the system's temporary folder.
    """

    unpack: str = ""


class PCam(Source[PCamOptions]):
    """An h5 file of images, one of labels and a table of slides for each split."""

    Options = PCamOptions
    label_sets = ("pcam",)
    card = Card(
        name="pcam",
        title="PatchCamelyon (PCam)",
        kind="labelled_images",
        paper="Veeling et al., Rotation Equivariant CNNs for Digital Pathology, MICCAI 2018, arXiv:1806.03962; from Camelyon16, Ehteshami "
        "Bejnordi et al., JAMA 2017",
        homepage="https://github.com/basveeling/pcam",
        licence="CC0-1.0",
        gated=False,
        commercial="yes",
        files=tuple(
            ExpectedFile(f"**/{STEM}_{split}_{part}.h5 | **/{STEM}_{split}_{part}.h5.gz", f"{what} of {split}", ORIGIN, False)
            for split in SPLITS
            for part, what in (("x", "images of 96 x 96 px"), ("y", "labels"))
        )
        + tuple(ExpectedFile(f"**/{STEM}_{split}_meta.csv", f"slide and place of {split}", ORIGIN, False) for split in SPLITS),
        counts={"images": 327680, "train": 262144, "val": 32768, "test": 32768, "classes": 2},
        splits="Official: one pair of files a split; no slide is in two of them.",
        groups="The slide, from *_meta.csv; unknown where that file is not there.",
        problems=(
            "A patch is `tumor` when its central 32 x 32 px hold tumour: what lies around does not count.",
            "Patches are 1 micron per pixel (10x), 96 microns a side: enlarged to 224 px they are blurred.",
            "The columns of *_meta.csv are read by name: tumor_patch is not the label, center_tumor_patch is. Where it contradicts the "
            "label file the patch is rejected as label_conflict.",
            "Duplicate patches are in the training set, as its authors say.",
            ".h5.gz files are unpacked once, into options.unpack: an h5 file cannot be read from any place in a packed stream.",
        ),
        citation="@inproceedings{veeling2018rotation, title={Rotation Equivariant CNNs for Digital Pathology}, author={Veeling, Bastiaan "
        "S. and others}, booktitle={MICCAI}, year={2018}}",
    )

    def _find(self, split: str, part: str) -> Path | None:
        patterns = (f"**/{STEM}_{split}_{part}.h5", f"**/{STEM}_{split}_{part}.h5.gz")
        found = next((sorted(self.folder.glob(pattern)) for pattern in patterns if any(self.folder.glob(pattern))), [])
        if len(found) > 1:
            raise InputError(f"{self.folder}: {len(found)} files are called {found[0].name}; leave one of them here")
        return found[0] if found else None

    def problems(self) -> list[str]:
        wanted = []
        held = 0
        for split in SPLITS:
            parts = {part: self._find(split, part) for part in ("x", "y")}
            held += all(parts.values())
            for part, other in (("x", "y"), ("y", "x")):
                if parts[other] and not parts[part]:
                    wanted.append(f"{STEM}_{split}_{part}.h5 is missing beside {STEM}_{split}_{other}.h5; it comes from {ORIGIN}")
        return wanted if wanted or held else [f"no {STEM}_SPLIT_x.h5 (or .h5.gz) of train, valid or test; they come from {ORIGIN}"]

    def _array(self, split: str, part: str) -> H5Array:
        path = self._find(split, part)
        if path is None:
            raise InputError(f"{self.folder}: {STEM}_{split}_{part}.h5 is missing; it comes from {ORIGIN}")
        return H5Array(unpacked(path, self.options.unpack), part)

    def __init__(self, folder: Path, options: PCamOptions) -> None:
        super().__init__(folder, options)
        self._opened: dict[str, tuple[H5Array, H5Array]] = {}

    def _open(self, split: str) -> tuple[H5Array, H5Array]:
        if split in self._opened:
            return self._opened[split]
        images, labels = self._array(split, "x"), self._array(split, "y")
        if len(images) != len(labels):
            raise InputError(f"{self.folder}: {split} has {len(images)} images but {len(labels)} labels; fetch both again")
        self._opened[split] = images, labels
        return images, labels

    @functools.cached_property
    def _tables(self) -> dict[str, list[tuple[str, str]]]:
        """Split -> (slide, whether its centre is tumour) of each patch."""
        tables = {}
        for split in SPLITS:
            for path in sorted(self.folder.glob(f"**/{STEM}_{split}_meta.csv"))[:1]:
                tables[split] = [
                    (optional(row, "wsi") or "", (optional(row, "center_tumor_patch") or "").lower()) for row in sheet_rows(path)
                ]
        return tables

    def sections(self) -> Iterable[Section]:
        for split, ours in SPLITS.items():
            if self._find(split, "x") is None:
                continue
            images, _ = self._open(split)
            table = self._tables.get(split)
            if table is not None and len(table) != len(images):
                raise InputError(f"{self.folder}: {split} has {len(images)} images but {len(table)} rows in its _meta.csv; fetch it again")
            yield from sections_of(split, len(images), (ours,))

    def facts(self) -> Mapping[str, Any]:
        known = all(split in self._tables for split in SPLITS if self._find(split, "x"))
        return {"classes": list(CLASSES)} if known else {"classes": list(CLASSES), "groups_unknown": WHY_UNKNOWN}

    def items(self, section: Section) -> Iterator[Item]:
        for number in range(section.start, section.stop):
            yield Item(f"{section.name}/{number}", SPLITS[section.name], functools.partial(self._record, section.name, number))

    def _record(self, split: str, number: int) -> Record:
        images, labels = self._open(split)
        told = labels[number].reshape(-1)
        if len(told) != 1 or int(told[0]) not in (0, 1):
            raise Refused("unknown_class", f"its label is {told.tolist()}; 0 or 1 is wanted")
        label = int(told[0])
        slide, centre = self._tables[split][number] if split in self._tables else ("", "")
        if centre in ("true", "false", "0", "1") and (centre in ("true", "1")) != bool(label):
            raise Refused("label_conflict", f"the label file says {label}, center_tumor_patch {centre}")
        if split in self._tables and not slide:
            raise Refused("no_group", "its row of _meta.csv names no slide")
        key = f"{split}/{number}"
        return LabelledImage(
            **self.base(key, slide or key, SPLITS[split]), slide=slide or None, mpp=1.0, image=as_png(images[number]), label=CLASSES[label]
        )
