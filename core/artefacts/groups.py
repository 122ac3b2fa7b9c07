"""Groups in several splits: a leak that nobody sees in the records one by one; told of every artefact, whoever made it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts.parquet import open_parquet

_BATCH = 1 << 16
_NAMED = 10
# Records of no split are not used for anything yet.
_USED = ("train", "val", "test")


def groups_across_splits(shards: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """How many groups are in more than one of train, val and test, and the first of them by name with their splits.

    Memory: 8 bytes for each group of each split.

    Args:
        shards: split -> its files.

    Returns:
        `count` and `examples` (group -> splits); empty where no group is.

    Raises:
        ArtefactError: a shard is damaged.
    """
    used = [split for split in _USED if shards.get(split)]
    hashes = {split: _hashes(shards[split]) for split in used} if len(used) > 1 else {}
    common = [np.intersect1d(*both, assume_unique=True) for both in itertools.combinations(hashes.values(), 2)]
    suspected = np.unique(np.concatenate(common)) if common else np.array([], np.int64)
    if not suspected.size:
        return {}
    found: dict[str, set[str]] = {}
    for split in hashes:
        for groups in _groups(shards[split]):
            known = np.isin(_hashed(groups), suspected)
            for place in np.flatnonzero(known):
                found.setdefault(groups[place], set()).add(split)
    across = {group: [split for split in _USED if split in found[group]] for group in sorted(found) if len(found[group]) > 1}
    return {"count": len(across), "examples": dict(itertools.islice(across.items(), _NAMED))} if across else {}


def _hashes(shards: Sequence[Path]) -> NDArray[np.int64]:
    """Of the distinct groups, sorted."""
    found, held, count = np.array([], np.int64), list[NDArray[np.int64]](), 0
    for groups in _groups(shards):
        held.append(_hashed(groups))
        count += len(groups)
        # Not at each shard: there may be thousands of small ones, and each merge sorts all that was found.
        if count > max(_BATCH, len(found)):
            found, held, count = np.unique(np.concatenate([found, *held])), [], 0
    return np.unique(np.concatenate([found, *held]))


def _groups(shards: Sequence[Path]) -> Iterator[list[str]]:
    """The distinct groups, piece by piece."""
    for shard in shards:
        with open_parquet(shard) as file:
            if "group" not in file.schema_arrow.names:
                return
            for batch in file.iter_batches(_BATCH, columns=["group"]):
                yield batch.column("group").unique().to_pylist()


def _hashed(groups: list[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, groups), np.int64, len(groups))
