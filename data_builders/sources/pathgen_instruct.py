"""PathGen-Instruct: conversations about tiles of TCGA slides (Sun et al. 2025, arXiv:2407.00203)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eosin.data_builders.sources.dialogue_files import DialogueFiles
from eosin.data_builders.sources.reading.dialogue import Gold, gold_of
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.names import patient_of
from eosin.data_builders.sources.reading.options import gold_option, inline_options
from eosin.data_builders.sources.source import Card, ExpectedFile, NoOptions, Refused
from eosin.records import Message

_CLOSED = ("CLOSE", "CLOSED")


class PathGenInstruct(DialogueFiles[NoOptions]):
    """LLaVA records with `wsi_id`, `position` and `type` OPEN or CLOSE."""

    card = Card(
        name="pathgen_instruct",
        title="PathGen-Instruct",
        kind="conversations",
        paper="Sun et al., PathGen-1.6M: 1.6 Million Pathology Image-text Pairs Generation through Multi-agent Collaboration, ICLR 2025, "
        "arXiv:2407.00203",
        homepage="https://huggingface.co/datasets/jamessyx/PathGen-Instruct",
        licence="CC-BY-NC-2.0 on the data's page, CC-BY-4.0 with non-commercial terms in the code's README: unclear",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile("*.json", "a list of {id, image, conversations, type, wsi_id, file_id, position}", "jamessyx/PathGen-Instruct"),
            ExpectedFile(
                "TCGA-*/* | images/TCGA-*/* | TCGA-*.png | images/TCGA-*.png | *.zip",
                "tiles of 672 pixels of level 0, WSI_ID/X_Y.jpg or WSI_ID_X_Y.png",
                "cut from the slides of the Genomic Data Commons (portal.gdc.cancer.gov); no pixels are published",
                False,
            ),
        ),
        counts={"conversations": 200000},
        splits="None official: all of it is for training.",
        groups="The patient: the first 12 characters of wsi_id.",
        problems=(
            "Images are named WSI_ID/X_Y.jpg, but the published extractor writes WSI_ID_X_Y.png: both are found.",
            "The published extractor reads the key WSI_id, which the files spell wsi_id: both are read.",
            "The tile's field is 672 pixels of level 0, whatever the slide's magnification: 20x slides show twice the field of 40x ones, "
            "so mpp is left empty.",
            "File names X_Y.jpg repeat among slides: a tile is never taken from another slide's folder.",
            "CLOSE records hold the options in the question and a letter as the answer; the full text is put into the answer.",
            "<image> stands first or last in the question.",
        ),
        citation="@inproceedings{sun2025pathgen, title={PathGen-1.6M: 1.6 Million Pathology Image-text Pairs Generation through "
        "Multi-agent Collaboration}, author={Sun, Yuxuan and others}, booktitle={ICLR}, year={2025}}",
    )

    def image_files(self) -> ImageFiles:
        return ImageFiles(self.folder, tail=2, anywhere=False)

    def files(self) -> Iterable[Path]:
        return sorted(self.folder.glob("*.json"))

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        return patient_of(_slide(names, record))

    def columns(self, names: tuple[str, ...], record: Mapping[str, Any]) -> dict[str, Any]:
        return {"slide": _slide(names, record)}

    def read(self, names: tuple[str, ...], record: Mapping[str, Any]) -> tuple[bytes, ...]:
        return tuple(self.images.read(self._spelt(name)) for name in names)

    def _spelt(self, name: str) -> str:
        """The first spelling under which there is a file; the record's own where there is none."""
        path = PurePosixPath(name)
        flat = f"{path.parent.name}_{path.stem}" if path.parent.name else path.stem
        spelt = (name, path.with_suffix(".png").as_posix(), f"{flat}.png", f"{flat}.jpg")
        return next((one for one in spelt if one in self.images), name)

    def gold(self, record: Mapping[str, Any], messages: tuple[Message, ...]) -> Gold:
        kind = str(record.get("type", "")).strip().upper()
        if kind not in _CLOSED or len(messages) != 2:
            return gold_of(messages)
        options = inline_options(messages[0].text)
        if not options:
            return gold_of(messages)
        return Gold("mcq", gold_option(messages[1].text, options), options)


def _slide(names: tuple[str, ...], record: Mapping[str, Any]) -> str:
    found = str(record.get("wsi_id", record.get("WSI_id")) or "")
    if not found and names:
        found = PurePosixPath(names[0]).parent.name
    if not found:
        raise Refused("no_group", "neither wsi_id nor the image's folder tells the slide")
    return found
