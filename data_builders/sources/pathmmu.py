"""PathMMU: multiple choice questions checked by pathologists (Sun et al. 2024, arXiv:2401.16355)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.dialogue import chosen
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import document
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source, refused_item, sections_of
from eosin.errors import InputError
from eosin.records import Conversation, Record

# Those whose images are published come first, so that a folder is not given up for the others.
_ORIGINS = {
    "PubMed": "images.zip of the release",
    "EduContent": "images.zip of the release",
    "PathCLS": "nine classification sets, by the release's construct_pathcls.py",
    "Atlas": "the books of ARCH, by the release's README",
    "SocialPath": "the social network, by the release's socialpath_mapping.json; some posts are gone",
}
_SPLITS = {"train": "train", "val": "val", "test": "test", "test_tiny": "test"}


class PathMMU(Source[NoOptions]):
    """`data.json`: category -> split -> questions."""

    card = Card(
        name="pathmmu",
        title="PathMMU",
        kind="conversations",
        paper="Sun et al., PathMMU: A Massive Multimodal Expert-Level Benchmark for Understanding and Reasoning in Pathology, ECCV 2024, "
        "arXiv:2401.16355",
        homepage="https://huggingface.co/datasets/jamessyx/PathMMU",
        licence="CC-BY-ND-4.0",
        gated=True,
        commercial="unclear",
        files=(
            ExpectedFile("data.json", "category -> split -> questions", "jamessyx/PathMMU"),
            ExpectedFile("images.zip | images", "images of PubMed and EduContent, packed or not (1.8 GB)", "jamessyx/PathMMU", False),
        ),
        counts={"val": 710, "test": 8521, "test_tiny": 1156},
        splits="Official val, test and test_tiny. The last two are disjoint: both are test, and extra.subset tells test_tiny.",
        groups="The image; the article, book, video or post that it is from is not told.",
        problems=(
            "Images of SocialPath, Atlas and PathCLS are not in the release: without them their questions are rejects, and must not be "
            "left out of a denominator in silence. Of SocialPath, papers recover 1,553 of 1,620 and 218 of 235 test images.",
            "`No` is unique only within a category and a split.",
            "The published scorer cuts options at their second bracket, drops questions whose image is missing, and guesses where it "
            "cannot parse.",
            "The training questions that the headline counts include were never released.",
            "Images come from the same pools as PathCap, Quilt-1M and OpenPath: audit before an evaluation.",
        ),
        citation="@inproceedings{sun2024pathmmu, title={PathMMU: A Massive Multimodal Expert-Level Benchmark for Understanding and "
        "Reasoning in Pathology}, author={Sun, Yuxuan and Wu, Hao and Zhu, Chenglu and Zheng, Sunyi and others}, booktitle={ECCV}, "
        "year={2024}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _data(self) -> Mapping[str, Any]:
        path = self.path("data.json")
        data = document(path)
        if not isinstance(data, Mapping) or not all(isinstance(splits, Mapping) for splits in data.values()):
            raise InputError(f"{path}: category -> split -> list of questions is wanted")
        return data

    def sections(self) -> Iterable[Section]:
        for category in sorted(self._data, key=lambda name: (*_ORIGINS, name).index(name)):
            for subset, questions in self._data[category].items():
                if subset not in _SPLITS or not isinstance(questions, list):
                    raise InputError(f"{self.folder}/data.json: {category} has {subset!r}; lists under {', '.join(_SPLITS)} are wanted")
                yield from sections_of(f"{category}/{subset}", len(questions), (_SPLITS[subset],))

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The question of each key; of one that comes twice, the first."""
        found: dict[str, int] = {}
        for category, subsets in self._data.items():
            for subset, questions in subsets.items():
                for number, question in enumerate(questions):
                    found.setdefault(_key(f"{category}/{subset}", number, question), number)
        return found

    def items(self, section: Section) -> Iterator[Item]:
        category, subset = section.name.split("/")
        for number in range(section.start, section.stop):
            question = self._data[category][subset][number]
            key = _key(section.name, number, question)
            if self._first[key] != number:
                why = f"question {self._first[key] + 1} of {section.name} has the same No"
                yield refused_item(f"{key}#{number}", _SPLITS[subset], "repeated_id", why)
                continue
            yield Item(key, _SPLITS[subset], functools.partial(self._record, question, key, category, subset))

    def _record(self, question: Any, key: str, category: str, subset: str) -> Record:
        if not isinstance(question, Mapping) or not isinstance(question.get("options"), list):
            raise Refused("wrong_columns", f"a question with a list of options is wanted, not {question!r}")
        fields = chosen(str(question.get("question", "")), list(map(str, question["options"])), str(question.get("answer", "")))
        name = str(question.get("img", ""))
        extra = {str(key): value for key, value in question.items() if key not in ("question", "options", "answer", "img")}
        extra |= {"category": category, "subset": subset, "image": name}
        return Conversation(**self.base(key, name, _SPLITS[subset]), **fields, images=(self._image(name, category),), extra=extra)

    def _image(self, name: str, category: str) -> bytes:
        try:
            return self.images.read(name)
        except Refused as refused:
            if refused.reason == "image_missing" and "zip" not in _ORIGINS.get(category, ""):
                raise Refused(
                    "image_not_released", f"{name}: images of {category} come from {_ORIGINS.get(category, 'elsewhere')}"
                ) from refused
            raise


def _key(section: str, number: int, question: Any) -> str:
    named = question.get("No") if isinstance(question, Mapping) else None
    return f"{section}/{number if named is None else named}"
