"""Image and caption of a row whose fields the user names: what JSON lines, archives and Hugging Face data sets have in common."""

from __future__ import annotations

import datetime
import decimal
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eosin.data_builders.sources.reading.fields import checked_split, field, planned_split, rest, text, texts
from eosin.data_builders.sources.source import Refused, Source
from eosin.progress import say
from eosin.records import ImageText

GROUPS_UNKNOWN = "no field for the group is named (options.group): images of one patient, slide or article may be in several splits"


@dataclass(frozen=True)
class PairOptions:
    """Which field holds what.

    Attributes:
        image: the image, or its path relative to the folder.
        caption: a caption, or a list of captions.
        group: the patient, slide, video or article; empty: each image is its own group.
        split: train, val, test or none; empty: as the file's name tells, else none.
        licence: of the record; empty: unknown.
    """

    image: str = "image"
    caption: str = "caption"
    group: str = ""
    split: str = ""
    licence: str = ""

    def split_of(self, row: Mapping[str, Any], default: str) -> str:
        """The split under which a row is planned."""
        return planned_split(text(row, self.split)) if self.split else default

    def facts(self) -> dict[str, str]:
        """What `Source.facts` says."""
        return {} if self.group else {"groups_unknown": GROUPS_UNKNOWN}


@dataclass(frozen=True)
class Row:
    """A row to make a record of.

    Attributes:
        key: of the record.
        fields: all of them.
        name: what the image is called; the group, where no other is known.
        split: under which the row was planned.
    """

    key: str
    fields: Mapping[str, Any]
    name: str
    split: str


def pair_record(source: Source[Any], options: PairOptions, row: Row, image: bytes) -> ImageText:
    """The record of a row.

    Raises:
        Refused: `no_caption`, `no_group`, `unknown_split`.
    """
    captions = texts(field(row.fields, options.caption))
    if not captions:
        raise Refused("no_caption", f"{row.name}: {options.caption} is missing or empty; there are: {', '.join(map(str, row.fields))}")
    split = checked_split(text(row.fields, options.split)) if options.split else row.split
    group = text(row.fields, options.group) if options.group else row.name
    if not group:
        raise Refused("no_group", f"{row.name}: {options.group} is missing or empty")
    licence = text(row.fields, options.licence) if options.licence else ""
    used = (options.image, options.caption, options.group, options.split, options.licence)
    plain = {}
    for key, value in rest(row.fields, *used).items():
        try:
            plain[key] = _plain(value)
        except TypeError:
            _say_left_out(source.card.name, key, type(value).__name__)
    return ImageText(
        **source.base(row.key, group, split, licence=licence), image=image, captions=captions, extra={**plain, "image": row.name}
    )


def _plain(value: Any) -> Any:
    """A value as JSON holds it: dates and times as ISO 8601 has them, decimal numbers as text.

    Raises:
        TypeError: JSON does not hold it: pixels and bytes of other columns do not go into `extra`.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (datetime.timedelta, decimal.Decimal)):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a {type(value).__name__} is not plain")


@functools.cache
def _say_left_out(source: str, column: str, kind: str) -> None:
    say(f"warning: {source}: {column} holds {kind}, which JSON does not: it is left out of extra")
