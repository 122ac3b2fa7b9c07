"""PMC-VQA: multiple choice questions about figures of PubMed Central (Zhang et al. 2023, arXiv:2305.10415)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eosin.data_builders.sources.reading.dialogue import chosen
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.names import article_of, split_of
from eosin.data_builders.sources.reading.options import gold_option
from eosin.data_builders.sources.reading.tables import need_columns, optional, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.errors import InputError
from eosin.records import Conversation, Record

_TABLES = {
    "v1": ("train.csv", "test.csv"),
    "v2": ("train_2.csv", "test_2.csv"),
    "clean": ("test_clean.csv",),
}
_LETTERS = "ABCD"
_ANSWERS = ("Answer", "Anwser")


@dataclass(frozen=True)
class PmcVQAOptions:
    """Attributes:
    version: `v1`: train.csv and test.csv; `v2`: train_2.csv and test_2.csv, figures of one panel; `clean`: test_clean.csv, the checked
        part of test.csv; `auto`: the first of v1, v2 and clean of which a table is there.
    """

    version: Literal["auto", "v1", "v2", "clean"] = "auto"


class PmcVQA(Source[PmcVQAOptions]):
    """CSV tables beside a folder or archive of figures."""

    Options = PmcVQAOptions
    card = Card(
        name="pmc_vqa",
        title="PMC-VQA",
        kind="conversations",
        paper="Zhang et al., PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering, 2023, arXiv:2305.10415",
        homepage="https://huggingface.co/datasets/RadGenome/PMC-VQA",
        licence="open access articles, each with its own licence: unclear",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile("train*.csv | test*.csv", "train.csv, test.csv, test_clean.csv, train_2.csv, test_2.csv", "RadGenome/PMC-VQA"),
            ExpectedFile(
                "images.zip | images_2.zip | images | figures", "the figures, packed or not (18.9 GB)", "RadGenome/PMC-VQA", False
            ),
        ),
        counts={"questions": 226946, "images": 149000, "train": 152603, "test": 33430, "test_clean": 2000},
        splits="Official train and test by file; test_clean.csv is a checked part of test.csv and is read on its own.",
        groups="The article: the PubMed Central id in the figure's name.",
        problems=(
            "Early copies spell the column Anwser. In version 1 it holds the text and Answer_label the letter; in version 2 it holds the "
            "letter.",
            "Choices begin with ' A:': the letters are taken off.",
            "Where text and letter name different choices, or the right one reads as another, the question is a reject; a text that is "
            "none of them is kept in extra, and the letter counts.",
            "Only a small part is pathology; the release has no column that tells it.",
            "Questions were written by a language model from captions alone.",
        ),
        citation="@article{zhang2023pmcvqa, title={PMC-VQA: Visual Instruction Tuning for Medical Visual Question Answering}, "
        "author={Zhang, Xiaoman and Wu, Chaoyi and Zhao, Ziheng and Lin, Weixiong and Zhang, Ya and Wang, Yanfeng and Xie, Weidi}, "
        "journal={arXiv:2305.10415}, year={2023}}",
    )

    def __init__(self, folder: Path, options: PmcVQAOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        versions = [self.options.version] if self.options.version != "auto" else list(_TABLES)
        for version in versions:
            found = [self.folder / name for name in _TABLES[version] if (self.folder / name).is_file()]
            if found:
                for path in found:
                    choices = [(f"Choice {letter}",) for letter in _LETTERS]
                    need_columns(path, ("Figure_path",), ("Question",), (*_ANSWERS, "Answer_label"), *choices)
                    yield from row_sections(path, path.name, (split_of(path.name) or "none",))
                return
        raise InputError(f"{self.folder}: none of {', '.join(name for version in versions for name in _TABLES[version])} is there")

    def items(self, section: Section) -> Iterator[Item]:
        [split] = section.splits
        for number, row in section_rows(self.folder / section.name, section):
            key = f"{section.name}#{number}"
            yield Item(key, split, functools.partial(self._record, row, key, split))

    def _record(self, row: dict[str, str], key: str, split: str) -> Record:
        name = value(row, "Figure_path")
        text = optional(row, *_ANSWERS) or ""
        choices = [value(row, f"Choice {letter}") for letter in _LETTERS]
        fields = chosen(value(row, "Question"), choices, optional(row, "Answer_label") or text)
        extra = {column: optional(row, column) for column in ("index", "Caption") if optional(row, column)}
        named = _choice(text, fields["options"])
        if named is None and text:
            extra["Answer"] = text
        elif named not in (None, fields["answer"]):
            raise Refused("answer_ambiguous", f"the answer {text!r} is not the choice that Answer_label names, {fields['answer']!r}")
        article = article_of(name)
        if article is None:
            raise Refused("no_group", f"{name}: no PubMed Central id in the name tells the article")
        return Conversation(**self.base(key, article, split), **fields, images=(self.images.read(name),), extra={**extra, "image": name})


def _choice(text: str, options: Sequence[str]) -> str | None:
    """The choice that an answer names; None where it is worded otherwise."""
    try:
        return gold_option(text, options)
    except Refused as refused:
        if refused.reason == "answer_not_an_option":
            return None
        raise
