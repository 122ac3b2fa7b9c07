"""Which questions are asked: a choice that is fixed before any model is loaded, and the same on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact, Task
from eosin.artefacts.parquet import open_parquet
from eosin.artefacts.plan import canonical_json
from eosin.errors import InputError
from eosin.pipeline import chunked


@dataclass(frozen=True)
class Candidate:
    """A record that could be asked.

    Attributes:
        row: its number within its split.
        id: the record's.
        group: what must not be over-represented.
        kind: the task a limit counts.
        left_out: why it is not asked, or None.
    """

    row: int
    id: str
    group: str
    kind: str
    left_out: str | None = None


@dataclass(frozen=True)
class Selection:
    """The questions of a run.

    Attributes:
        rows: their numbers within the split, ascending.
        ids: their ids, in the same order.
        left_out: reason -> how many records were not asked.
    """

    rows: tuple[int, ...]
    ids: tuple[str, ...]
    left_out: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """What a plan says of the questions."""
        digest = hashlib.sha256(canonical_json(list(self.ids))).hexdigest()
        return {"asked": len(self.rows), "left_out": self.left_out, "ids_sha256": digest}

    def tasks(self, source: str, split: str, size: int) -> list[Task]:
        """Slices of the questions, one shard each, nearly equal: a lone last question could not tell a bad one from a dead server."""
        shards = math.ceil(len(self.rows) / size)
        return chunked(source, split, len(self.rows), math.ceil(len(self.rows) / shards))

    def pictured(self, count: int) -> frozenset[str]:
        """The ids of the `count` questions that keep a picture: the same ones whatever the condition."""
        return frozenset(sorted(self.ids, key=stable_order)[:count])


def stable_order(name: str) -> str:
    """A sort key that has nothing to do with the name's place in its data set."""
    return hashlib.sha256(name.encode()).hexdigest()


def select(candidates: Iterable[Candidate], limit_per_kind: int | None, seed: int) -> Selection:
    """All candidates that may be asked, or at most `limit_per_kind` of each kind, spread evenly over groups.

    Raises:
        InputError: nothing is left to ask.
    """
    left_out = Counter[str]()
    kinds: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.left_out:
            left_out[candidate.left_out] += 1
        else:
            kinds.setdefault(candidate.kind, []).append(candidate)
    chosen = []
    for members in kinds.values():
        taken = _spread(members, limit_per_kind, seed)
        left_out["beyond the limit"] += len(members) - len(taken)
        chosen += taken
    if not chosen:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count) or "no records"
        raise InputError(f"there is nothing to ask: {reasons}")
    chosen.sort(key=lambda candidate: candidate.row)
    return Selection(
        tuple(candidate.row for candidate in chosen),
        tuple(candidate.id for candidate in chosen),
        {reason: count for reason, count in sorted(left_out.items()) if count},
    )


def _spread(members: Sequence[Candidate], limit: int | None, seed: int) -> list[Candidate]:
    """`limit` of them: the first of every group, then the second of every group, and so on, in an order drawn by hash."""
    if limit is None or len(members) <= limit:
        return list(members)
    groups: dict[str, list[Candidate]] = {}
    for candidate in sorted(members, key=lambda candidate: stable_order(f"{seed}:{candidate.id}")):
        groups.setdefault(candidate.group, []).append(candidate)
    order = {group: stable_order(f"{seed}:{group}") for group in groups}
    ranked = [(rank, order[group], candidate) for group, inside in groups.items() for rank, candidate in enumerate(inside)]
    return [candidate for _, _, candidate in sorted(ranked, key=lambda item: item[:2])[:limit]]


def read_columns(artefact: Artefact, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a split as plain mappings, without the columns that are not asked for (images).

    Raises:
        ArtefactError: no records of that split.
    """
    for shard in artefact.shards(split):
        with open_parquet(shard) as file:
            for number in range(file.num_row_groups):
                yield from file.read_row_group(number, columns=list(columns)).to_pylist()
