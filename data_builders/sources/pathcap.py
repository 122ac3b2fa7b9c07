"""PathCap (Sun et al., AAAI 2024, arXiv:2305.15072): figures of articles and books with captions."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import field, mapping, needed, rest, text, texts
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.names import article_of
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.records import ImageText, Record

_IMAGE = ("figure_fn", "image", "img_fn", "image_id", "image_path")
_ARTICLE = ("pmc_id", "pmcid")


class PathCap(Source[NoOptions]):
    """An entry a figure; images.zip stays packed."""

    card = Card(
        name="pathcap",
        title="PathCap",
        kind="image_text",
        paper="Sun et al., PathAsst: A Generative Foundation AI Assistant towards Artificial General Intelligence of Pathology, AAAI 2024, "
        "arXiv:2305.15072",
        homepage="https://github.com/superjamessyx/Generative-Foundation-AI-Assistant-for-Pathology",
        licence="CC-BY-NC-2.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                "data.json | *.json | *.jsonl", "figure_fn, caption and pmc_id of every figure (67 MB)", "the homepage, after a request"
            ),
            ExpectedFile("images.zip | *.zip | **/*.jpg | **/*.png", "the figures (12.7 GB packed)", "the homepage, after a request"),
        ),
        counts={"pairs (stated)": 207_000, "entries (on disk)": 223_169},
        splits="None.",
        groups="The article (pmc_id); a figure of which none is told is its own group.",
        problems=(
            "223,169 entries were found on disk where 207,000 are stated.",
            "`load_dataset` on its page gives images without captions: read data.json with images.zip beside it.",
            "Book extractions by the same authors say `anotations` for annotations: understood.",
            "Many figures have several panels under one caption.",
        ),
        citation="@inproceedings{sun2024pathasst, title={PathAsst: A Generative Foundation AI Assistant towards Artificial "
        "General Intelligence "
        "of Pathology}, author={Sun, Yuxuan and others}, booktitle={AAAI}, year={2024}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _file(self) -> JsonRecords:
        path = self.path("data.json", "*.json", "*.jsonl")
        return JsonRecords(path, path.name)

    def sections(self) -> Iterable[Section]:
        return self._file.sections()

    def items(self, section: Section) -> Iterator[Item]:
        for key, element in self._file.items(section):
            yield Item(key, "none", functools.partial(self._record, key, element))

    def _record(self, key: str, element: Any) -> Record:
        found = mapping(element)
        name = needed(found, "no_image", *_IMAGE)
        captions = texts(field(found, "caption", "captions", "text"))
        if not captions:
            raise Refused("no_caption", f"{name} has no caption")
        article = text(found, *_ARTICLE)
        group = article_of(f"PMC{article}" if article.isdecimal() else article, name) or article or name
        extra = {**rest(found, "caption", "captions", "text", *_IMAGE), "image": name}
        return ImageText(**self.base(key.lstrip("#"), group), image=self.images.read(name), captions=captions, extra=extra)
