"""The records of a `tiles` artefact, task by task: each is some rows of one slide's grid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eosin.artefacts import Artefact
from eosin.artefacts.parquet import open_parquet
from eosin.errors import InputError
from eosin.records import Tile, from_table


def shards_of(tiles: Artefact) -> dict[tuple[str, int], str]:
    """(slide, first row) -> the file of that task of a `tiles` artefact."""
    names = tiles.plan.shard_names()
    return {(task.source, task.start): f"data/{name}.parquet" for name, task in zip(names, tiles.plan.tasks, strict=True)}


def all_tiles(tiles: Artefact, shard: str) -> Iterator[Tile]:
    """A shard's tiles, a row group at a time.

    Raises:
        InputError: the artefact does not hold the shard.
    """
    if shard not in tiles.manifest["files"]:
        raise InputError(f"{tiles.path} has no {shard}; every task of it has tiles")
    with open_parquet(Path(tiles.path) / shard) as file:
        for number in range(file.num_row_groups):
            yield from from_table(Tile, file.read_row_group(number))


def kept_tiles(tiles: Artefact, shard: str) -> Iterator[Tile]:
    """Those of `all_tiles` that were kept."""
    return (tile for tile in all_tiles(tiles, shard) if tile.kept)
