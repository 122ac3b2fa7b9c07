"""Quilt-VQA: questions that lecturers asked aloud in videos (Seyfioglu et al. 2024, arXiv:2312.04746)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.dialogue import IMAGE_TOKEN, asked
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import list_sections, section_elements
from eosin.data_builders.sources.reading.names import video_of
from eosin.data_builders.sources.reading.options import yes_or_no
from eosin.data_builders.sources.reading.parquet_files import image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.errors import InputError
from eosin.records import Conversation, Record

_CLOSED = ("CLOSED", "CLOSE", "YES/NO")


@dataclass(frozen=True)
class QuiltVQAOptions:
    """Attributes:
    file: the file that is read, such as quiltvqa_red_test_w_ans.json; empty: the first of the answered JSON, Parquet, and the JSON lines
        without answers.
    """

    file: str = ""


class QuiltVQA(Source[QuiltVQAOptions]):
    """One question an element or row, all of them test."""

    Options = QuiltVQAOptions
    card = Card(
        name="quilt_vqa",
        title="Quilt-VQA",
        kind="conversations",
        paper="Seyfioglu et al., Quilt-LLaVA: Visual Instruction Tuning by Extracting Localized Narratives from Open-Source "
        "Histopathology Videos, CVPR 2024, arXiv:2312.04746",
        homepage="https://huggingface.co/datasets/wisdomik/Quilt_VQA",
        licence="CC-BY-NC-ND-3.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                "**/quiltvqa_*.json | **/*.parquet | **/quiltvqa_*.jsonl",
                "quiltvqa_test_w_ans.json; Parquet; questions alone in quiltvqa_test_wo_ans.jsonl",
                "wisdomik/Quilt_VQA",
            ),
            ExpectedFile(
                "quilt_vqa.zip | red_circle.zip | **/*_roi_* | **/*_image_* | **/*.parquet",
                "the frames, packed or not",
                "wisdomik/Quilt_VQA",
            ),
        ),
        counts={"questions": 1283, "open": 940, "closed": 343, "images": 985, "rows in Parquet": 985, "with a red ellipse": 335},
        splits="All is test, although Parquet calls it train.",
        groups="The video: the YouTube id before _roi_ or _image_ in the image's name; where the name does not tell it, the image, by the "
        "SHA-256 of its bytes.",
        problems=(
            "Parquet has 985 rows, the JSON 1,283 questions: the published numbers are of the JSON.",
            "CLOSED answers are sentences: yes or no stands in yes_no_answer, and the sentence goes into extra. Parquet lacks that "
            "column: there a CLOSED question whose sentence does not begin with yes or no is a reject.",
            "answer_type is spelt OPEN, CLOSED, CLOSE, other or yes/no.",
            "Training on Quilt-Instruct trains on the same videos.",
        ),
        citation="@inproceedings{seyfioglu2024quiltllava, title={Quilt-LLaVA: Visual Instruction Tuning by Extracting Localized "
        "Narratives from Open-Source Histopathology Videos}, author={Seyfioglu, Mehmet Saygin and Ikezogwo, Wisdom O. and Ghezloo, "
        "Fatemeh and Krishna, Ranjay and Shapiro, Linda}, booktitle={CVPR}, year={2024}}",
    )

    def __init__(self, folder: Path, options: QuiltVQAOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _files(self) -> list[Path]:
        patterns = [self.options.file] if self.options.file else ["quiltvqa_test_w_ans.json", "*.parquet", "quiltvqa_test_wo_ans.jsonl"]
        for pattern in patterns:
            found = sorted(self.folder.glob(f"**/{pattern}"))
            if found:
                return found
        raise InputError(f"{self.folder}: none of {', '.join(patterns)} is there; options.file names another file")

    def sections(self) -> Iterable[Section]:
        for path in self._files:
            name = path.relative_to(self.folder).as_posix()
            if path.suffix == ".parquet":
                need_fields(path, "image", "question", "answer")
                yield from parquet_sections(path, name, ("test",))
            else:
                yield from list_sections(path, name, ("test",))

    def items(self, section: Section) -> Iterator[Item]:
        path = self.folder / section.name
        read = section_records if path.suffix == ".parquet" else section_elements
        for number, row in read(path, section):
            key = f"{section.name}#{number}"
            yield Item(key, "test", functools.partial(self._record, row, key))

    def _record(self, row: Any, key: str) -> Record:
        if not isinstance(row, Mapping):
            raise Refused("broken_json", "not a JSON object")
        question = str(row.get("question", row.get("text")) or "").replace(IMAGE_TOKEN, "")
        fields = asked(question, None if "question_id" in row and "answer" not in row else str(row.get("answer") or ""))
        if str(row.get("answer_type", "")).strip().upper() in _CLOSED:
            fields |= {"task": "closed", "answer": _word(row)}
        image = image_bytes(row.get("image"), self.images)
        extra = {str(name): found for name, found in row.items() if name not in ("question", "text", "image") and found not in (None, "")}
        name = _image_name(row.get("image"))
        if name:
            extra["image"] = name
        return Conversation(
            **self.base(key, video_of(name) or hashlib.sha256(image).hexdigest(), "test"), **fields, images=(image,), extra=extra
        )


def _word(row: Mapping[str, Any]) -> str:
    """Yes or no of a closed question.

    Raises:
        Refused: `no_answer`.
    """
    said = str(row.get("yes_no_answer") or "")
    sentence = str(row.get("answer") or "")
    word = yes_or_no(said) or (None if said else yes_or_no(sentence.replace(",", " ").split(" ")[0]))
    if word is None:
        raise Refused("no_answer", f"a closed question with neither yes nor no: {said or sentence!r}")
    return word


def _image_name(cell: Any) -> str:
    if isinstance(cell, Mapping):
        return str(cell.get("path") or "")
    return cell if isinstance(cell, str) else ""
