"""What an artefact will be, decided before work starts: settings, inputs by digest, tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from eosin.errors import ArtefactError
from eosin.records import SCHEMA_VERSION

KINDS = (
    "image_text",
    "conversations",
    "labelled_images",
    "slides",
    "tiles",
    "embeddings",
    "fingerprints",
    "clusters",
    "predictions",
    "exported",
    "clip_model",
    "llm_model",
    "index",
    "scores",
    "audit",
)


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spare spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class InputRef:
    """An input as a plan names it: by digest, never by path."""

    name: str
    kind: str
    digest: str


@dataclass(frozen=True)
class Task:
    """A piece of work that makes one shard: items `start` to `stop` (exclusive) of `source`, all of one split."""

    source: str
    start: int
    stop: int
    split: str = "none"


@dataclass(frozen=True)
class Plan:
    """What decides an artefact.

    Attributes:
        kind: one of `KINDS`.
        command: what makes it, such as `clip train`.
        settings: the resolved config without its inputs, as plain JSON values.
        inputs: by digest.
        tasks: in the order of the shards.
        facts: what readers need and is known beforehand: title, classes, formats.
    """

    kind: str
    command: str
    settings: Mapping[str, Any]
    inputs: tuple[InputRef, ...] = ()
    tasks: tuple[Task, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArtefactError(f"an artefact of kind {self.kind!r} is unknown; known: {', '.join(KINDS)}")

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return json.loads(canonical_json(asdict(self)))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """sha256 of the plan."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def shard_names(self) -> list[str]:
        """A file name a task: `{split}-NNNNN`, counted within each split."""
        seen: dict[str, int] = {}
        names = []
        for task in self.tasks:
            number = seen.get(task.split, 0)
            seen[task.split] = number + 1
            names.append(f"{task.split}-{number:05d}")
        return names


def plan_from_json(values: Mapping[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`.

    Raises:
        ArtefactError: a field is missing or unknown, or the schema is of another version.
    """
    if values.get("schema_version") != SCHEMA_VERSION:
        raise ArtefactError(f"schema version {values.get('schema_version')}; this Eosin reads {SCHEMA_VERSION}: build the artefact again")
    try:
        parts = dict(values)
        parts["inputs"] = tuple(InputRef(**item) for item in parts["inputs"])
        parts["tasks"] = tuple(Task(**item) for item in parts["tasks"])
        return Plan(**parts)
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"the plan is not one of Eosin's: {error}") from error
