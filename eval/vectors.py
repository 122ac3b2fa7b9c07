"""Vectors of an `embeddings` artefact as arrays, without building a record for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eosin.artefacts import Artefact
from eosin.artefacts.parquet import open_parquet
from eosin.artefacts.plan import canonical_json
from eosin.errors import InputError
from eosin.numerics import Floats, unit_rows

COLUMNS = ("id", "source", "licence", "group", "split", "slide", "mpp", "label")
# What an embedder reads beside a data artefact: a folder of images, or tiles and the slides that hold their pixels.
_PICTURES = ("images", "tiles", "slides")
# How vectors are computed and stored where a recipe says nothing else.
_EXACT = {"precision": "fp32", "store": "float32"}


@dataclass(frozen=True)
class Vectors:
    """Rows of a split.

    Attributes:
        facts: the plain columns of each row.
        vectors: float32 [n, d], unit length.
    """

    facts: list[dict[str, Any]]
    vectors: Floats

    def __len__(self) -> int:
        return len(self.facts)


def read_vectors(artefact: Artefact, split: str) -> Vectors:
    """A split's rows that have a label; vectors take 4 d bytes each.

    Raises:
        ArtefactError: the split has no records.
        InputError: no row has a label.
    """
    facts: list[dict[str, Any]] = []
    parts = []
    for rows, vectors in _row_groups(artefact, split):
        keep = [number for number, row in enumerate(rows) if row["label"]]
        facts += [rows[number] for number in keep]
        parts.append(vectors[keep])
    if not facts:
        raise InputError(f"{artefact.path}: no vector of split {split!r} has a label")
    return Vectors(facts, np.concatenate(parts))


def _row_groups(artefact: Artefact, split: str) -> Iterator[tuple[list[dict[str, Any]], Floats]]:
    for shard in artefact.shards(split):
        with open_parquet(shard) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, columns=[*COLUMNS, "vector"])
                yield table.select(list(COLUMNS)).to_pylist(), as_array(table.column("vector"), shard)


def as_array(column: pa.ChunkedArray, where: Path) -> Floats:
    """A column of lists as float32 [n, d], unit length.

    Raises:
        InputError: the vectors are not of one length, or not of unit length: they were not written by an embedder.
    """
    lists = column.combine_chunks()
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    if not len(lists) or len(flat) % len(lists) or len(set(np.diff(lists.offsets.to_numpy()).tolist())) > 1:
        raise InputError(f"{where}: its vectors are not all of one length")
    vectors = flat.reshape(len(lists), -1)
    # A vector stored in float16 is off by a thousandth.
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1.0, atol=5e-3):
        raise InputError(
            f"{where}: vectors have lengths from {lengths.min():.3g} to {lengths.max():.3g}, not 1: these are not the projected, "
            "normalised vectors of an embedder. Embed the images with eosin clip embed"
        )
    return unit_rows(vectors)


@dataclass(frozen=True)
class SlideTiles:
    """The tiles of a slide.

    Attributes:
        slide: its name.
        facts: the plain columns of each tile.
        extras: each tile's `extra`.
        vectors: float32 [tiles, d], unit length.
    """

    slide: str
    facts: list[dict[str, Any]]
    extras: list[dict[str, Any]]
    vectors: Floats

    def places(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """x, y and size of each tile at level 0, float64 [tiles, 3]; None where a tile lacks them."""
        keys = ("x", "y", "size")
        if any(extra.get(key) is None for extra in self.extras for key in keys):
            return None
        return np.array([[float(extra[key]) for key in keys] for extra in self.extras])


class SlideReader:
    """Slides of an embeddings artefact, one at a time: memory is that of the largest slide and a row group.

    Args:
        artefact: embeddings of tiles.
        split: which tiles; empty for all.

    Raises:
        InputError: a tile names no slide.
    """

    def __init__(self, artefact: Artefact, split: str = "") -> None:
        self._where: dict[str, list[tuple[Path, int, list[int]]]] = {}
        for shard in artefact.shards(split or None):
            with open_parquet(shard) as file:
                for group in range(file.num_row_groups):
                    self._add(shard, group, file.read_row_group(group, columns=["slide"]).column("slide").to_pylist())
        self.slides = tuple(sorted(self._where))

    def _add(self, shard: Path, group: int, slides: list[str | None]) -> None:
        rows: dict[str, list[int]] = {}
        for row, slide in enumerate(slides):
            if not slide:
                raise InputError(f"{shard.name}, row {row}: a tile without a slide; embed tiles whose records name their slide")
            rows.setdefault(slide, []).append(row)
        for slide, found in rows.items():
            self._where.setdefault(slide, []).append((shard, group, found))

    def __contains__(self, slide: str) -> bool:
        return slide in self._where

    def facts(self, slide: str) -> list[dict[str, Any]]:
        """The plain columns of all tiles of a slide, without their vectors."""
        found: list[dict[str, Any]] = []
        for shard, group, rows in self._where[slide]:
            with open_parquet(shard) as file:
                found += file.read_row_group(group, columns=list(COLUMNS)).take(rows).to_pylist()
        return found

    def read(self, slide: str) -> SlideTiles:
        """All tiles of a slide, in the artefact's order."""
        facts: list[dict[str, Any]] = []
        extras: list[dict[str, Any]] = []
        parts = []
        for shard, group, rows in self._where[slide]:
            with open_parquet(shard) as file:
                table = file.read_row_group(group, columns=[*COLUMNS, "extra", "vector"]).take(rows)
            facts += table.select(list(COLUMNS)).to_pylist()
            extras += [json.loads(extra) for extra in table.column("extra").to_pylist()]
            parts.append(as_array(table.column("vector"), shard))
        return SlideTiles(slide, facts, extras, np.concatenate(parts))


def benchmark_of(artefact: Artefact) -> str:
    """The digest of the images behind the vectors: equal for every encoder that embedded the same data, folder, or tiles of slides."""
    digests = {ref.name: ref.digest for ref in artefact.plan.inputs}
    if "data" in digests:
        return digests["data"]
    found = [[name, digests[name]] for name in _PICTURES if name in digests]
    return hashlib.sha256(canonical_json(found)).hexdigest() if found else artefact.digest


def model_of(artefact: Artefact) -> str:
    """The encoder as a run's model: its fingerprint, with how the vectors were rounded where they were: another model to be ranked.

    Raises:
        InputError: see `encoder_of`.
    """
    settings = artefact.plan.settings
    rounded = [str(settings[key]) for key, exact in _EXACT.items() if settings.get(key, exact) != exact]
    return " ".join([encoder_of(artefact), *rounded])


def encoder_of(artefact: Artefact) -> str:
    """The fingerprint of the encoder.

    Raises:
        InputError: the artefact does not say.
    """
    found = artefact.plan.facts.get("fingerprint")
    if not found:
        raise InputError(f"{artefact.path}: these embeddings do not say which model made them; embed with eosin clip embed")
    return str(found)


def refuse_shared_groups(parts: dict[str, set[str]]) -> None:
    """A patient or slide in two parts would make the score that of a memory.

    Args:
        parts: name -> its groups, as `group_key` names them.

    Raises:
        InputError: a group is in two parts.
    """
    names = list(parts)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            if shared := sorted(parts[one] & parts[other]):
                shown = ", ".join(key.replace("\n", "/") for key in shared[:3])
                raise InputError(
                    f"{len(shared)} groups are in both {one} and {other}, such as {shown}: a probe would be asked what it learnt"
                )
