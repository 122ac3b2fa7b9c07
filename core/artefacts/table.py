"""Random access to the records of an artefact at bounded memory."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from eosin.artefacts.parquet import open_parquet
from eosin.artefacts.reader import Artefact
from eosin.errors import ArtefactError
from eosin.records import RECORD_TYPES, Record, from_table

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RowGroups:
    """Where the rows of an artefact lie.

    Attributes:
        places: of each row group, in order: its file, and its number in there.
        starts: the number of each one's first row.
        rows: of all together.
    """

    places: tuple[tuple[Path, int], ...]
    starts: tuple[int, ...]
    rows: int

    def of_row(self, row: int) -> int:
        """The row group that holds a row."""
        return bisect_right(self.starts, row) - 1


def row_groups(artefact: Artefact, split: str | None = None) -> RowGroups:
    """The row groups of a split, or of all. Kept by this process: to find them opens every shard, too dear to do for every task.

    Raises:
        ArtefactError: there are no records of that split, or a shard is damaged.
    """
    return _row_groups(_Content(artefact), split)


class _Content:
    """An artefact, equal to any of the same folder and content."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self._key = (str(artefact.path.absolute()), artefact.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@functools.lru_cache(maxsize=8)
def _row_groups(content: _Content, split: str | None) -> RowGroups:
    places, starts, rows = [], [], 0
    for shard in content.artefact.shards(split):
        with open_parquet(shard) as file:
            metadata = file.metadata
        for number in range(metadata.num_row_groups):
            # The working directory may change before they are read.
            places.append((shard.absolute(), number))
            starts.append(rows)
            rows += metadata.row_group(number).num_rows
    return RowGroups(tuple(places), tuple(starts), rows)


class RecordTable(Generic[R]):
    """Records by number, in the stable order of the shards; picklable, so that loader workers can hold one.

    Row groups are the unit of reading: neighbours in number are cheap, and `cached_groups` of them stay in memory
    (about 100 records each).

    Args:
        artefact: a finished data artefact.
        record_type: what it holds.
        split: one split, or all.
        columns: the columns to read; fields of the others get their defaults.
        cached_groups: how many row groups stay in memory.

    Raises:
        ArtefactError: the artefact holds other records, or none of that split, or a shard is damaged.
    """

    def __init__(
        self,
        artefact: Artefact,
        record_type: type[R],
        split: str | None = None,
        columns: Sequence[str] | None = None,
        cached_groups: int = 64,
    ) -> None:
        if RECORD_TYPES.get(artefact.kind) is not record_type:
            raise ArtefactError(f"{artefact.path} is of kind {artefact.kind}; {record_type.kind} is wanted")
        self._record_type = record_type
        self._columns = list(columns) if columns is not None else None
        self._cached_groups = cached_groups
        self._groups = row_groups(artefact, split)
        self._cache: OrderedDict[int, list[R]] = OrderedDict()

    def __len__(self) -> int:
        return self._groups.rows

    def __getitem__(self, index: int) -> R:
        if not 0 <= index < self._groups.rows:
            raise IndexError(index)
        group = self._groups.of_row(index)
        return self._read(group)[index - self._groups.starts[group]]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def _read(self, group: int) -> list[R]:
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        shard, number = self._groups.places[group]
        with open_parquet(shard) as file:
            records = from_table(self._record_type, file.read_row_group(number, columns=self._columns))
        self._cache[group] = records
        if len(self._cache) > self._cached_groups:
            self._cache.popitem(last=False)
        return records
