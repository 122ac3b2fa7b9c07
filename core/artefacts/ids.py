"""Ids are unique over all shards of an artefact: checked from their hashes, 8 bytes a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts.parquet import open_parquet
from eosin.errors import InputError

_BATCH = 1 << 16


def check_ids(shards: Sequence[Path]) -> None:
    """Read the ids of all shards; of one shard alone the writer has seen to them.

    Raises:
        InputError: an id is in two shards.
        ArtefactError: a shard is damaged.
    """
    if len(shards) < 2:
        return
    hashes = np.concatenate([_hashes(ids) for _, ids in _ids(shards)])
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if twice.size:
        _compare(shards, twice)


def _compare(shards: Sequence[Path], suspected: NDArray[np.int64]) -> None:
    """Equal hashes need not be equal ids: only the ids themselves tell."""
    seen: dict[str, Path] = {}
    for shard, ids in _ids(shards):
        for place in np.flatnonzero(np.isin(_hashes(ids), suspected)):
            first = seen.setdefault(ids[place], shard)
            if first != shard:
                raise InputError(
                    f"the id {ids[place]!r} is in {first.name} and in {shard.name} of {shard.parent}; ids must be unique over all "
                    "splits and sources: take the record out of one of them, or name one of them otherwise, and build into a new folder"
                )


def _ids(shards: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
    """The ids in pieces, each with the shard they are in."""
    for shard in shards:
        with open_parquet(shard) as file:
            for batch in file.iter_batches(_BATCH, columns=["id"]):
                yield shard, batch.column("id").to_pylist()


def _hashes(ids: list[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, ids), np.int64, len(ids))
