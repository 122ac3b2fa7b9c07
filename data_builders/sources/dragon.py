"""DRAGON sample reports (Bosma et al., npj Digital Medicine 2025): anonymised clinical reports in Dutch, with English translations."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eosin.data_builders.sources.reading.json_files import parsed
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, sections_of
from eosin.records import Record, Slide

_TITLE = re.compile(r"^#\s*Task\s*\d+\s*:\s*(?P<title>.+)$", re.MULTILINE)
_LINE = re.compile(r"^(?P<name>Label|Notes):\s*(?P<value>.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^(?P<name>[^\n`#]+?)[ \t]*:[ \t]*\n```[^\n]*\n(?P<text>.*?)\n?```", re.MULTILINE | re.DOTALL)
# The English notice that stands before each report, in Dutch ones too, and that no detector of languages should see.
_NOTICE = re.compile(r"^\s*#{5,}\s*DISCLAIMER:.*?#{5,}\s*", re.DOTALL)
_LANGUAGES = {"english": "en", "dutch": "nl"}
_FILE_LIMIT = 1 << 24


@dataclass(frozen=True)
class DragonOptions:
    """What is taken.

    Attributes:
        language: `en` are translations by a model, `nl` the reports as they were written.
    """

    language: Literal["any", "en", "nl"] = "any"


class Dragon(Source[DragonOptions]):
    """A file a report."""

    Options = DragonOptions
    card = Card(
        name="dragon",
        title="DRAGON sample reports",
        kind="slides",
        paper="Bosma et al., The DRAGON benchmark for clinical NLP, npj Digital Medicine 8, 2025 (page: unclear)",
        homepage="https://github.com/DIAGNijmegen/dragon_sample_reports",
        licence="CC-BY-NC-SA-4.0",
        gated=False,
        commercial="no",
        files=(ExpectedFile("**/english/Task*.md | **/dutch/Task*.md", "a report a file, with its label and notes", "the homepage"),),
        counts={"tasks": 28},
        splits="None: examples.",
        groups="The sample: the Dutch report and its English translation are one.",
        problems=(
            "Every report begins with an English notice of anonymisation, the Dutch ones too: it is taken off, and "
            "extra.anonymised says so.",
            "The English reports are translations by a model.",
            "Not every task is of pathology (task 26 shows a CT report): the file's name tells.",
            "Some labels are lists of tags by token: they and the tokens go to extra.",
            "There are no slides: the records are reports alone.",
        ),
        citation="@article{bosma2025dragon, title={The DRAGON benchmark for clinical NLP}, author={Bosma, Joeran and others}, "
        "journal={npj Digital Medicine}, volume={8}, year={2025}}",
    )

    @functools.cached_property
    def _names(self) -> list[str]:
        found = (path for language in _LANGUAGES for path in self.folder.glob(f"**/{language}/Task*.md"))
        names = sorted(path.relative_to(self.folder).as_posix() for path in found)
        return [name for name in names if self.options.language in ("any", _language(name))]

    def sections(self) -> Iterable[Section]:
        return sections_of("reports", len(self._names))

    def items(self, section: Section) -> Iterator[Item]:
        for name in self._names[section.start : section.stop]:
            key = f"{_language(name)}/{Path(name).stem}"
            yield Item(key, "none", functools.partial(self._record, key, name))

    def _record(self, key: str, name: str) -> Record:
        path = self.folder / name
        if path.stat().st_size > _FILE_LIMIT:
            raise Refused("too_many_bytes", f"{name}: {path.stat().st_size} bytes; a report may have {_FILE_LIMIT}")
        written = path.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
        blocks = {found["name"].strip().lower(): found["text"] for found in _BLOCK.finditer(written)}
        report = next((text for block, text in blocks.items() if "report" in block and "tokenized" not in block), "")
        stripped = _NOTICE.sub("", report).strip()
        if not stripped:
            raise Refused("no_report", f"{name}: no block named a sample report, or an empty one")
        lines = {found["name"]: found["value"].strip() for found in _LINE.finditer(written)}
        title = _TITLE.search(written)
        extra: dict[str, Any] = {
            "language": _language(name),
            "translated": _language(name) == "en",
            "anonymised": stripped != report.strip(),
            "task": title["title"].strip() if title else Path(name).stem,
            **({"notes": lines["Notes"]} if "Notes" in lines else {}),
            **_token_lists(blocks),
        }
        labels = (lines["Label"],) if "Label" in lines else ()
        return Slide(**self.base(key, Path(name).stem), path="", case=Path(name).stem, report=stripped, labels=labels, extra=extra)


def _language(name: str) -> str:
    return _LANGUAGES[Path(name).parent.name]


def _token_lists(blocks: dict[str, str]) -> dict[str, Any]:
    """Tokens and their labels, where the file has them as JSON."""
    found = {}
    for block, text in blocks.items():
        if "tokenized" in block:
            try:
                found["token_labels" if block.startswith("label") else "tokens"] = parsed(text)
            except ValueError:
                continue
    return found
