"""REG2025 (MICCAI 2025 challenge): biopsies of several organs with structured reports."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import mapping, needed, rest, text
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.slide_files import SlideFiles
from eosin.data_builders.sources.reading.slide_records import SlideText, slide_record
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Section, Source, refused_item
from eosin.records import Record

_NAMES = ("id", "slide", "image_id")


@dataclass(frozen=True)
class Reg2025Options:
    """Where the slides lie.

    Attributes:
        slides: folder of the .tiff files, relative to the release or absolute; searched at any depth.
        reports_alone: keep reports whose slide is not there, as records without one.
        mpp_overrides: CSV of slide and mpp, for slides whose own microns per pixel are missing or wrong; relative to the release or
            absolute.
    """

    slides: str = "."
    reports_alone: bool = False
    mpp_overrides: str = ""


class Reg2025(Source[Reg2025Options]):
    """An element a slide: its name and its report."""

    Options = Reg2025Options
    card = Card(
        name="reg2025",
        title="REG2025: report generation in pathology",
        kind="slides",
        paper="REG2025, REport Generation in pathology using Pan-Asia Giga-pixel WSIs, a MICCAI 2025 challenge (a paper of the "
        "data: unclear)",
        homepage="https://reg2025.grand-challenge.org",
        licence="unclear: see the challenge's data page",
        gated=True,
        commercial="unclear",
        files=(
            ExpectedFile("train*.json | *.json", "a JSON list of id and report", "the challenge's data page, with a verified account"),
            ExpectedFile("**/*.tiff | **/*.tif", "the slides", "the same; options.slides names a folder elsewhere", required=False),
        ),
        counts={},
        splits="train; the reports of the two test phases are not public.",
        groups="The slide: patients are not told.",
        problems=(
            "The id is the slide's file name, with .tiff in some copies and without in others: both are understood.",
            "Reports keep a fixed form (`organ, procedure;` and numbered findings) with line breaks that matter: they are kept "
            "as they are.",
            "Patients are not told, so several slides of one may be in several splits.",
            "The follow-up challenge of 2026 ships its reasoning in a file of its own (train_CoT.json): keep it out of this folder.",
        ),
        citation="@misc{reg2025, title={REG2025: REport Generation in pathology using Pan-Asia Giga-pixel WSIs}, "
        "howpublished={https://reg2025.grand-challenge.org}, year={2025}}",
    )

    def __init__(self, folder: Path, options: Reg2025Options) -> None:
        super().__init__(folder, options)
        self.slides = SlideFiles(folder / options.slides, folder / options.mpp_overrides if options.mpp_overrides else None)

    @functools.cached_property
    def _file(self) -> JsonRecords:
        path = self.path("train.json", "train*.json", "*.json")
        return JsonRecords(path, path.name, of_texts=True)

    def sections(self) -> Iterable[Section]:
        return self._file.sections((split_of(self._file.name) or "none",))

    def facts(self) -> dict[str, Any]:
        return {**self.slides.facts(), "groups_unknown": "the release names no patients: slides of one may be in several splits"}

    def items(self, section: Section) -> Iterator[Item]:
        split = split_of(section.name) or "none"
        for number, (key, element) in enumerate(self._file.items(section), section.start):
            stem = _stem_of(key, element)
            if stem and self._first[stem] != number:
                yield refused_item(f"{stem}#{number}", split, "slide_twice", f"{stem}: another report of it comes before")
            else:
                yield Item(stem or key, split, functools.partial(self._record, key, element, split))

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The element of each slide; of one that comes twice, the first."""
        found: dict[str, int] = {}
        for section in self.sections():
            for number, (key, element) in enumerate(self._file.items(section), section.start):
                found.setdefault(_stem_of(key, element), number)
        return found

    def _record(self, key: str, element: Any, split: str) -> Record:
        found = mapping(_element_of(key, element))
        name, report = needed(found, "no_slide", *_NAMES), needed(found, "no_report", "report")
        stem = _stem_of(key, element)
        path = self.slides.find(name) if self.options.reports_alone else self.slides.need(name)
        known = SlideText(stem, stem, report, split=split, extra=rest(found, *_NAMES, "report"))
        return slide_record(self, stem, known, self.slides, path)


def _element_of(key: str, element: Any) -> Any:
    """An object of records may have the reports themselves as values: {"PIT_01.tiff": "Breast, ..."}."""
    return {"id": key, "report": element} if isinstance(element, str) and not key.startswith("#") else element


def _stem_of(key: str, element: Any) -> str:
    found = _element_of(key, element)
    return text(found, *_NAMES).removesuffix(".tiff").removesuffix(".tif") if isinstance(found, Mapping) else ""
