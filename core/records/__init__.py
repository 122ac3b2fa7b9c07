"""Records and their Arrow schemas: what a row of each data artefact holds.

A record is a frozen dataclass; `SCHEMAS[kind]` is how it lies in Parquet. Images are `struct<bytes, path>` and carry the
`huggingface` schema metadata that makes `datasets.load_dataset` decode them (without it the column stays a plain struct).

Boxes are fractions of the image in [0, 1]; boxes written in text are whole numbers 0 to 999 (`box_to_text`).
"""

from eosin.records.arrow import RECORD_TYPES, REJECT_SCHEMA, SCHEMA_VERSION, SCHEMAS, from_table, half_vectors, to_table
from eosin.records.kinds import (
    PART_TYPES,
    ROLES,
    SPLITS,
    TASKS,
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
    Record,
    Region,
    Reject,
    Slide,
    Tile,
    box_to_text,
)
from eosin.records.plain import json_text, unwritable

__all__ = [
    "PART_TYPES",
    "RECORD_TYPES",
    "REJECT_SCHEMA",
    "ROLES",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SPLITS",
    "TASKS",
    "Box",
    "ClusterMember",
    "Conversation",
    "Embedding",
    "Exported",
    "Finding",
    "Fingerprint",
    "ImageText",
    "LabelledImage",
    "Message",
    "Part",
    "Prediction",
    "Provenance",
    "Record",
    "Region",
    "Reject",
    "Slide",
    "Tile",
    "box_to_text",
    "from_table",
    "half_vectors",
    "json_text",
    "to_table",
    "unwritable",
]
