"""Quilt-Instruct: conversations about frames of educational videos (Seyfioglu et al. 2024, arXiv:2312.04746)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.dialogue_files import DialogueFiles
from eosin.data_builders.sources.reading.names import video_of
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused


@dataclass(frozen=True)
class QuiltInstructOptions:
    """Attributes:
    file: which of the release's files is read; the 40k ablation and the files by type are parts of the 107k one.
    """

    file: str = "quilt_instruct_107k.json"


class QuiltInstruct(DialogueFiles[QuiltInstructOptions]):
    """LLaVA records whose images are called `VIDEO_roi_UUID.jpg`."""

    Options = QuiltInstructOptions
    card = Card(
        name="quilt_instruct",
        title="Quilt-Instruct (QUILT-LLaVA-Instruct-107K)",
        kind="conversations",
        paper="Seyfioglu et al., Quilt-LLaVA: Visual Instruction Tuning by Extracting Localized Narratives from Open-Source "
        "Histopathology Videos, CVPR 2024, arXiv:2312.04746",
        homepage="https://huggingface.co/datasets/wisdomik/QUILT-LLaVA-Instruct-107K",
        licence="CC-BY-NC-ND-3.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile("quilt_*.json", "a list of {id, image, conversations}", "wisdomik/QUILT-LLaVA-Instruct-107K"),
            ExpectedFile(
                "*.zip | **/*_roi_* | **/*_image_*",
                "the frames, quilt_instruct.zip (25 GiB), unpacked or not",
                "the request form of the homepage",
                False,
            ),
        ),
        counts={"conversations": 107131},
        splits="None official: all of it is for training.",
        groups="The video: the YouTube id before _roi_ or _image_ in the image's name.",
        problems=(
            "<image> stands before or after the question at random.",
            "Some files hold role/content in place of from/value: both are read.",
            "quilt_instruct_ablation_40k.json and the files by type repeat records of the 107k file: one file is read, `options.file`.",
            "Quilt-VQA and PathMMU's EduContent come from the same videos: audit before an evaluation on them.",
        ),
        citation="@inproceedings{seyfioglu2024quiltllava, title={Quilt-LLaVA: Visual Instruction Tuning by Extracting Localized "
        "Narratives from Open-Source Histopathology Videos}, author={Seyfioglu, Mehmet Saygin and Ikezogwo, Wisdom O. and Ghezloo, "
        "Fatemeh and Krishna, Ranjay and Shapiro, Linda}, booktitle={CVPR}, year={2024}}",
    )

    def files(self) -> Iterable[Path]:
        return [self.path(self.options.file)]

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        video = video_of(names[0]) if names else None
        if video is None:
            raise Refused(
                "no_group", f"no image of the form VIDEO_roi_UUID.jpg or VIDEO_image_UUID.jpg tells the video; it names {list(names)}"
            )
        return video
