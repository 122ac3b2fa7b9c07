"""Random access to the records of an artefact at bounded memory."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from eosin.artefacts.parquet import open_parquet
from eosin.artefacts.reader import Artefact
from eosin.errors import ArtefactError
from eosin.records import RECORD_TYPES, Record, from_table

R = TypeVar("R", bound=Record)


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
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        self._length = 0
        for shard in artefact.shards(split):
            with open_parquet(shard) as file:
                metadata = file.metadata
            for number in range(metadata.num_row_groups):
                self._groups.append((shard, number))
                self._starts.append(self._length)
                self._length += metadata.row_group(number).num_rows
        self._cache: OrderedDict[int, list[R]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> R:
        if not 0 <= index < self._length:
            raise IndexError(index)
        group = bisect_right(self._starts, index) - 1
        return self._read(group)[index - self._starts[group]]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def _read(self, group: int) -> list[R]:
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        shard, number = self._groups[group]
        with open_parquet(shard) as file:
            records = from_table(self._record_type, file.read_row_group(number, columns=self._columns))
        self._cache[group] = records
        if len(self._cache) > self._cached_groups:
            self._cache.popitem(last=False)
        return records


def kept_table(artefact: Artefact, record_type: type[R], split: str, columns: Sequence[str] | None = None) -> RecordTable[R]:
    """A table that this process keeps: to make one opens every shard of the split, which is too dear to do for every task.

    One row group stays in memory: right for records that are read in their order.

    Raises:
        ArtefactError: see `RecordTable`.
    """
    return _kept_table(_Key(artefact), record_type, split, None if columns is None else tuple(columns))


class _Key:
    """An artefact, equal to another of the same folder and content."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self._value = (str(artefact.path.absolute()), artefact.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


@functools.lru_cache(maxsize=8)
def _kept_table(key: _Key, record_type: type[R], split: str, columns: tuple[str, ...] | None) -> RecordTable[R]:
    return RecordTable(key.artefact, record_type, split, columns, cached_groups=1)
