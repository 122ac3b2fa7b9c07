"""Several data sets as one: their records by number, one set behind the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, RecordTable
from eosin.artefacts.table import row_groups
from eosin.records import ImageText


@dataclass(frozen=True)
class Joined:
    """The records of one split of one or more image_text artefacts.

    Attributes:
        artefacts: in order.
        split: of all of them.
    """

    artefacts: tuple[Artefact, ...]
    split: str

    @property
    def name(self) -> str:
        """For messages."""
        return ", ".join(str(artefact.path) for artefact in self.artefacts)

    def blocks(self) -> tuple[NDArray[np.int64], int]:
        """Number of the first record of each row group, and how many records there are.

        Raises:
            ArtefactError: an artefact has no such split, or a shard is damaged.
        """
        starts, rows = [], 0
        for artefact in self.artefacts:
            groups = row_groups(artefact, self.split)
            starts.append(rows + np.array(groups.starts, dtype=np.int64))
            rows += groups.rows
        return np.concatenate(starts), rows

    def records(self, columns: Sequence[str]) -> Iterator[ImageText]:
        """All records in order."""
        for artefact in self.artefacts:
            yield from artefact.records(ImageText, self.split, columns)

    def table(self, columns: Sequence[str], window: int, spare: int) -> JoinedTable:
        """The records by number.

        Args:
            columns: that are read.
            window: records that are drawn from at a time: so many stay in memory.
            spare: row groups beyond them.
        """
        found = [row_groups(artefact, self.split) for artefact in self.artefacts]
        rows = sum(groups.rows for groups in found)
        tables = []
        for artefact, groups in zip(self.artefacts, found, strict=True):
            count = len(groups.starts)
            held = -(-window * count // rows)
            # A window takes row groups by chance: of each of several sets about its share, rarely four deviations more.
            more = 4 * isqrt(held) if len(found) > 1 else 0
            tables.append(RecordTable(artefact, ImageText, self.split, columns, min(count, held + more + spare)))
        return JoinedTable(tables)


class JoinedTable:
    """Records of several tables by number."""

    def __init__(self, tables: Sequence[RecordTable[ImageText]]) -> None:
        self._tables = tables
        self._ends = np.cumsum([len(table) for table in tables])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> ImageText:
        place = int(np.searchsorted(self._ends, index, side="right"))
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._tables[place][index - (int(self._ends[place - 1]) if place else 0)]
