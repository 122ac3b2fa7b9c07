"""MM-Skin: questions about figures of dermatology textbooks (Zeng et al. 2025, arXiv:2505.06152)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eosin.data_builders.sources.dialogue_files import DialogueFiles
from eosin.data_builders.sources.reading.dialogue import asked
from eosin.data_builders.sources.reading.tables import need_columns, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section
from eosin.progress import say
from eosin.records import Conversation, Record

_PANEL = re.compile(r"_[a-z]$")
_LFS = b"version https://git-lfs"


class MMSkin(DialogueFiles[NoOptions]):
    """A CSV of test questions, and LLaVA's JSON for training where it was really fetched."""

    card = Card(
        name="mm_skin",
        title="MM-Skin",
        kind="conversations",
        paper="Zeng et al., MM-Skin: Enhancing Dermatology Vision-Language Model with an Image-Text Dataset Derived from Textbooks, ACM "
        "Multimedia 2025, arXiv:2505.06152",
        homepage="https://github.com/ZwQ803/MM-Skin",
        licence="non-commercial, as the homepage states",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile("**/MM-Skin*.csv", "MM-Skin_test.csv: image, question, answer", "Dataframe/test/vqa of the homepage"),
            ExpectedFile("**/vqa_MM.json", "training conversations, 11 MB", "Dataframe/Pretrain of the homepage, by git lfs pull", False),
            ExpectedFile("dataset | **/bk*.png | *.zip", "figures dataset/bkBOOK_CHAPTER_NUMBER.png", "the link on the homepage"),
        ),
        counts={"pairs": 11039, "questions": 27000, "test questions": 5452},
        splits="Official: the CSV is test, vqa_MM.json is train.",
        groups="The figure: its file's name without the letter of a panel.",
        problems=(
            "vqa_MM.json comes as a git-LFS pointer of 133 bytes where LFS is not set up: it is then left out with a warning.",
            "Clinical photographs, dermoscopy and pathology are mixed; no column tells which.",
            "Questions were written by a language model from captions; many ask for general knowledge that no image shows.",
            "Answers to yes/no questions are sentences: they count as open.",
            "Figures of one book stand in both splits, panels of one figure perhaps too: audit before an evaluation.",
        ),
        citation="@inproceedings{zeng2025mmskin, title={MM-Skin: Enhancing Dermatology Vision-Language Model with an Image-Text Dataset "
        "Derived from Textbooks}, author={Zeng, Wenqi and Sun, Yuqi and Ma, Chenxi and Tan, Weimin and Yan, Bo}, booktitle={ACM MM}, "
        "year={2025}}",
    )

    def files(self) -> Iterable[Path]:
        for path in sorted(self.folder.glob("**/vqa_MM.json")):
            with path.open("rb") as file:
                if file.read(len(_LFS)) == _LFS:
                    say(f"warning: {path} is a git-LFS pointer and is left out; `git lfs pull` fetches it")
                    continue
            yield path

    def splits(self, path: Path) -> tuple[str, ...]:
        return ("train",)

    def sections(self) -> Iterable[Section]:
        for path in sorted(self.folder.glob("**/MM-Skin*.csv")):
            need_columns(path, ("image",), ("question",), ("answer",))
            yield from row_sections(path, path.relative_to(self.folder).as_posix(), ("test",))
        yield from super().sections()

    def items(self, section: Section) -> Iterator[Item]:
        if not section.name.endswith(".csv"):
            yield from super().items(section)
            return
        for number, row in section_rows(self.folder / section.name, section):
            key = f"{section.name}#{number}"
            yield Item(key, "test", functools.partial(self._question, row, key))

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        if not names:
            raise Refused("image_missing", "the record names no image")
        return _figure(names[0])

    def _question(self, row: dict[str, str], key: str) -> Record:
        name = value(row, "image")
        fields = asked(value(row, "question"), value(row, "answer"))
        return Conversation(**self.base(key, _figure(name), "test"), **fields, images=(self.images.read(name),), extra={"image": name})


def _figure(name: str) -> str:
    return _PANEL.sub("", PurePosixPath(name.replace("\\", "/")).stem)
