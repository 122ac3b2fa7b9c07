"""HISTAI (Nechaev et al. 2025, arXiv:2505.12120): slides by case, with the case's protocols and conclusion."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import field, mapping, needed, rest, text, texts
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.slide_files import SLIDE_SUFFIXES, SlideFiles
from eosin.data_builders.sources.reading.slide_records import SlideText, slide_record
from eosin.data_builders.sources.reading.tables import need_columns, row_sections, section_rows
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, refused_item
from eosin.records import Record

# In the order in which a report has them.
PARTS = ("diagnosis", "grossing", "micro_protocol", "conclusion", "diff_diagnosis", "additional_info")
_NAME = re.compile(r"^slide_(?:(?P<power>\d+)x_)?(?P<stain>.+?)_(?P<number>\d+)$", re.IGNORECASE)
_PATTERNS = ("metadata.json", "metadata.csv", "*.json", "*.jsonl", "*.csv")


@dataclass(frozen=True)
class HistaiOptions:
    """What is taken.

    Attributes:
        slides: folder of the subsets (HISTAI-skin-b2 and others), relative to the release or absolute.
        he_only: refuse slides of other stains than H&E.
        cases_alone: keep cases without a slide here, as reports alone; else each is a reject.
        mpp_overrides: CSV of slide and mpp, for slides whose own microns per pixel are missing or wrong; relative to the release or
            absolute.
    """

    slides: str = "."
    he_only: bool = False
    cases_alone: bool = False
    mpp_overrides: str = ""


class Histai(Source[HistaiOptions]):
    """A slide a record, with the text of its case."""

    Options = HistaiOptions
    card = Card(
        name="histai",
        title="HISTAI",
        kind="slides",
        paper="Nechaev et al., HISTAI: An Open-Source, Large-Scale Whole Slide Image Dataset for Computational Pathology, 2025, "
        "arXiv:2505.12120",
        homepage="https://huggingface.co/datasets/histai/HISTAI-metadata",
        licence="CC-BY-NC-4.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                "metadata.json | metadata.csv | *.json | *.jsonl | *.csv", "a case an entry: case_mapping and texts", "the homepage"
            ),
            ExpectedFile(
                "**/case_*/*.tiff", "the slides of each case", "the subsets of the collection (HISTAI-breast and others)", required=False
            ),
        ),
        counts={"slides": 112_000, "slides of the first release": 60_110, "cases of the first release": 26_142},
        splits="None.",
        groups="The case (case_mapping); whether a patient has several cases is not told.",
        problems=(
            "Texts are machine translations in parts, and any of them may be empty: the report is made of those that are not, "
            "with their names.",
            "Magnification is in the file name only where it is not 20x, and the slides' own resolution is missing in parts.",
            "Some slides are not H&E: the stain is in the file name.",
            "A case has one conclusion for all of its slides.",
        ),
        citation="@article{nechaev2025histai, title={HISTAI: An Open-Source, Large-Scale Whole Slide Image Dataset for "
        "Computational Pathology}, "
        "author={Nechaev, Dmitry and Pchelnikov, Alexey and Ivanova, Ekaterina}, journal={arXiv:2505.12120}, year={2025}}",
    )

    def __init__(self, folder: Path, options: HistaiOptions) -> None:
        super().__init__(folder, options)
        self.slides = SlideFiles(folder / options.slides, folder / options.mpp_overrides if options.mpp_overrides else None)

    @functools.cached_property
    def _path(self) -> Path:
        return self.path(*_PATTERNS)

    @property
    def _file(self) -> JsonRecords:
        return JsonRecords(self._path, self._path.name)

    def sections(self) -> Iterable[Section]:
        if self._path.suffix != ".csv":
            return self._file.sections()
        need_columns(self._path, ("case_mapping",))
        return row_sections(self._path, self._path.name)

    def facts(self) -> dict[str, Any]:
        return self.slides.facts()

    def items(self, section: Section) -> Iterator[Item]:
        for number, (key, element) in enumerate(self._entries(section), section.start):
            case = _case_of(element)
            if case and self._first[case] != number:
                yield refused_item(f"{case}#{number}", "none", "case_twice", f"{case}: another entry of it comes before")
            else:
                yield from self._of_case(key, element)

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The entry of each case; of one that comes twice, the first."""
        found: dict[str, int] = {}
        for section in self.sections():
            for number, (_, element) in enumerate(self._entries(section), section.start):
                found.setdefault(_case_of(element), number)
        return found

    def _entries(self, section: Section) -> Iterator[tuple[str, Any]]:
        if self._path.suffix == ".csv":
            yield from ((f"#{number}", row or None) for number, row in section_rows(self._path, section))
        else:
            yield from self._file.items(section)

    def _of_case(self, key: str, element: Any) -> Iterator[Item]:
        try:
            found = mapping(element)
            needed(found, "no_case", "case_mapping")
            case = _case_of(found)
            if ".." in case.split("/"):
                raise Refused("path_outside", f"{case}: the name leads out of the folder")
        except Refused as error:
            yield refused_item(key, "none", error.reason, error.message)
            return
        paths = self._slides_of(case)
        if not paths and not self.options.cases_alone:
            yield refused_item(case, "none", "slide_missing", f"{case}: no slide of the case below {self.slides.root}")
        elif not paths:
            yield Item(case, "none", functools.partial(self._record, case, case, found, None))
        for path in paths:
            yield Item(f"{case}/{path.stem}", "none", functools.partial(self._record, f"{case}/{path.stem}", case, found, path))

    def _slides_of(self, case: str) -> list[Path]:
        """The case's slides: in its folder, with or without the subset's folder around it where only one subset was fetched."""
        for name in (case, case.rpartition("/")[2]):
            folder = self.slides.root / name
            if folder.is_dir():
                return sorted(path for path in folder.iterdir() if path.suffix.lower() in SLIDE_SUFFIXES)
        return []

    def _record(self, key: str, case: str, found: Mapping[str, Any], path: Path | None) -> Record:
        named = _NAME.match(path.stem) if path else None
        stain = named["stain"] if named else ""
        if self.options.he_only and stain and stain.upper().replace("&", "") not in ("HE", "H_E"):
            raise Refused("other_stain", f"{key}: stained {stain}")
        report = "\n\n".join(f"{name}: {text(found, name)}" for name in PARTS if text(found, name))
        extra = rest(found, "case_mapping", *PARTS)
        if stain:
            extra |= {"stain": stain, "magnification": f"{named['power'] if named and named['power'] else 20}x"}
        labels = texts(field(found, "icd10"))
        return slide_record(self, key, SlideText(case, case, report or None, labels=labels, extra=extra), self.slides, path)


def _case_of(element: Any) -> str:
    """The case that an entry names, without the publisher's name before it; empty where it names none."""
    return text(element, "case_mapping").strip("/").removeprefix("histai/") if isinstance(element, Mapping) else ""
