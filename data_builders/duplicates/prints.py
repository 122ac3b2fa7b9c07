"""Fingerprints of one or several data sets as arrays: for a million images about 700 MB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.artefacts.parquet import open_parquet
from eosin.data_builders.duplicates.image_hash import SPECTRUM, WINDOWS, WORDS, Bits
from eosin.data_builders.duplicates.overlay import SIDE as GREY_SIDE

_SIGNS_SHAPE = (len(WINDOWS), WORDS)
_TAKEN = ("id", "record", "place", "source", "group", "slide", "split", "label", "words")
_COLUMNS = [*_TAKEN, "width", "height", "file", "pixels", "signs", "spectrum", "colour", "extra"]


@dataclass(frozen=True)
class Prints:
    """A row a fingerprint, of all data sets one after the other.

    Attributes:
        ids: the images' ids.
        records: the records' ids.
        data: int64 [n], the number of the data set.
        place: int64 [n]; -1 for a record without images.
        sources: of the records.
        groups: likewise.
        slides: likewise, or None.
        splits: likewise.
        labels: likewise, or None.
        size: int64 [n], pixels in the image.
        digests: of the decoded pixels, else of the file; empty without an image.
        hashed: int64 [m], rows with a perceptual hash.
        signs: uint64 [m, windows, 4].
        spectra: float16 [m, 2, d].
        told: int64 [t], rows whose text is long enough to be compared.
        words: their sketches.
        colour: float32 [n, 6], NaN where no image was decoded.
        origin: int64 [n], the row in the artefacts, for `GreyPictures`.
        problems: reason -> count of images without a perceptual hash.
    """

    ids: list[str]
    records: list[str]
    data: NDArray[np.int64]
    place: NDArray[np.int64]
    sources: list[str]
    groups: list[str]
    slides: list[str | None]
    splits: list[str]
    labels: list[str | None]
    size: NDArray[np.int64]
    digests: NDArray[np.bytes_]
    hashed: NDArray[np.int64]
    signs: Bits
    spectra: NDArray[np.float16]
    told: NDArray[np.int64]
    words: list[bytes]
    colour: NDArray[np.float32]
    origin: NDArray[np.int64]
    problems: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def load_prints(artefacts: Sequence[Artefact]) -> Prints:
    """All rows of `fingerprints` artefacts, but the grey pictures."""
    plain: dict[str, list[Any]] = {name: [] for name in (*_TAKEN, "data")}
    sizes, digests, signs, spectra, hashed, colour = [], [], [], [], [], []
    problems: dict[str, int] = {}
    row = 0
    for number, artefact in enumerate(artefacts):
        for table in _tables(artefact, _COLUMNS):
            for name in _TAKEN:
                plain[name] += table.column(name).to_pylist()
            plain["data"] += [number] * len(table)
            sizes.append(table.column("width").to_numpy() * table.column("height").to_numpy())
            digests += [
                pixels or file for pixels, file in zip(*(table.column(name).to_pylist() for name in ("pixels", "file")), strict=True)
            ]
            there = np.flatnonzero(table.column("signs").is_valid().to_numpy())
            hashed.append(there + row)
            signs.append(_packed(table, "signs", "<u8", _SIGNS_SHAPE))
            spectra.append(_packed(table, "spectrum", "<f2", (2, SPECTRUM)))
            colour.append(_colours(table))
            _count_problems(table, problems)
            row += len(table)
    words = plain["words"]
    told = [place for place, sketch in enumerate(words) if sketch is not None]
    return Prints(
        ids=plain["id"],
        records=plain["record"],
        data=np.array(plain["data"], np.int64),
        place=np.array(plain["place"], np.int64),
        sources=plain["source"],
        groups=plain["group"],
        slides=plain["slide"],
        splits=plain["split"],
        labels=plain["label"],
        size=_concatenated(sizes, (0,), np.int64),
        digests=np.array(digests, dtype="S32"),
        hashed=_concatenated(hashed, (0,), np.int64),
        signs=_concatenated(signs, (0, *_SIGNS_SHAPE), np.uint64),
        spectra=_concatenated(spectra, (0, 2, SPECTRUM), np.float16),
        told=np.array(told, np.int64),
        words=[words[place] for place in told],
        colour=_concatenated(colour, (0, 6), np.float32),
        origin=np.arange(row),
        problems=dict(sorted(problems.items())),
    )


def of_rows(prints: Prints, rows: NDArray[np.int64]) -> Prints:
    """Only these rows, in their order, which must be ascending; `rows` of the result are numbered anew."""
    chosen = rows.tolist()
    hashed, told = np.isin(prints.hashed, rows), np.isin(prints.told, rows)
    lists: dict[str, Any] = {
        name: [getattr(prints, name)[row] for row in chosen]
        for name in ("ids", "records", "sources", "groups", "slides", "splits", "labels")
    }
    arrays: dict[str, Any] = {name: getattr(prints, name)[rows] for name in ("data", "place", "size", "digests", "colour", "origin")}
    return replace(
        prints,
        **lists,
        **arrays,
        hashed=np.searchsorted(rows, prints.hashed[hashed]),
        signs=prints.signs[hashed],
        spectra=prints.spectra[hashed],
        told=np.searchsorted(rows, prints.told[told]),
        words=[words for words, kept in zip(prints.words, told.tolist(), strict=True) if kept],
    )


def _tables(artefact: Artefact, columns: list[str]) -> Iterator[pa.Table]:
    for shard in artefact.shards():
        with open_parquet(shard) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=columns)


def _packed(table: pa.Table, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values = [value for value in table.column(name).to_pylist() if value is not None]
    return np.frombuffer(b"".join(values), dtype=dtype).reshape(len(values), *shape)


def _colours(table: pa.Table) -> NDArray[np.float32]:
    return np.array([row or [np.nan] * 6 for row in table.column("colour").to_pylist()], dtype=np.float32).reshape(-1, 6)


def _count_problems(table: pa.Table, counts: dict[str, int]) -> None:
    for extra in table.column("extra").to_pylist():
        problem = json.loads(extra).get("problem")
        if problem:
            counts[problem] = counts.get(problem, 0) + 1


def _concatenated(parts: list[NDArray[Any]], empty: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.empty(empty, dtype)


class GreyPictures:
    """Grey pictures by row number over several `fingerprints` artefacts; a few row groups stay in memory."""

    def __init__(self, artefacts: Sequence[Artefact], cached: int = 256) -> None:
        self._places: list[tuple[Any, int]] = []
        starts, rows = [], 0
        for artefact in artefacts:
            for shard in artefact.shards():
                with open_parquet(shard) as file:
                    metadata = file.metadata
                for number in range(metadata.num_row_groups):
                    self._places.append((shard, number))
                    starts.append(rows)
                    rows += metadata.row_group(number).num_rows
        self._starts = np.array(starts, np.int64)
        self._cached = cached
        self._groups: dict[int, list[bytes | None]] = {}

    def __getitem__(self, row: int) -> NDArray[np.uint8] | None:
        """uint8 [48, 48], or None where the image is blank or unreadable."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group not in self._groups:
            if len(self._groups) >= self._cached:
                self._groups.pop(next(iter(self._groups)))
            shard, number = self._places[group]
            with open_parquet(shard) as file:
                self._groups[group] = file.read_row_group(number, columns=["grey"]).column("grey").to_pylist()
        found = self._groups[group][row - int(self._starts[group])]
        return None if found is None else np.frombuffer(found, np.uint8).reshape(GREY_SIDE, GREY_SIDE)
