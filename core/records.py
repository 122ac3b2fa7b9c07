"""Records and their Arrow schemas: what a row of each data artefact holds.

A record is a frozen dataclass; `SCHEMAS[kind]` is how it lies in Parquet. Images are `struct<bytes, path>` and carry the
`huggingface` schema metadata that makes `datasets.load_dataset` decode them (without it the column stays a plain struct).

Boxes are fractions of the image in [0, 1]; boxes written in text are whole numbers 0 to 999 (`box_to_text`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from eosin.errors import InputError

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test", "none")
ROLES = ("system", "user", "assistant", "tool")
PART_TYPES = ("text", "image", "slide")
TASKS = ("open", "closed", "mcq", "caption", "report", "grounding", "tool")

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_BOX = pa.struct([("x0", pa.float64()), ("y0", pa.float64()), ("x1", pa.float64()), ("y1", pa.float64()), ("label", pa.string())])
_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.list_(_PART))])
_REGION = pa.struct([("x", pa.int64()), ("y", pa.int64()), ("width", pa.int64()), ("height", pa.int64())])
_PROVENANCE = pa.struct([("prompt", pa.string()), ("model", pa.string())])


@dataclass(frozen=True)
class Part:
    """One part of a message: text, the next image of the record, or a slide named by `text`."""

    type: str
    text: str | None = None


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined by line breaks."""
        return "\n".join(part.text or "" for part in self.content if part.type == "text")


@dataclass(frozen=True)
class Box:
    """A labelled box: fractions of the image's width and height, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str

    def __post_init__(self) -> None:
        if not (0.0 <= self.x0 < self.x1 <= 1.0 and 0.0 <= self.y0 < self.y1 <= 1.0):
            raise InputError(f"a box must satisfy 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, in fractions of the image; got {self}")


@dataclass(frozen=True)
class Region:
    """Where an image was cut from its slide: pixels of level 0."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Provenance:
    """What generated a record: hash of the prompt file and fingerprint of the model."""

    prompt: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The columns every data record has.

    Attributes:
        id: source + "/" + the publisher's own key; stable, never a hash of the content.
        source: the data set it came from.
        licence: SPDX name where there is one, else the publisher's words.
        group: the unit that must not cross splits: patient, slide, video or article.
        split: one of `SPLITS`.
        slide: the slide's name, where there is one.
        mpp: microns per pixel of the image.
        provenance: for generated records; null for plain data.
        extra: anything else, kept as JSON.
    """

    kind: ClassVar[str]
    id: str
    source: str
    licence: str
    group: str
    split: str = "none"
    slide: str | None = None
    mpp: float | None = None
    provenance: Provenance | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("id", "source", "licence", "group"):
            if not getattr(self, name):
                raise InputError(f"{self.kind} record {self.id!r}: {name} is empty; every record needs one")
        if self.split not in SPLITS:
            raise InputError(f"{self.kind} record {self.id!r}: split is {self.split!r}; allowed: {', '.join(SPLITS)}")


@dataclass(frozen=True, kw_only=True)
class ImageText(Record):
    """An image with captions. `image` holds the encoded bytes."""

    kind: ClassVar[str] = "image_text"
    image: bytes
    captions: tuple[str, ...]
    organ: str | None = None
    stain: str | None = None
    region: Region | None = None


@dataclass(frozen=True, kw_only=True)
class Conversation(Record):
    """A conversation over images: the n-th image part of `messages` is `images[n]`.

    Attributes:
        task: one of `TASKS`.
        answer: the gold answer, where there is one (for mcq: the full text of the right option).
        options: the choices of an mcq, in the order shown.
    """

    kind: ClassVar[str] = "conversations"
    images: tuple[bytes, ...]
    messages: tuple[Message, ...]
    task: str
    answer: str | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in TASKS:
            raise InputError(f"conversation {self.id!r}: task is {self.task!r}; allowed: {', '.join(TASKS)}")
        for message in self.messages:
            if message.role not in ROLES:
                raise InputError(f"conversation {self.id!r}: role is {message.role!r}; allowed: {', '.join(ROLES)}")
            for part in message.content:
                if part.type not in PART_TYPES:
                    raise InputError(f"conversation {self.id!r}: part type is {part.type!r}; allowed: {', '.join(PART_TYPES)}")
        parts = sum(part.type == "image" for message in self.messages for part in message.content)
        if parts != len(self.images):
            raise InputError(f"conversation {self.id!r}: {parts} image parts but {len(self.images)} images")


@dataclass(frozen=True, kw_only=True)
class LabelledImage(Record):
    """An image with a label; `mask` is a PNG; the class list lies in the manifest."""

    kind: ClassVar[str] = "labelled_images"
    image: bytes
    label: str | None = None
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Slide(Record):
    """A whole slide: `path` is relative to the artefact, or to the root that `run.json` names."""

    kind: ClassVar[str] = "slides"
    path: str
    case: str | None = None
    width: int
    height: int
    labels: tuple[str, ...] = ()
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tile(Record):
    """A tile of a slide's grid: level-0 origin, side in pixels at `mpp`; kept, or why not."""

    kind: ClassVar[str] = "tiles"
    x: int
    y: int
    size: int
    kept: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Embedding(Record):
    """A unit-length float32 vector and the columns retrieval shows; `thumbnail` holds encoded bytes."""

    kind: ClassVar[str] = "embeddings"
    vector: tuple[float, ...]
    caption: str | None = None
    label: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """One answer of one model to one question; scoring needs nothing else.

    Attributes:
        question: id of the record that was asked.
        benchmark: digest of the artefact the question came from.
        condition: how it was asked: `plain`, `blind` (black image), `evidence`, ...
        task: `zero_shot` or one of `TASKS`.
        answer: the gold answer.
        options: what could be answered, where that is closed.
        reply: the model's words, untouched.
        finish_reason: `stop`, `length`, `error`, or `argmax` for a classifier.
        prompt_hash: sha256 of all that was sent but the images.
        image_hashes: sha256 of the encoded images that were sent.
        model: fingerprint of the model.
        scores: one number per option (log-likelihoods or cosine logits), or empty.
        topic: what the score is broken down by: the class or question form.
    """

    kind: ClassVar[str] = "predictions"
    question: str
    benchmark: str
    condition: str
    task: str
    answer: str
    options: tuple[str, ...] = ()
    reply: str
    finish_reason: str
    prompt_hash: str
    image_hashes: tuple[str, ...] = ()
    model: str
    scores: tuple[float, ...] = ()
    topic: str | None = None


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Reject:
    """A record that was not taken: its key at the source, a short stable reason, and what was wrong."""

    key: str
    reason: str
    message: str


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


def to_table(kind: str, records: Iterable[Record]) -> pa.Table:
    """Records of one kind as an Arrow table of `SCHEMAS[kind]`.

    Raises:
        InputError: a record is of another kind.
    """
    schema, wanted = SCHEMAS[kind], RECORD_TYPES[kind]
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for record in records:
        if type(record) is not wanted:
            raise InputError(f"a {record.kind} record was written into an artefact of kind {kind}")
        for column in schema:
            value = getattr(record, column.name)
            if column.name == "extra":
                columns["extra"].append(json.dumps(dict(value), sort_keys=True, ensure_ascii=False))
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


def box_to_text(box: Box) -> str:
    """A box as models read and write it: `[x0, y0, x1, y1]`, whole numbers 0 to 999 relative to the image."""
    return "[" + ", ".join(str(round(value * 999)) for value in (box.x0, box.y0, box.x1, box.y1)) + "]"
