"""What `export_webdataset` and `export_llava` wrote: JSON beside images that holds every other column of a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import pyarrow as pa

from eosin.data_builders.sources.source import Refused
from eosin.records import SCHEMAS, SPLITS, Conversation, ImageText, Record, from_table, json_text, unwritable

R = TypeVar("R", bound=Record)

GROUPS_UNKNOWN = "groups_unknown"
_ALWAYS = ("id", "source", "licence", "group")


def is_own(fields: Mapping[str, Any] | None) -> bool:
    """Whether the JSON of a sample is a whole pair of ours: what every record has, and a list of captions."""
    if not fields:
        return False
    captions = fields.get("captions")
    return _is_named(fields) and isinstance(captions, list) and bool(captions) and all(isinstance(caption, str) for caption in captions)


def restored(fields: Mapping[str, Any], image: bytes) -> ImageText:
    """The pair as it was exported, under its own id; fields that someone added go into `extra`.

    Args:
        fields: for which `is_own` holds.
        image: the encoded bytes.

    Raises:
        Refused: `broken_record`: a column is of another type; see `unwritable`.
        InputError: the columns contradict each other.
    """
    return _record(ImageText, fields, {"image": {"bytes": image, "path": None}})


def own_columns(entry: Any) -> Mapping[str, Any] | None:
    """The columns beside the turns of a record that `export_llava` wrote, with its id; None where others wrote it."""
    columns = entry.get("eosin") if isinstance(entry, Mapping) else None
    if not isinstance(columns, Mapping):
        return None
    fields = {**columns, "id": entry.get("id")}
    return fields if _is_named(fields) else None


def restored_conversation(fields: Mapping[str, Any], read: Conversation) -> Conversation:
    """The conversation as it was exported, under its own id; of a pair, the columns that no conversation has go into `extra`.

    Args:
        fields: that `own_columns` found.
        read: what its turns and images say; its other columns count where the pair had none.

    Raises:
        Refused: `broken_record`: a column is of another type; see `unwritable`.
        InputError: the columns contradict each other.
    """
    asked = {} if "task" in fields else {"task": read.task, "answer": read.answer, "options": list(read.options)}
    found = _record(Conversation, {"options": [], **asked, **fields}, {"images": [], "messages": []})
    return dataclasses.replace(found, images=read.images, messages=read.messages)


def _is_named(fields: Mapping[str, Any]) -> bool:
    return all(isinstance(fields.get(name), str) and fields[name] for name in _ALWAYS) and fields.get("split") in SPLITS


def _record(kind: type[R], fields: Mapping[str, Any], beside: Mapping[str, Any]) -> R:
    schema = SCHEMAS[kind.kind]
    why = unwritable(fields)
    if why is not None:
        raise Refused(*why)
    extra = fields.get("extra") or {}
    if not isinstance(extra, Mapping):
        raise Refused("broken_record", f"{fields['id']}: extra is {str(extra)[:60]!r}; an object is wanted")
    added = {name: value for name, value in fields.items() if name not in schema.names and name != GROUPS_UNKNOWN}
    row = {name: value for name, value in fields.items() if name in schema.names}
    row |= {**beside, "extra": json_text({**added, **extra})}
    try:
        return from_table(kind, pa.Table.from_pylist([row], schema=schema))[0]
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise Refused("broken_record", f"{fields['id']}: its columns do not fit those of {kind.kind} ({error})") from error
