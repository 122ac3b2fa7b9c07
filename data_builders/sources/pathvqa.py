"""PathVQA: questions about figures of pathology textbooks (He et al. 2020, arXiv:2003.10286), in the three layouts it is passed on in."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eosin.data_builders.sources.reading.dialogue import asked
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import list_sections, section_elements
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.parquet_files import image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.reading.pickles import plain_pickle
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, refused_item, sections_of
from eosin.errors import InputError
from eosin.records import Conversation, Record

_LAYOUTS = {
    "pickle": "**/{split}_qa.pkl",
    "lxmert": "**/pvqa_{split}.json",
    "parquet": "**/{split}*.parquet",
}


@dataclass(frozen=True)
class PathVQAOptions:
    """Attributes:
    layout: which of several layouts in the folder is read; `auto` takes the first of pickle, lxmert, parquet that is there.
    """

    layout: Literal["auto", "pickle", "lxmert", "parquet"] = "auto"


@dataclass(frozen=True)
class Row:
    """One question: `image` is a file's stem, or a Parquet cell."""

    image: Any
    question: Any
    answer: Any


class PathVQA(Source[PathVQAOptions]):
    """Original pickles with an image folder, LXMERT's JSON with the same folder, or Hugging Face's Parquet."""

    Options = PathVQAOptions
    card = Card(
        name="pathvqa",
        title="PathVQA",
        kind="conversations",
        paper="He et al., PathVQA: 30000+ Questions for Medical Visual Question Answering, 2020, arXiv:2003.10286",
        homepage="https://github.com/UCSD-AI4H/PathVQA",
        licence="MIT for the questions; the images remain their publishers' property",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile(
                "**/*_qa.pkl | **/pvqa_*.json | **/*.parquet",
                "pvqa/qas/SPLIT/SPLIT_qa.pkl; pvqa_SPLIT.json; or Parquet",
                "the homepage; its LXMERT baseline; flaviagiammarino/path-vqa on Hugging Face",
            ),
            ExpectedFile(
                "**/images/*/*.jpg | *.zip | **/*.parquet", "pvqa/images/SPLIT/SPLIT_0000.jpg; Parquet holds them", "the homepage"
            ),
        ),
        counts={"questions": 32795, "images": 5004, "questions in Parquet": 32632, "images in Parquet": 4289},
        splits="Official train, val, test by file. The split of the paper (17,325 / 9,462 / 6,012) is not the one that was released.",
        groups="The image, by the SHA-256 of its bytes: Parquet holds no name. The book a figure is from is not told.",
        problems=(
            "Pickles run code when they are loaded: here one that holds anything but plain data is refused.",
            "Parquet has no answer type and no image name, is in lower case, and lacks duplicate triplets and 715 images without "
            "questions.",
            "Answers hold typing errors, spaces at the end and near duplicates: they are kept, stripped of outer white space.",
            "The paper's counts (32,799 questions, 4,998 images) differ from every release.",
            "Closed means that the answer is yes or no alone: 3,362 of the 6,719 test questions.",
        ),
        citation="@article{he2020pathvqa, title={PathVQA: 30000+ Questions for Medical Visual Question Answering}, author={He, Xuehai and "
        "Zhang, Yichen and Mou, Luntian and Xing, Eric and Xie, Pengtao}, journal={arXiv:2003.10286}, year={2020}}",
    )

    def __init__(self, folder: Path, options: PathVQAOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)
        self._pickles: dict[str, list[Any]] = {}

    @functools.cached_property
    def _files(self) -> tuple[str, list[tuple[str, Path]]]:
        """The layout, and (split, file) of each of its files."""
        wanted = [self.options.layout] if self.options.layout != "auto" else list(_LAYOUTS)
        for layout in wanted:
            found = [
                (split, path)
                for split in ("train", "val", "test")
                for path in sorted(self.folder.glob(_LAYOUTS[layout].format(split=split)))
            ]
            if found:
                return layout, found
        raise InputError(f"{self.folder}: no file of the layout {' or '.join(wanted)}; see `eosin build --card pathvqa`")

    def sections(self) -> Iterable[Section]:
        layout, files = self._files
        for split, path in files:
            name = path.relative_to(self.folder).as_posix()
            if layout == "pickle":
                yield from sections_of(name, len(self._pickled(name)), (split,))
            elif layout == "lxmert":
                yield from list_sections(path, name, (split,))
            else:
                need_fields(path, "image", "question", "answer")
                yield from parquet_sections(path, name, (split,))

    def items(self, section: Section) -> Iterator[Item]:
        [split] = section.splits
        for number, value in self._values(section):
            key = f"{section.name}#{number}"
            try:
                rows = question_rows(value)
            except Refused as refused:
                yield refused_item(key, split, refused.reason, refused.message)
                continue
            for place, row in enumerate(rows):
                own = key if self._files[0] != "lxmert" else f"{key}.{place}"
                yield Item(own, split, functools.partial(self._record, row, own, split))

    def _values(self, section: Section) -> Iterable[tuple[int, Any]]:
        layout, _ = self._files
        path = self.folder / section.name
        if layout == "pickle":
            return enumerate(self._pickled(section.name)[section.start : section.stop], section.start)
        return section_elements(path, section) if layout == "lxmert" else section_records(path, section)

    def _pickled(self, name: str) -> list[Any]:
        if name not in self._pickles:
            value = plain_pickle(self.folder / name)
            if not isinstance(value, list):
                raise InputError(f"{self.folder / name}: holds a {type(value).__name__}; a list of questions is wanted")
            self._pickles[name] = value
        return self._pickles[name]

    def _record(self, row: Row, key: str, split: str) -> Record:
        if not isinstance(row.question, str) or not isinstance(row.answer, str):
            raise Refused("wrong_columns", f"question {row.question!r} and answer {row.answer!r} must both be text")
        fields = asked(row.question, row.answer)
        if isinstance(row.image, str):
            stem = row.image.removesuffix(".jpg")
            image = self.images.read(f"pvqa/images/{split_of(stem) or split}/{stem}.jpg")
            extra = {"image": stem}
        else:
            image, extra = image_bytes(row.image, self.images), {}
        group = hashlib.sha256(image).hexdigest()
        return Conversation(**self.base(key, group, split), **fields, images=(image,), extra=extra)


def question_rows(value: Any) -> list[Row]:
    """The questions of a pickled or Parquet row, or of one image in LXMERT's JSON, whose answers are {answer: score}.

    Raises:
        Refused: `wrong_columns`.
    """
    if not isinstance(value, Mapping):
        raise Refused("wrong_columns", f"a mapping with image, question and answer is wanted, not {value!r}")
    if "img_id" not in value:
        return [Row(value.get("image"), value.get("question"), value.get("answer"))]
    sentences, labels = value.get("sentf"), value.get("labelf")
    if not isinstance(sentences, Mapping) or not isinstance(labels, Mapping):
        raise Refused("wrong_columns", f"{value['img_id']}: sentf and labelf must map a data set to lists")
    rows = []
    for name, questions in sentences.items():
        answers = labels.get(name)
        if not isinstance(questions, list) or not isinstance(answers, list) or len(answers) != len(questions):
            raise Refused("wrong_columns", f"{value['img_id']}: as many labelf as sentf are wanted for {name}")
        rows += [Row(value["img_id"], question, _best(answer)) for question, answer in zip(questions, answers, strict=True)]
    return rows


def _best(answer: Any) -> str | None:
    """The answer with the highest score; the first in the alphabet of several."""
    scores = {text: score for text, score in answer.items() if isinstance(score, int | float)} if isinstance(answer, Mapping) else {}
    return max(sorted(scores), key=scores.__getitem__) if scores else None
