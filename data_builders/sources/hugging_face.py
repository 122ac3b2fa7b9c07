"""Any Hugging Face data set of images and captions: Parquet, a folder made by `save_to_disk`, or one on the hub."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import planned_split, text
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.pairs import PairOptions, Row, pair_record
from eosin.data_builders.sources.reading.parquet_files import class_names, image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Section, Source, sections_of
from eosin.errors import InputError, MissingDependency
from eosin.records import SPLITS, Record

_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")


@dataclass(frozen=True)
class HuggingFaceOptions(PairOptions):
    """Which column holds what, and which data set.

    Attributes:
        hub: its id on the hub, such as `owner/name`; it is fetched into the folder. Empty: what lies in the folder is read.
        config: of the data set on the hub; empty: the only one.
        revision: on the hub: a commit, so that the data stay the same; needed with `hub`.
        key: column of the publisher's key; empty: the number of the row.
    """

    hub: str = ""
    config: str = ""
    revision: str = ""
    key: str = ""


class HuggingFace(Source[HuggingFaceOptions]):
    """A row a pair. Code of a data set is never run."""

    Options = HuggingFaceOptions
    card = Card(
        name="hugging_face",
        title="Any Hugging Face data set of images and captions",
        kind="image_text",
        paper="none: your own choice",
        homepage="https://huggingface.co/datasets",
        licence="unknown",
        gated=False,
        commercial="by record",
        files=(
            ExpectedFile(
                "**/*.parquet | **/state.json", "Parquet files, or what `save_to_disk` wrote", "the hub; or options.hub", required=False
            ),
        ),
        counts={},
        splits="A column, where one is named; else as the files' names or the data set's own splits tell.",
        groups="A column, where one is named; else each row is its own group.",
        problems=(
            "Without a group column no split can keep a patient's images together.",
            "A data set on the hub may change: options.revision names the commit that is read.",
        ),
        citation="",
    )

    def __init__(self, folder: Path, options: HuggingFaceOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def problems(self) -> list[str]:
        if self.options.hub:
            return [] if self.options.revision else ["options.revision is empty; with options.hub it names the commit to be read"]
        if self._is_saved or next(self.folder.glob("**/*.parquet"), None):
            return []
        return ["neither .parquet files nor a folder of `save_to_disk` is in it; or name a data set by options.hub"]

    def sections(self) -> Iterable[Section]:
        if not (self.options.hub or self._is_saved):
            yield from self._parquet_sections()
            return
        for name, rows in self._loaded.items():
            missing = [column for column in self._columns() if column not in rows.column_names]
            if missing:
                raise InputError(f"{self.folder}: the column {', '.join(missing)} is missing; there are: {', '.join(rows.column_names)}")
            yield from sections_of(name, len(rows), self._splits(name))

    def facts(self) -> dict[str, str]:
        return self.options.facts()

    def items(self, section: Section) -> Iterator[Item]:
        default = _default_split(section.name)
        for number, row in self._rows(section):
            key = text(row, self.options.key) if self.options.key else ""
            key = key or f"{section.name}#{number}"
            split = self.options.split_of(row, default)
            yield Item(key, split, functools.partial(self._record, key, row, split))

    def _record(self, key: str, row: Mapping[str, Any], split: str) -> Record:
        return pair_record(self, self.options, Row(key, row, key, split), image_bytes(row.get(self.options.image), self.images))

    def _columns(self) -> tuple[str, ...]:
        options = self.options
        return tuple(name for name in (options.image, options.caption, options.group, options.split, options.licence, options.key) if name)

    def _splits(self, name: str) -> tuple[str, ...]:
        return SPLITS if self.options.split else (_default_split(name),)

    def _parquet_sections(self) -> Iterator[Section]:
        for path in sorted(self.folder.glob("**/*.parquet")):
            need_fields(path, *self._columns())
            name = path.relative_to(self.folder).as_posix()
            yield from parquet_sections(path, name, self._splits(name))

    def _rows(self, section: Section) -> Iterator[tuple[int, Mapping[str, Any]]]:
        if not (self.options.hub or self._is_saved):
            path = self.folder / section.name
            names = class_names(path)
            for number, row in section_records(path, section):
                yield number, _named(row, names)
            return
        rows = self._loaded[section.name]
        inner = {column: getattr(feature, "feature", feature) for column, feature in rows.features.items()}
        names = {column: feature.names for column, feature in inner.items() if getattr(feature, "names", None)}
        for number in range(section.start, section.stop):
            yield number, _named(rows[number], names)

    @property
    def _is_saved(self) -> bool:
        return any((self.folder / name).is_file() for name in _SAVED)

    @functools.cached_property
    def _loaded(self) -> dict[str, Any]:
        """Split -> rows, mapped from disk, with images as their bytes."""
        try:
            import datasets
        except ImportError as error:
            raise MissingDependency("datasets", "data") from error
        try:
            if self.options.hub:
                found = datasets.load_dataset(
                    self.options.hub, self.options.config or None, revision=self.options.revision, cache_dir=str(self.folder)
                )
            else:
                found = datasets.load_from_disk(str(self.folder))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.options.hub or self.folder}: not readable as a data set ({error})") from error
        parts = found if isinstance(found, datasets.DatasetDict) else {"data": found}
        return {name: _with_bytes(rows, datasets) for name, rows in parts.items()}


def _with_bytes(rows: Any, datasets: Any) -> Any:
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _named(row: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The row with its classes in words; -1, which stands for an unknown one, becomes null."""
    return {column: _class_name(value, names[column]) if column in names else value for column, value in row.items()}


def _class_name(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_class_name(item, names) for item in value]
    if not isinstance(value, int) or value >= len(names):
        return value
    return names[value] if value >= 0 else None


def _default_split(name: str) -> str:
    found = planned_split(name)
    return found if found != "none" else split_of(name) or "none"
