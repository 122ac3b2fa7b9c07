"""Small archives of cases, embedded and indexed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.commands import open_inputs
from eosin.config import load
from eosin.images import encode_png
from eosin.numerics import Floats, unit_rows
from eosin.records import Embedding
from eosin.retrieval.build import build_index
from eosin.retrieval.config import IndexConfig

DIM = 16
Vectors = Floats


def _archive_vectors(count: int, dim: int = DIM, seed: int = 0) -> Vectors:
    """Unit vectors around a few centres, as embeddings of classes lie, float32 [count, dim]."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(8, dim))
    return unit_rows(centres[np.arange(count) % 8] + 0.6 * rng.normal(size=(count, dim)))


def _write_embeddings(folder: Path, vectors: Vectors, cases_a_group: int = 5, fingerprint: str | None = "aaaa") -> Artefact:
    """An `embeddings` artefact: half of the rows of split train, half of test; every second one with a thumbnail."""
    half = len(vectors) // 2
    tasks = (Task("train", 0, half, "train"), Task("test", half, len(vectors), "test"))
    plan = Plan("embeddings", "clip embed", {}, tasks=tasks, facts={"fingerprint": fingerprint} if fingerprint else {})
    with ArtefactWriter(folder, plan) as writer:
        for name, task in writer.pending():
            records = [
                Embedding(
                    id=f"made/{row}",
                    source="made",
                    licence="CC0-1.0",
                    group=f"patient-{row // cases_a_group}",
                    split=task.split,
                    vector=tuple(vectors[row].tolist()),
                    caption=f"caption {row}",
                    label="even" if row % 2 == 0 else None,
                    thumbnail=encode_png(np.full((4, 4, 3), row % 256, np.uint8)) if row % 2 == 0 else None,
                )
                for row in range(task.start, task.stop)
            ]
            write_shard(writer.path, "embeddings", name, task.split, records)
        return writer.finish()


@pytest.fixture
def archive_vectors() -> Callable[..., Vectors]:
    """Makes unit vectors around a few centres."""
    return _archive_vectors


@pytest.fixture
def write_embeddings() -> Callable[..., Artefact]:
    """Writes vectors as an `embeddings` artefact."""
    return _write_embeddings


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """Embeds and indexes vectors; gives the index's folder."""

    def make(vectors: Vectors, cases_a_group: int = 5, name: str = "index", **settings: object) -> Path:
        data = tmp_path / f"{name}-embeddings"
        _write_embeddings(data, vectors, cases_a_group)
        config = load(IndexConfig, {"data": str(data), **settings})
        build_index(config, open_inputs(config), tmp_path / name)
        return tmp_path / name

    return make
