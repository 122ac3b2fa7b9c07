"""Samples that `export_webdataset` wrote: the JSON beside an image holds every other column of its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from eosin.data_builders.sources.source import Refused
from eosin.records import SCHEMAS, SPLITS, ImageText, from_table, json_text

GROUPS_UNKNOWN = "groups_unknown"
_ALWAYS = ("id", "source", "licence", "group")


def is_own(fields: Mapping[str, Any] | None) -> bool:
    """Whether the JSON of a sample is a whole pair of ours: what every record has, and a list of captions."""
    if not fields:
        return False
    captions = fields.get("captions")
    named = all(isinstance(fields.get(name), str) and fields[name] for name in _ALWAYS) and fields.get("split") in SPLITS
    return named and isinstance(captions, list) and bool(captions) and all(isinstance(caption, str) for caption in captions)


def restored(fields: Mapping[str, Any], image: bytes) -> ImageText:
    """The pair as it was exported, under its own id; fields that someone added go into `extra`.

    Args:
        fields: for which `is_own` holds.
        image: the encoded bytes.

    Raises:
        Refused: `broken_record`: a column is of another type.
        InputError: the columns contradict each other.
    """
    schema = SCHEMAS[ImageText.kind]
    extra = fields.get("extra") or {}
    if not isinstance(extra, Mapping):
        raise Refused("broken_record", f"{fields['id']}: extra is {str(extra)[:60]!r}; an object is wanted")
    added = {name: value for name, value in fields.items() if name not in schema.names and name != GROUPS_UNKNOWN}
    row = {name: value for name, value in fields.items() if name in schema.names}
    row |= {"image": {"bytes": image, "path": None}, "extra": json_text({**added, **extra})}
    try:
        return from_table(ImageText, pa.Table.from_pylist([row], schema=schema))[0]
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise Refused("broken_record", f"{fields['id']}: its JSON does not fit a pair's columns ({error})") from error
