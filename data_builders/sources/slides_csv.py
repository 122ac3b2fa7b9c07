"""Your own slides: a folder, and a CSV that says what is known of each."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.group_split import check_splits
from eosin.data_builders.sources.reading.fields import checked_split, planned_split
from eosin.data_builders.sources.reading.image_files import is_file, safe_name
from eosin.data_builders.sources.reading.slide_files import SlideFiles
from eosin.data_builders.sources.reading.slide_records import SlideText, slide_record
from eosin.data_builders.sources.reading.tables import header_of, need_columns, optional, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, refused_item
from eosin.records import SPLITS, Record

_SLIDE = ("slide", "slide_id", "filename", "file", "path", "image")
_CASE, _GROUP = ("case", "case_id", "patient", "patient_id"), ("group", "patient", "patient_id", "case", "case_id")
_LABEL, _REPORT, _MPP, _SPLIT = ("label", "labels"), ("report", "text"), ("mpp",), ("split",)


@dataclass(frozen=True)
class SlidesCsvOptions:
    """How the table is read.

    Attributes:
        slides: folder of the slides, relative to the table's folder or absolute; searched at any depth.
        separator: between several labels of one slide.
    """

    slides: str = "."
    separator: str = ";"


class SlidesCsv(Source[SlidesCsvOptions]):
    """One row a slide: slide, and case, label, report, mpp, split, group where they are known; all other columns go to `extra`."""

    Options = SlidesCsvOptions
    card = Card(
        name="slides_csv",
        title="Your own folder of slides with a CSV",
        kind="slides",
        paper="none: your own data",
        homepage="this machine",
        licence="unknown",
        gated=False,
        commercial="by record",
        files=(
            ExpectedFile(
                "*.csv | *.tsv", "one row a slide: slide, case, label, report, mpp, split, group; only slide must be there", "you"
            ),
        ),
        counts={},
        splits="The column split, where there is one.",
        groups="The column group, else patient, else case; else each slide is its own group.",
        problems=("mpp in the table outranks what the slide says; without either it stays empty and is asked for when tiles are cut.",),
        citation="",
    )

    def __init__(self, folder: Path, options: SlidesCsvOptions) -> None:
        super().__init__(folder, options)
        self.slides = SlideFiles(folder / options.slides)

    @functools.cached_property
    def _columns(self) -> set[str]:
        return {name.lower() for name in header_of(self.path("*.csv", "*.tsv"))}

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The row of each slide; of one that comes twice, the first."""
        path = self.path("*.csv", "*.tsv")
        found: dict[str, int] = {}
        for section in row_sections(path, path.name):
            for number, row in section_rows(path, section):
                found.setdefault(optional(row, *_SLIDE) or "", number)
        return found

    def problems(self) -> list[str]:
        return [] if self.slides.root.is_dir() else [f"options.slides: {self.slides.root} is not a folder"]

    def sections(self) -> Iterable[Section]:
        path = self.path("*.csv", "*.tsv")
        need_columns(path, _SLIDE)
        if "split" in self._columns and self._columns & set(_GROUP):
            check_splits(path, self._splits(path))
        return row_sections(path, path.name, SPLITS if "split" in self._columns else ("none",))

    def _splits(self, path: Path) -> Iterator[tuple[str, str]]:
        for section in row_sections(path, path.name):
            for _, row in section_rows(path, section):
                group = _group_of(row)
                if group:
                    yield group, planned_split(optional(row, *_SPLIT) or "")

    def facts(self) -> dict[str, Any]:
        if self._columns & set(_GROUP):
            return self.slides.facts()
        return {
            **self.slides.facts(),
            "groups_unknown": "the CSV has no column group, patient or case: slides of one patient may be in several splits",
        }

    def items(self, section: Section) -> Iterator[Item]:
        for number, row in section_rows(self.folder / section.name, section):
            name = optional(row, *_SLIDE) or ""
            key = name or f"#{number}"
            if name and self._first[name] != number:
                why = f"{name} is in row {self._first[name] + 1} already; several labels of a slide go into one row"
                yield refused_item(f"{key}#{number}", "none", "slide_twice", why)
                continue
            yield Item(key, planned_split(optional(row, *_SPLIT) or ""), functools.partial(self._record, key, row))

    def _record(self, key: str, row: dict[str, str]) -> Record:
        written = value(row, *_SLIDE)
        if not written:
            raise Refused("no_slide", f"the row names no slide; its columns are {', '.join(row)}")
        name = safe_name(written)
        direct = self.slides.root / name
        path = direct if is_file(direct) else self.slides.need(name)
        case = optional(row, *_CASE) or path.stem
        group = _group_of(row) or path.stem
        labels = tuple(part.strip() for part in (optional(row, *_LABEL) or "").split(self.options.separator) if part.strip())
        used = {*_SLIDE, *_CASE, *_GROUP, *_LABEL, *_REPORT, *_MPP, *_SPLIT}
        extra = {column: content for column, content in row.items() if column.lower() not in used and content}
        split = checked_split(optional(row, *_SPLIT) or "")
        known = SlideText(case, group, optional(row, *_REPORT) or None, labels, _mpp(row), split, extra)
        return slide_record(self, key, known, self.slides, path)


def _group_of(row: dict[str, str]) -> str | None:
    return next((found for column in _GROUP if (found := optional(row, column))), None)


def _mpp(row: dict[str, str]) -> float | None:
    written = optional(row, *_MPP) or ""
    try:
        found = float(written.replace(",", ".")) if written else None
    except ValueError as error:
        raise Refused("bad_mpp", f"mpp is {written!r}; microns per pixel are wanted") from error
    if found is not None and not (math.isfinite(found) and 0.02 <= found <= 20):
        raise Refused("bad_mpp", f"mpp is {written!r}; microns per pixel from 0.02 to 20 are wanted")
    return found
