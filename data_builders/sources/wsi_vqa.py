"""WSI-VQA: questions about whole slides of breast cancer (Chen et al. 2024, arXiv:2407.05603)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eosin.data_builders.sources.reading.dialogue import asked, chosen
from eosin.data_builders.sources.reading.json_files import list_sections, section_elements
from eosin.data_builders.sources.reading.names import patient_of, split_of
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.records import Conversation, Part, Record


class WsiVQA(Source[NoOptions]):
    """One question an element; the slide part names the case, as rows of slide embeddings must be called."""

    card = Card(
        name="wsi_vqa",
        title="WSI-VQA",
        kind="conversations",
        paper="Chen et al., WSI-VQA: Interpreting Whole Slide Images by Generative Visual Question Answering, ECCV 2024, arXiv:2407.05603",
        homepage="https://github.com/cpystan/WSI-VQA",
        licence="unclear: none is stated",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile("**/WsiVQA_*.json", "lists of {Id, Question, Choice, Answer}", "dataset/WSI_captions of the homepage"),
            ExpectedFile("**/*.svs | **/*.pt", "slides, or their features; not read here", "portal.gdc.cancer.gov, TCGA-BRCA", False),
        ),
        counts={"questions": 8672, "slides": 977},
        splits="Official train, val and test by file.",
        groups="The patient: Id is a case's TCGA barcode.",
        problems=(
            "Id names a case, not a slide: the slide part is called by the case.",
            "Options were cut out of a language model's text: some are broken in two, or belong to another question.",
            "An answer that is none of its options, or two options that read the same, is a reject.",
            "Many questions ask for what a slide does not show: sizes in cm, receptor status, survival in days, names from the report.",
        ),
        citation="@inproceedings{chen2024wsivqa, title={WSI-VQA: Interpreting Whole Slide Images by Generative Visual Question "
        "Answering}, author={Chen, Pingyi and Zhu, Chenglu and Zheng, Sunyi and Li, Honglin and Yang, Lin}, booktitle={ECCV}, "
        "year={2024}}",
    )

    def sections(self) -> Iterable[Section]:
        for path in sorted(self.folder.glob("**/WsiVQA_*.json")):
            split = split_of(path.name)
            # A notebook's checkpoint folder holds an old copy of everything.
            if split is not None and ".ipynb_checkpoints" not in path.parts:
                yield from list_sections(path, path.relative_to(self.folder).as_posix(), (split,))

    def items(self, section: Section) -> Iterator[Item]:
        [split] = section.splits
        for number, row in section_elements(self.folder / section.name, section):
            key = f"{section.name}#{number}"
            yield Item(key, split, functools.partial(self._record, row, key, split))

    def _record(self, row: Any, key: str, split: str) -> Record:
        if not isinstance(row, Mapping) or not row.get("Id"):
            raise Refused("wrong_columns", f"an object with Id, Question and Answer is wanted, not {row!r}")
        case, answer, options = str(row["Id"]).strip(), str(row.get("Answer") or ""), row.get("Choice")
        shown = (Part("slide", case),)
        question = str(row.get("Question") or "")
        fields = chosen(question, list(map(str, options)), answer, shown) if isinstance(options, list) else asked(question, answer, shown)
        return Conversation(**self.base(key, patient_of(case), split), **fields, slide=case, images=())
