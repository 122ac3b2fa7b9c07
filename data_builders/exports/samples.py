"""Records on their way out: which ones, their images as other programs can read them, and their other columns as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eosin.artefacts import Artefact, RecordTable, Task
from eosin.errors import ConfigError
from eosin.images import to_plain
from eosin.pipeline import chunked
from eosin.records import RECORD_TYPES, SPLITS, Exported, Record, Reject

_PNG = b"\x89PNG"


def tasks_of(data: Artefact, splits: Sequence[str], size: int) -> list[Task]:
    """The records of some splits, or of all, as tasks of at most `size`.

    Raises:
        ConfigError: the artefact has no records of a split, or `size` is below 1.
    """
    held = data.manifest["splits"]
    for split in splits:
        if split not in held:
            raise ConfigError(f"splits: {data.path} has no records of split {split!r}; it holds: {', '.join(held) or 'none'}")
    if size < 1:
        raise ConfigError(f"a file holds at least one sample; got {size}")
    wanted = [split for split in SPLITS if split in held and (not splits or split in splits)]
    return [task for split in wanted for task in chunked("data", split, held[split], size)]


def records_of(data: Artefact, task: Task) -> Iterator[Record]:
    """A task's records in their order; one row group at a time is held."""
    table = RecordTable(data, RECORD_TYPES[data.kind], task.split, cached_groups=1)
    for number in range(task.start, task.stop):
        yield table[number]


def image_file(data: bytes) -> tuple[bytes, str]:
    """An image's bytes and suffix; bytes that other readers would show differently become a PNG of our pixels.

    Raises:
        ImageError: it cannot be decoded.
    """
    plain = to_plain(data)
    return plain, "png" if plain.startswith(_PNG) else "jpg"


def columns_of(record: Record, *left_out: str) -> dict[str, Any]:
    """A record's columns but some, as plain JSON values; empty ones are left out."""
    found = {item.name: _plain(getattr(record, item.name)) for item in dataclasses.fields(record) if item.name not in left_out}
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def groups_told(data: Artefact) -> dict[str, str]:
    """What every sample says of the artefact's groups, for files that leave its plan behind."""
    unknown = data.plan.facts.get("groups_unknown")
    return {"groups_unknown": str(unknown)} if unknown else {}


def exported(record: Record, path: str, key: str) -> Exported:
    """Where a record went."""
    common = {item.name: getattr(record, item.name) for item in dataclasses.fields(Record) if item.name != "extra"}
    return Exported(**common, path=path, key=key)


def no_caption(record: Record) -> Reject:
    """The reject of a pair without text: a trainer would learn from an empty one."""
    return Reject(record.id, "no_caption", "it has no caption, and a pair needs one")
