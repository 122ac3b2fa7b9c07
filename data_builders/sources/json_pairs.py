"""Any JSON of images and captions: lines, a list, or an object of records."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import mapping, needed
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.pairs import PairOptions, Row, pair_record
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Section, Source
from eosin.records import SPLITS, Record


class JsonPairs(Source[PairOptions]):
    """One element a pair; all other fields go to `extra`. A folder may hold several files, such as train.jsonl and val.jsonl."""

    Options = PairOptions
    card = Card(
        name="jsonl",
        title="Your own JSON lines (or JSON) of images and captions",
        kind="image_text",
        paper="none: your own data",
        homepage="this machine",
        licence="unknown",
        gated=False,
        commercial="by record",
        files=(ExpectedFile("*.jsonl | *.json | *.ndjson", "an object a pair: image path and caption", "you"),),
        counts={},
        splits="A field, where one is named; else as the file's name tells.",
        groups="A field, where one is named; else each image is its own group.",
        problems=("Without a group field no split can keep a patient's images together.",),
        citation="",
    )

    def __init__(self, folder: Path, options: PairOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _files(self) -> dict[str, JsonRecords]:
        found = sorted(path for path in self.folder.iterdir() if path.suffix in (".jsonl", ".json", ".ndjson") and path.is_file())
        return {path.name: JsonRecords(path, path.name) for path in found}

    def sections(self) -> Iterable[Section]:
        for name, file in self._files.items():
            yield from file.sections(SPLITS if self.options.split else (split_of(name) or "none",))

    def facts(self) -> dict[str, str]:
        return self.options.facts()

    def items(self, section: Section) -> Iterator[Item]:
        default = split_of(section.name) or "none"
        for key, element in self._files[section.name].items(section):
            split = self.options.split_of(element if isinstance(element, Mapping) else {}, default)
            whole = f"{section.name}{key}" if key.startswith("#") else f"{section.name}/{key}"
            yield Item(whole, split, functools.partial(self._record, whole, element, split))

    def _record(self, key: str, element: Any, split: str) -> Record:
        fields = mapping(element)
        name = needed(fields, "image_missing", self.options.image)
        return pair_record(self, self.options, Row(key, fields, name, split), self.images.read(name))
