"""MedMNIST: the sets of microscopy in it, small and standardised (Yang et al. 2023)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.arrays import NpzArray, as_png, npz_names
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, sections_of
from eosin.errors import InputError
from eosin.records import LabelledImage, Record

# The order is that of the numbers in the files: https://github.com/MedMNIST/MedMNIST, medmnist/info.py.
CLASSES = {
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "collecting duct, connecting tubule",
        "distal convoluted tubule",
        "glomerular endothelial cells",
        "interstitial endothelial cells",
        "leukocytes",
        "podocytes",
        "proximal tubule segments",
        "thick ascending limb",
    ),
}
SPLITS = ("train", "val", "test")
WHY_UNKNOWN = "the release tells neither patient nor slide; only its official splits"


@dataclass(frozen=True)
class MedMnistOptions:
    """Attributes:
    flag: pathmnist, bloodmnist or tissuemnist; empty: the one that lies in the folder.
    size: side in pixels, where the folder holds several: 28, 64, 128 or 224; 0: the one that lies there.
    """

    flag: str = ""
    size: int = 0


class MedMnist(Source[MedMnistOptions]):
    """One .npz a set and size: train_images, train_labels and so on."""

    Options = MedMnistOptions
    label_sets = ("pathmnist", "bloodmnist", "tissuemnist")
    card = Card(
        name="medmnist",
        title="MedMNIST v2 and +: PathMNIST, BloodMNIST, TissueMNIST",
        kind="labelled_images",
        paper="Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification, Scientific "
        "Data 10, 2023, doi:10.1038/s41597-022-01721-8",
        homepage="https://medmnist.com",
        licence="CC-BY-4.0",
        gated=False,
        commercial="yes",
        files=(
            ExpectedFile(
                " | ".join(f"**/{flag}*.npz" for flag in CLASSES),
                "images and labels of the three splits",
                "https://zenodo.org/records/10519652",
            ),
        ),
        counts={"pathmnist": 107180, "bloodmnist": 17092, "tissuemnist": 236386},
        splits="Official: the arrays train_, val_ and test_.",
        groups="Unknown: neither patient nor slide is told; each image is its own group.",
        problems=(
            "PathMNIST is NCT-CRC-HE-100K (train, val) and CRC-VAL-HE-7K (test), made smaller: never mix it with those.",
            "TissueMNIST is grey: one slice of a fluorescence volume, no H&E. BloodMNIST shows single cells of a smear.",
            "28 px are too few for models of 224 px: take the file called NAME_224.npz where figures are to mean something.",
            "The classes are numbers; their names are those of the authors' own code.",
            "No microns per pixel are told: mpp is empty.",
        ),
        citation="@article{yang2023medmnist, title={MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification}, author={Yang, Jiancheng and others}, journal={Scientific Data}, volume={10}, number={41}, year={2023}}",
    )

    @functools.cached_property
    def _file(self) -> tuple[str, Path]:
        """The set and its archive."""
        options = self.options
        if options.flag and options.flag not in CLASSES:
            raise InputError(f"options.flag is {options.flag!r}; of pathology are {', '.join(CLASSES)}")
        found = []
        for flag in [options.flag] if options.flag else CLASSES:
            for path in sorted(self.folder.glob(f"**/{flag}*.npz")):
                size = int(path.stem.removeprefix(flag).strip("_") or 28) if path.stem.removeprefix(flag).strip("_").isdecimal() else 28
                if options.size in (0, size):
                    found.append((flag, path))
        if len(found) != 1:
            names = ", ".join(path.name for _, path in found) or "none"
            raise InputError(f"{self.folder}: one archive is wanted, there are: {names}; options.flag and options.size choose")
        return found[0]

    def problems(self) -> list[str]:
        if not any(any(self.folder.glob(f"**/{flag}*.npz")) for flag in CLASSES):
            return []
        path = self._file[1]
        held = set(npz_names(path))
        wanted = [f"{split}_{part}" for split in SPLITS for part in ("images", "labels")]
        return [f"{path.name} holds no array {name}; fetch it again" for name in wanted if name not in held]

    def __init__(self, folder: Path, options: MedMnistOptions) -> None:
        super().__init__(folder, options)
        self._streams: dict[str, NpzArray] = {}

    def _array(self, name: str) -> NpzArray:
        if name not in self._streams:
            self._streams[name] = NpzArray(self._file[1], name)
        return self._streams[name]

    def sections(self) -> Iterable[Section]:
        for split in SPLITS:
            count, labels = len(self._array(f"{split}_images")), len(self._array(f"{split}_labels"))
            if count != labels:
                raise InputError(f"{self._file[1]}: {split} has {count} images but {labels} labels; fetch it again")
            yield from sections_of(split, count, (split,))

    def facts(self) -> Mapping[str, Any]:
        return {"classes": list(CLASSES[self._file[0]]), "groups_unknown": WHY_UNKNOWN}

    def items(self, section: Section) -> Iterator[Item]:
        for number in range(section.start, section.stop):
            yield Item(f"{self._file[0]}/{section.name}/{number}", section.name, functools.partial(self._record, section.name, number))

    def _record(self, split: str, number: int) -> Record:
        flag = self._file[0]
        told = self._array(f"{split}_labels")[number].reshape(-1)
        image = self._array(f"{split}_images")[number]
        if len(told) != 1 or not 0 <= int(told[0]) < len(CLASSES[flag]):
            raise Refused("unknown_class", f"its label is {told.tolist()}; one number below {len(CLASSES[flag])} is wanted")
        key = f"{flag}/{split}/{number}"
        return LabelledImage(
            **self.base(key, key, split), extra={"size": int(image.shape[0])}, image=as_png(image), label=CLASSES[flag][int(told[0])]
        )
