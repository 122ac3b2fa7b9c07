"""The columns that an index shows: one Parquet row a vector, in the order of the vectors."""

from __future__ import annotations

import base64
import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from eosin.artefacts.parquet import open_parquet, read_parquet
from eosin.errors import ArtefactError
from eosin.evidence import Citation

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("label", pa.string()),
        ("caption", pa.string()),
        ("thumbnail", pa.binary()),
    ]
)
ROWS_PER_GROUP = 100
_CACHED_GROUPS = 64
_MAGIC = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"RIFF": "image/webp"}


class IdsHash:
    """sha256 over ids in their order: what ties the columns to the vectors."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, ids: Iterable[str]) -> None:
        """Take in the next ids."""
        for item in ids:
            encoded = item.encode()
            self._digest.update(len(encoded).to_bytes(4, "big") + encoded)

    @property
    def value(self) -> str:
        """The hash of all ids so far, as hex."""
        return self._digest.hexdigest()


class CaseColumns:
    """The columns of an index, by row number. Text stays in memory, thumbnails are read when they are shown.

    May be used from any number of threads.

    Args:
        path: the Parquet file.

    Raises:
        ArtefactError: the file is not one of Eosin's, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_parquet(path) as file:
            metadata = file.metadata
        if metadata.schema.to_arrow_schema().names != SCHEMA.names:
            raise ArtefactError(f"{path}: its columns are not those of an index ({', '.join(SCHEMA.names)}); build the index again")
        self._starts = np.cumsum([0] + [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]).tolist()
        table = read_parquet(path, [name for name in SCHEMA.names if name != "thumbnail"])
        self._columns = {name: table.column(name).combine_chunks() for name in table.schema.names}
        groups = pc.dictionary_encode(self._columns["group"])
        self._group_of_row: NDArray[np.int32] = groups.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        self._group_number = {name: number for number, name in enumerate(groups.dictionary.to_pylist())}
        self._group_size = np.bincount(self._group_of_row, minlength=len(self._group_number))
        self._lock = threading.Lock()
        self._thumbnails: OrderedDict[int, list[bytes | None]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def ids_hash(self) -> str:
        """sha256 over all ids in their order."""
        digest = IdsHash()
        digest.update(self._columns["id"].to_pylist())
        return digest.value

    def numbers_of(self, groups: Iterable[str]) -> NDArray[np.int32]:
        """The inner numbers of the groups that occur here."""
        return np.array(sorted(self._group_number[name] for name in set(groups) if name in self._group_number), dtype=np.int32)

    def count_in(self, group_numbers: NDArray[np.int32]) -> int:
        """How many rows belong to these groups."""
        return int(self._group_size[group_numbers].sum())

    def allowed(self, rows: NDArray[np.int64], group_numbers: NDArray[np.int32], ids: frozenset[str]) -> NDArray[np.bool_]:
        """Which of `rows` belong to none of the groups and have none of the ids."""
        keep = ~np.isin(self._group_of_row[rows], group_numbers)
        if ids:
            names = self._columns["id"].take(pa.array(rows)).to_pylist()
            keep &= np.array([name not in ids for name in names], dtype=bool)
        return keep

    def rows_of(self, group_numbers: NDArray[np.int32], ids: frozenset[str]) -> NDArray[np.int64]:
        """All rows of these groups or with these ids, ascending."""
        held = np.isin(self._group_of_row, group_numbers)
        if ids:
            held |= pc.is_in(self._columns["id"], value_set=pa.array(sorted(ids))).to_numpy(zero_copy_only=False)
        return np.flatnonzero(held).astype(np.int64)

    def citation(self, row: int, score: float) -> Citation:
        """A row as it is cited."""
        text = {name: self._columns[name][row].as_py() for name in ("id", "source", "licence", "group", "label", "caption")}
        thumbnail = self._thumbnail(row)
        return Citation(score=score, thumbnail=data_url(thumbnail) if thumbnail else None, **text)

    def _thumbnail(self, row: int) -> bytes | None:
        number = bisect_right(self._starts, row) - 1
        with self._lock:
            group = self._thumbnails.get(number)
            if group is None:
                with open_parquet(self._path) as file:
                    group = file.read_row_group(number, columns=["thumbnail"]).column("thumbnail").to_pylist()
                self._thumbnails[number] = group
                if len(self._thumbnails) > _CACHED_GROUPS:
                    self._thumbnails.popitem(last=False)
            else:
                self._thumbnails.move_to_end(number)
        thumbnail: bytes | None = group[row - self._starts[number]]
        return thumbnail


def data_url(image: bytes) -> str:
    """Encoded image bytes as a data URL; the type is read from the content."""
    media = next((name for magic, name in _MAGIC.items() if image.startswith(magic)), "application/octet-stream")
    return f"data:{media};base64,{base64.b64encode(image).decode()}"
