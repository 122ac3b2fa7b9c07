"""What there is to write about: images with captions, labels or boxes, and slides with reports; read without their pixels."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact, RecordTable, Task
from eosin.config import load
from eosin.data_builders.subjects import read_rows
from eosin.errors import InputError
from eosin.labels import LabelSet, load_label_set
from eosin.records import Box, ImageText, LabelledImage, Region

_COMMON = ["id", "source", "licence", "group", "split", "slide", "mpp", "extra"]
_OWN = {
    "image_text": ["captions", "organ", "stain", "region"],
    "labelled_images": ["label", "labels", "boxes"],
    "slides": ["labels", "report"],
}
IMAGE_KINDS = ("image_text", "labelled_images")


@dataclass(frozen=True)
class Material:
    """One image or slide, as it can be written about.

    Attributes:
        row: its number within its split.
        origin: the columns every record has, to be taken over: id, source, licence, group, split, slide, mpp, extra.
        captions: what was said of it before, the fullest first.
        label_name: its class, as records hold it.
        label: its class in words.
        organ: where it is known.
        stain: where it is known.
        report: of its slide or case.
        boxes: labelled boxes in it.
        region: where it was cut from its slide.
    """

    row: int
    origin: Mapping[str, Any]
    captions: tuple[str, ...] = ()
    label_name: str = ""
    label: str = ""
    organ: str = ""
    stain: str = ""
    report: str = ""
    boxes: tuple[Box, ...] = ()
    region: Region | None = None

    @property
    def id(self) -> str:
        """Of the record it comes from."""
        return str(self.origin["id"])

    @property
    def setting(self) -> str:
        """Organ and stain, which a pathologist is told with the slide."""
        return _lines({"Organ": self.organ, "Stain": self.stain}) or "Nothing is known beside the picture."

    @property
    def facts(self) -> str:
        """Everything that is known, a line each; boxes are told by label and number alone."""
        counts = {label: sum(box.label == label for box in self.boxes) for label in sorted({box.label for box in self.boxes})}
        seen = ", ".join(f"{count} x {label}" for label, count in counts.items())
        told = {"Organ": self.organ, "Stain": self.stain, "Diagnosis": self.label, "Marked in the picture": seen}
        return "\n".join(filter(None, [_lines(told), *(f"Caption: {text}" for text in self.captions), _lines({"Report": self.report})]))


def _lines(named: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in named.items() if value)


def read_materials(artefact: Artefact, task: Task, labels: LabelSet | None = None) -> Iterator[Material]:
    """The records of a task, in order; pixels are not read.

    Args:
        artefact: of a kind of `IMAGE_KINDS`, or `slides`.
        task: rows of one split.
        labels: the classes in words.

    Raises:
        InputError: another kind.
        ConfigError: the label set lacks a label.
    """
    if artefact.kind not in _OWN:
        raise InputError(f"{artefact.path} is of kind {artefact.kind}; one can write about {', '.join(_OWN)}")
    rows = read_rows(artefact, task.split, task.start, task.stop, _COMMON + _OWN[artefact.kind])
    for number, row in enumerate(rows, task.start):
        yield _material(number, row, labels)


def _material(number: int, row: Mapping[str, Any], labels: LabelSet | None) -> Material:
    extra = json.loads(row["extra"])
    origin = {name: row[name] for name in _COMMON if name != "extra"} | {"extra": extra}
    name = row.get("label") or ", ".join(row.get("labels") or ()) or str(extra.get("label") or "")
    label, facets = _label(name, labels)
    captions = [str(extra["description"])] if extra.get("description") else []
    captions += [text for text in row.get("captions") or () if text not in captions]
    region = row.get("region")
    return Material(
        number,
        origin,
        tuple(captions),
        name,
        label,
        row.get("organ") or facets.get("organ", ""),
        row.get("stain") or "",
        row.get("report") or str(extra.get("report") or ""),
        tuple(Box(**box) for box in row.get("boxes") or ()),
        Region(**region) if region else None,
    )


def _label(name: str, labels: LabelSet | None) -> tuple[str, Mapping[str, str]]:
    """A class in words and what it implies; a label that no set names speaks for itself."""
    if not name or labels is None or name not in labels.classes:
        return name.replace("_", " "), {}
    return labels.classes[name].answer, labels.classes[name].facets


def labels_of(artefact: Artefact, name: str) -> LabelSet | None:
    """The artefact's classes in words: of the label set `name`, or with `auto` as its plan tells them; None where it has no classes.

    Raises:
        ConfigError: see `load_label_set`.
    """
    if not artefact.classes:
        return None
    told = artefact.plan.facts.get("label_set")
    if name == "auto" and told:
        return load(LabelSet, told).select(artefact.classes)
    return load_label_set(name, artefact.classes)


class Pictures:
    """The encoded images of one split by row, for several threads; a few row groups stay in memory.

    Args:
        artefact: of a kind of `IMAGE_KINDS`.
        split: of the rows.
    """

    def __init__(self, artefact: Artefact, split: str) -> None:
        self._lock = threading.Lock()
        columns = ["id", "source", "licence", "group", "image"]
        self._table: RecordTable[ImageText] | RecordTable[LabelledImage]
        if artefact.kind == "image_text":
            self._table = RecordTable(artefact, ImageText, split, [*columns, "captions"], cached_groups=4)
        else:
            self._table = RecordTable(artefact, LabelledImage, split, columns, cached_groups=4)

    def __getitem__(self, row: int) -> bytes:
        """The encoded image."""
        with self._lock:
            return self._table[row].image
