"""SlideInstruct and SlideBench: conversations and questions about whole slides (Chen et al. 2025, arXiv:2410.11761)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eosin.data_builders.sources.dialogue_files import DialogueFiles
from eosin.data_builders.sources.reading.dialogue import chosen
from eosin.data_builders.sources.reading.names import patient_of
from eosin.data_builders.sources.reading.options import gold_option
from eosin.data_builders.sources.reading.tables import need_columns, optional, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section
from eosin.records import Conversation, Part, Record

_LETTERS = "ABCD"


class SlideInstruct(DialogueFiles[NoOptions]):
    """LLaVA records whose images are feature tables of slides, and CSV tables of multiple choice questions."""

    card = Card(
        name="slide_instruct",
        title="SlideInstruct and SlideBench (SlideChat)",
        kind="conversations",
        paper="Chen et al., SlideChat: A Large Vision-Language Assistant for Whole-Slide Pathology Image Understanding, CVPR 2025, "
        "arXiv:2410.11761",
        homepage="https://github.com/uni-medical/SlideChat",
        licence="unclear; access is by agreement",
        gated=True,
        commercial="unclear",
        files=(
            ExpectedFile(
                "**/SlideInstruct_*.json | **/SlideBench-VQA*.csv",
                "SlideInstruct_train_stage1_caption.json, SlideInstruct_train_stage2_vqa.json; SlideBench-VQA-TCGA.csv, "
                "SlideBench-VQA-BCNB.csv",
                "the data sets that the homepage links",
            ),
        ),
        counts={"captions": 4200, "training questions": 176000, "SlideBench-VQA-TCGA": 3176, "SlideBench-VQA-BCNB": 7274},
        splits="SlideInstruct is train, SlideBench is test.",
        groups="The patient, by the first 12 characters of a TCGA barcode; a slide of BCNB is a patient.",
        problems=(
            "image is a list of CSV files of features, one row a patch: the slide part is called by the file's name without folder and "
            "suffix.",
            "Features were released for a fraction of the slides: embed the slides anew.",
            "<image> stands after the question.",
            "SlideBench-VQA-TCGA had 7,827 questions in the paper and has 3,176 after a second check; BCNB is given as 7,247 and 7,274.",
            "Tables from others' runs have a column Output with a model's answers: it is not read.",
        ),
        citation="@inproceedings{chen2025slidechat, title={SlideChat: A Large Vision-Language Assistant for Whole-Slide Pathology Image "
        "Understanding}, author={Chen, Ying and Wang, Guoan and Ji, Yuanfeng and others}, booktitle={CVPR}, year={2025}}",
    )

    def files(self) -> Iterable[Path]:
        return sorted(self.folder.glob("**/SlideInstruct_*.json"))

    def splits(self, path: Path) -> tuple[str, ...]:
        return ("train",)

    def sections(self) -> Iterable[Section]:
        yield from super().sections()
        for path in sorted(self.folder.glob("**/SlideBench-VQA*.csv")):
            need_columns(path, ("Slide",), ("Question",), ("Answer",), *((letter,) for letter in _LETTERS[:2]))
            yield from row_sections(path, path.relative_to(self.folder).as_posix(), ("test",))

    def items(self, section: Section) -> Iterator[Item]:
        if not section.name.endswith(".csv"):
            yield from super().items(section)
            return
        for number, row in section_rows(self.folder / section.name, section):
            key = f"{section.name}#{number}"
            yield Item(key, "test", functools.partial(self._question, row, key))

    def shown(self, names: tuple[str, ...]) -> tuple[Part, ...]:
        return tuple(Part("slide", _slide(name)) for name in names)

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        if not names:
            raise Refused("no_group", "the record names no slide")
        return patient_of(_slide(names[0]))

    def columns(self, names: tuple[str, ...], record: Mapping[str, Any]) -> dict[str, Any]:
        return {"slide": _slide(names[0])}

    def _question(self, row: dict[str, str], key: str) -> Record:
        slide = _slide(value(row, "Slide"))
        cells = [optional(row, letter) or "" for letter in _LETTERS]
        # The letter is that of the column, blank ones before it or not.
        gold = gold_option(value(row, "Answer"), cells)
        fields = chosen(value(row, "Question"), [cell for cell in cells if cell], gold, (Part("slide", slide),))
        kept = ("ID", "Tumor", "Broad Category", "Narrow Category")
        extra = {column: optional(row, column) for column in kept if optional(row, column)}
        return Conversation(**self.base(key, patient_of(slide), "test"), **fields, slide=slide, images=(), extra=extra)


def _slide(name: str) -> str:
    """The slide's name in a feature file's path."""
    found = PurePosixPath(name.strip().replace("\\", "/")).name
    for suffix in (".csv", ".svs", ".pt", ".h5"):
        found = found.removesuffix(suffix)
    if not found:
        raise Refused("no_group", f"{name!r} names no slide")
    return found
