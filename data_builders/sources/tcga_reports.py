"""TCGA-Reports (Kefeli and Tatonetti, Patterns 2024): the pathology reports of TCGA as text, joined to slides where they are at hand."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.names import patient_of
from eosin.data_builders.sources.reading.slide_files import SlideFiles
from eosin.data_builders.sources.reading.slide_records import SlideText, slide_record
from eosin.data_builders.sources.reading.tables import need_columns, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, refused_item
from eosin.records import Record

_FILE, _TEXT = ("patient_filename", "filename"), ("text", "report")


@dataclass(frozen=True)
class TcgaReportsOptions:
    """Where the slides lie.

    Attributes:
        slides: folder of TCGA slides, relative to the release or absolute; empty: reports alone. With it, every slide of a patient gets
            the patient's report, and a report without a slide stays a record without one.
        diagnostic_only: of the slides take the diagnostic ones (DX in the barcode), which the report speaks of.
        mpp_overrides: CSV of slide and mpp, for slides whose own microns per pixel are missing or wrong; relative to the release or
            absolute.
    """

    slides: str = ""
    diagnostic_only: bool = True
    mpp_overrides: str = ""


class TcgaReports(Source[TcgaReportsOptions]):
    """A row a report; a patient has one."""

    Options = TcgaReportsOptions
    card = Card(
        name="tcga_reports",
        title="TCGA-Reports",
        kind="slides",
        paper="Kefeli and Tatonetti, TCGA-Reports: A machine-readable pathology report resource for benchmarking text-based AI models, "
        "Patterns 5(3), 2024, doi:10.1016/j.patter.2024.100933",
        homepage="https://github.com/tatonetti-lab/tcga-path-reports",
        licence="unclear: TCGA's own open-access terms hold for the reports",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile(
                "TCGA_Reports.csv | *.csv", "patient_filename and text", "TCGA_Reports.csv.zip of the homepage, or Mendeley Data hyg5xkznpx"
            ),
        ),
        counts={"reports": 9523},
        splits="None.",
        groups="The patient: the first 12 characters of patient_filename.",
        problems=(
            "The text was read from scanned pages by a machine: letters are wrong in places, tables are torn, layout is lost.",
            "A report speaks of all of a patient's specimens, a slide shows one: a sentence may be of another slide.",
            "The publisher took out the reports' headers and short reports; reports name hospitals at times.",
        ),
        citation="@article{kefeli2024tcga, title={TCGA-Reports: A machine-readable pathology report resource for benchmarking "
        "text-based AI "
        "models}, author={Kefeli, Jenna and Tatonetti, Nicholas}, journal={Patterns}, volume={5}, number={3}, year={2024}}",
    )

    def __init__(self, folder: Path, options: TcgaReportsOptions) -> None:
        super().__init__(folder, options)
        self.slides = SlideFiles(folder / options.slides, folder / options.mpp_overrides if options.mpp_overrides else None)

    @functools.cached_property
    def _of_patient(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in sorted(self.slides.paths.values()) if self.options.slides else []:
            parts = path.name.upper().split(".")[0].split("-")
            if not self.options.diagnostic_only or parts[-1].startswith("DX"):
                found.setdefault(patient_of(path.name), []).append(path)
        return found

    def problems(self) -> list[str]:
        missing = self.options.slides and not self.slides.root.is_dir()
        return [f"options.slides: {self.slides.root} is not a folder"] if missing else []

    def sections(self) -> Iterable[Section]:
        path = self.path("TCGA_Reports.csv", "*.csv")
        need_columns(path, _FILE, _TEXT)
        return row_sections(path, path.name)

    def facts(self) -> dict[str, Any]:
        return self.slides.facts() if self.options.slides else {}

    @functools.cached_property
    def _first(self) -> dict[str, int]:
        """The row of each report; of one that comes twice, the first."""
        path = self.path("TCGA_Reports.csv", "*.csv")
        found: dict[str, int] = {}
        for section in row_sections(path, path.name):
            for number, row in section_rows(path, section):
                found.setdefault(_named(row), number)
        return found

    def items(self, section: Section) -> Iterator[Item]:
        for number, row in section_rows(self.folder / section.name, section):
            name = _named(row)
            if name and self._first[name] != number:
                yield refused_item(f"{name}#{number}", "none", "repeated_id", f"{name} is in row {self._first[name] + 1} already")
                continue
            slides: list[Path | None] = [*self._of_patient.get(patient_of(name), ())]
            for slide in slides or [None]:
                key = f"{name or number}/{slide.stem}" if slide else f"{name or number}"
                yield Item(key, "none", functools.partial(self._record, key, row, slide))

    def _record(self, key: str, row: dict[str, str], slide: Path | None) -> Record:
        name, report = value(row, *_FILE), value(row, *_TEXT)
        if not name.upper().startswith("TCGA-"):
            raise Refused("no_patient", f"patient_filename is {name!r}; a TCGA barcode is wanted")
        if not report:
            raise Refused("no_report", f"{name} has no text")
        patient = patient_of(name)
        return slide_record(self, key, SlideText(patient, patient, report, extra={"patient_filename": name}), self.slides, slide)


def _named(row: dict[str, str]) -> str:
    return row.get(next((column for column in row if column.lower() in _FILE), ""), "")
