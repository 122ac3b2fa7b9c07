"""Slides with what is written of them, as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.slide_files import SlideFiles
from eosin.data_builders.sources.source import Refused, Source
from eosin.records import Slide
from eosin.slides.reader import SlideReader


@dataclass(frozen=True)
class SlideText:
    """What is known of a slide beside its file.

    Attributes:
        case: the case or patient it is of.
        group: the unit that must not cross splits.
        report: as it is written.
        labels: what the release says it shows.
        mpp: microns per pixel of level 0, where it is known better than the slide says.
        split: of the record.
        extra: anything else.
    """

    case: str
    group: str
    report: str | None = None
    labels: tuple[str, ...] = ()
    mpp: float | None = None
    split: str = "none"
    extra: Mapping[str, Any] = field(default_factory=dict)


def slide_record(source: Source[Any], key: str, known: SlideText, slides: SlideFiles, path: Path | None) -> Slide:
    """The record of a slide, or of a report alone where `path` is None. Of the slide only its header is read.

    Raises:
        Refused: `path_outside`: the slide's file is not below `slides.root`.
        ImageError: the slide cannot be opened; see `SlideReader`.
    """
    base = source.base(key, known.group, known.split)
    rest: dict[str, Any] = {"case": known.case, "report": known.report, "labels": known.labels, "extra": known.extra}
    if path is None:
        return Slide(**base, path="", mpp=known.mpp, **rest)
    if not path.is_relative_to(slides.root):
        raise Refused("path_outside", f"{path} is not below {slides.root}")
    given = known.mpp if known.mpp is not None else slides.mpp(path)
    with SlideReader(path, given) as reader:
        width, height = reader.size
        mpp = reader.known_mpp
    return Slide(**base, slide=path.stem, path=slides.relative(path), mpp=mpp, width=width, height=height, **rest)
