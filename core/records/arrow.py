"""How records lie in Parquet: Arrow schemas, and the way there and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from typing import Any

import pyarrow as pa

from eosin.errors import InputError
from eosin.records.kinds import (
    Box,
    ClusterMember,
    Conversation,
    Embedding,
    Exported,
    Finding,
    Fingerprint,
    ImageText,
    LabelledImage,
    Message,
    Part,
    Prediction,
    Provenance,
    R,
    Record,
    Region,
    Slide,
    Tile,
)
from eosin.records.plain import json_text

SCHEMA_VERSION = 1

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_BOX = pa.struct([("x0", pa.float64()), ("y0", pa.float64()), ("x1", pa.float64()), ("y1", pa.float64()), ("label", pa.string())])
_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.list_(_PART))])
_REGION = pa.struct([("x", pa.int64()), ("y", pa.int64()), ("width", pa.int64()), ("height", pa.int64())])
_PROVENANCE = pa.struct([("prompt", pa.string()), ("model", pa.string())])

_COMMON: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("source", pa.string()),
    ("licence", pa.string()),
    ("group", pa.string()),
    ("split", pa.string()),
    ("slide", pa.string()),
    ("mpp", pa.float64()),
    ("provenance", _PROVENANCE),
    ("extra", pa.string()),
]
_OWN: dict[type[Record], list[tuple[str, pa.DataType]]] = {
    ImageText: [
        ("image", _IMAGE),
        ("captions", pa.list_(pa.string())),
        ("organ", pa.string()),
        ("stain", pa.string()),
        ("region", _REGION),
    ],
    Conversation: [
        ("images", pa.list_(_IMAGE)),
        ("messages", pa.list_(_MESSAGE)),
        ("task", pa.string()),
        ("answer", pa.string()),
        ("options", pa.list_(pa.string())),
    ],
    LabelledImage: [
        ("image", _IMAGE),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("boxes", pa.list_(_BOX)),
        ("mask", pa.binary()),
    ],
    Slide: [
        ("path", pa.string()),
        ("case", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("labels", pa.list_(pa.string())),
        ("report", pa.string()),
    ],
    Tile: [("x", pa.int64()), ("y", pa.int64()), ("size", pa.int64()), ("kept", pa.bool_()), ("reason", pa.string())],
    Embedding: [("vector", pa.list_(pa.float32())), ("caption", pa.string()), ("label", pa.string()), ("thumbnail", _IMAGE)],
    Prediction: [
        ("question", pa.string()),
        ("benchmark", pa.string()),
        ("condition", pa.string()),
        ("task", pa.string()),
        ("answer", pa.string()),
        ("options", pa.list_(pa.string())),
        ("reply", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_hash", pa.string()),
        ("image_hashes", pa.list_(pa.string())),
        ("model", pa.string()),
        ("scores", pa.list_(pa.float64())),
        ("topic", pa.string()),
    ],
    Exported: [("path", pa.string()), ("key", pa.string())],
    Fingerprint: [
        ("record", pa.string()),
        ("place", pa.int64()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("file", pa.binary()),
        ("pixels", pa.binary()),
        ("signs", pa.binary()),
        ("spectrum", pa.binary()),
        ("grey", pa.binary()),
        ("words", pa.binary()),
        ("colour", pa.list_(pa.float64())),
    ],
    ClusterMember: [("within", pa.string()), ("representative", pa.string()), ("method", pa.string()), ("distance", pa.float64())],
    Finding: [
        ("finding", pa.string()),
        ("data", pa.string()),
        ("record", pa.string()),
        ("against", pa.string()),
        ("other", pa.string()),
        ("score", pa.float64()),
        ("detail", pa.string()),
    ],
}


def _schema(columns: list[tuple[str, pa.DataType]]) -> pa.Schema:
    features: dict[str, Any] = {}
    for name, kind in columns:
        if kind == _IMAGE:
            features[name] = {"_type": "Image"}
        elif kind == pa.list_(_IMAGE):
            features[name] = {"feature": {"_type": "Image"}, "_type": "List"}
    schema = pa.schema(columns)
    if features:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)})
    return schema


RECORD_TYPES: dict[str, type[Record]] = {record.kind: record for record in _OWN}
SCHEMAS: dict[str, pa.Schema] = {record.kind: _schema(_COMMON + columns) for record, columns in _OWN.items()}
REJECT_SCHEMA = pa.schema([("task", pa.string()), ("key", pa.string()), ("reason", pa.string()), ("message", pa.string())])


def half_vectors(kind: str) -> pa.Schema:
    """`SCHEMAS[kind]` with its vectors in float16: half the room, eleven significant bits.

    Raises:
        InputError: records of this kind have no vector.
    """
    schema = SCHEMAS[kind]
    if "vector" not in schema.names:
        raise InputError(f"{kind} records have no vector that could be stored in float16")
    return schema.set(schema.get_field_index("vector"), pa.field("vector", pa.list_(pa.float16())))


def _pack(value: Any, kind: pa.DataType) -> Any:
    """A field's value as Arrow takes it."""
    if value is None:
        return None
    if kind == _IMAGE:
        return {"bytes": value, "path": None}
    if pa.types.is_list(kind):
        return [_pack(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {part.name: _pack(getattr(value, part.name), part.type) for part in kind}
    return value


_STRUCTS: dict[pa.DataType, type] = {_BOX: Box, _PART: Part, _MESSAGE: Message, _REGION: Region, _PROVENANCE: Provenance}


def _unpack(value: Any, kind: pa.DataType) -> Any:
    """The inverse of `_pack`."""
    if value is None:
        return None
    if kind == _IMAGE:
        return value["bytes"]
    if pa.types.is_list(kind):
        if not pa.types.is_nested(kind.value_type):
            return tuple(value)
        return tuple(_unpack(item, kind.value_type) for item in value)
    if pa.types.is_struct(kind):
        return _STRUCTS[kind](**{part.name: _unpack(value[part.name], part.type) for part in kind})
    return value


def to_table(kind: str, records: Iterable[Record], schema: pa.Schema | None = None) -> pa.Table:
    """Records of one kind as an Arrow table of `schema`, by default `SCHEMAS[kind]`.

    Raises:
        InputError: a record is of another kind.
    """
    schema, wanted = schema or SCHEMAS[kind], RECORD_TYPES[kind]
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for record in records:
        if type(record) is not wanted:
            raise InputError(f"a {record.kind} record was written into an artefact of kind {kind}")
        for column in schema:
            value = getattr(record, column.name)
            if column.name == "extra":
                columns["extra"].append(json_text(dict(value)))
            else:
                columns[column.name].append(_pack(value, column.type))
    return pa.table(columns, schema=schema)


def from_table(wanted: type[R], table: pa.Table) -> list[R]:
    """The inverse of `to_table`; columns that were not read get the field's default.

    Raises:
        InputError: a column that has no default is missing.
    """
    schema = SCHEMAS[wanted.kind]
    missing = [f.name for f in fields(wanted) if f.name not in table.schema.names and _required(f)]
    if missing:
        raise InputError(f"a {wanted.kind} table lacks the columns {', '.join(missing)}")
    names = [name for name in schema.names if name in table.schema.names]
    types = {name: schema.field(name).type for name in names}
    records = []
    for row in table.select(names).to_pylist():
        values = {name: _unpack(row[name], types[name]) for name in names}
        if "extra" in values:
            values["extra"] = json.loads(values["extra"])
        records.append(wanted(**values))
    return records


def _required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING
