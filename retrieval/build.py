"""`eosin index build`: embeddings become an index and the columns it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eosin.artefacts import Artefact, ArtefactWriter, Plan
from eosin.artefacts.files import replacing
from eosin.artefacts.parquet import open_parquet
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ArtefactError, InputError
from eosin.numerics import Floats
from eosin.progress import bar, say
from eosin.retrieval import vector_index
from eosin.retrieval.case_columns import ROWS_PER_GROUP, SCHEMA, IdsHash
from eosin.retrieval.case_index import COLUMNS_FILE, INDEX_FILE
from eosin.retrieval.config import IndexConfig

_ROWS_A_READ = 8192


def build_index(config: IndexConfig, inputs: Inputs, out: Path, *, overwrite: bool = False) -> Artefact:
    """Make the `index` artefact in `out`; a finished one of the same plan is left as it is.

    Raises:
        ArtefactError: the embeddings do not say which embedder made them, or see `ArtefactWriter`.
        InputError: no records, vectors of several lengths, or vectors that are not of unit length.
    """
    data = inputs.artefacts["data"]
    fingerprint = fingerprint_of_embeddings(data)
    facts = {"title": "Index of cases", "description": f"FAISS index ({config.kind}, inner product) over the embeddings of {fingerprint}."}
    plan = Plan("index", "index build", settings_of(config), inputs.refs, facts=facts)
    with ArtefactWriter(out, plan, overwrite=overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"index: already there, in {out}")
            return writer.finish()
        results = {**_write(config, data, out), "fingerprint": fingerprint}
        artefact = writer.finish(results)
    say(f"index: {results['rows']} cases in {out}")
    return artefact


def fingerprint_of_embeddings(data: Artefact) -> str:
    """The fingerprint of the embedder that made an `embeddings` artefact.

    Raises:
        ArtefactError: it names none.
    """
    found = data.plan.facts.get("fingerprint")
    if not found:
        raise ArtefactError(f"{data.path} does not say which embedder made its vectors; make it with: eosin clip embed")
    return str(found)


def _write(config: IndexConfig, data: Artefact, out: Path) -> dict[str, Any]:
    """Index and columns, in one pass (after one more that trains the cells of `ivf_flat`)."""
    shards = [shard for split in config.splits or (None,) for shard in data.shards(split)]
    rows = sum(_rows(shard) for shard in shards)
    if not rows:
        raise InputError(f"{data.path} holds no embeddings: there is nothing to index")
    dim = _first_dim(shards)
    index = vector_index.NEW_INDEX[config.kind](dim, rows, config)
    if not index.is_trained:
        index.train(_training_rows(shards, rows, dim, vector_index.TRAINING_ROWS_A_LIST * index.nlist, config.seed))
    ids = IdsHash()
    with (
        replacing(out / INDEX_FILE) as index_file,
        replacing(out / COLUMNS_FILE) as columns_file,
        pq.ParquetWriter(
            columns_file, SCHEMA, compression="zstd", use_dictionary=["group", "split", "source", "licence", "label"]
        ) as parquet,
        bar("index", rows) as moving,
    ):
        for table in _tables(shards):
            vector_index.add_rows(index, _vectors(table, dim, data.path))
            ids.update(table.column("id").to_pylist())
            parquet.write_table(_shown(table), row_group_size=ROWS_PER_GROUP)
            moving.advance(table.num_rows)
        vector_index.write_index(index, index_file)
    return {"rows": rows, "dim": dim, "kind": config.kind, "metric": "inner_product", "ids_sha256": ids.value}


def _rows(shard: Path) -> int:
    with open_parquet(shard) as file:
        return int(file.metadata.num_rows)


def _tables(shards: list[Path]) -> Iterator[pa.Table]:
    """The embeddings, some thousand rows at a time, in the order of the shards."""
    columns = [*SCHEMA.names, "vector"]
    for shard in shards:
        with open_parquet(shard) as file:
            for batch in file.iter_batches(_ROWS_A_READ, columns=columns):
                yield pa.Table.from_batches([batch])


def _first_dim(shards: list[Path]) -> int:
    for table in _tables(shards[:1]):
        return len(table.column("vector")[0])
    return 0


def _vectors(table: pa.Table, dim: int, path: Path) -> Floats:
    """The vectors of a table, float32 [n, dim].

    Raises:
        InputError: a vector of another length, or not of unit length.
    """
    column = table.column("vector").combine_chunks()
    lengths = np.diff(column.offsets.to_numpy())
    if column.null_count or (lengths != dim).any():
        raise InputError(f"{path}: vectors of {dim} numbers are wanted; {int((lengths != dim).sum())} of {len(table)} have another length")
    vectors: Floats = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim).astype(np.float32, copy=False)
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1.0) < 1e-3))
    if bad.size:
        name = table.column("id")[int(bad[0])].as_py()
        raise InputError(f"{path}: {bad.size} vectors are not of unit length, the first is {name} ({norms[bad[0]]:.4f})")
    return vectors


def _shown(table: pa.Table) -> pa.Table:
    """The columns an index shows; the thumbnail's bytes without their path."""
    thumbnails = pa.array([image["bytes"] if image else None for image in table.column("thumbnail").to_pylist()], pa.binary())
    columns = [thumbnails if name == "thumbnail" else table.column(name) for name in SCHEMA.names]
    return pa.table(columns, schema=SCHEMA)


def _training_rows(shards: list[Path], rows: int, dim: int, wanted: int, seed: int) -> Floats:
    """A seeded sample of the vectors for k-means, float32 [min(rows, wanted), dim]."""
    chosen = np.arange(rows) if rows <= wanted else np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    parts, start = [], 0
    for table in _tables(shards):
        here = chosen[(chosen >= start) & (chosen < start + table.num_rows)] - start
        parts.append(_vectors(table, dim, shards[0].parent)[here])
        start += table.num_rows
    return np.concatenate(parts)
