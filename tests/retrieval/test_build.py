"""What building an index promises: the right rows, the same bytes, refusals that name the cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main as eosin
from eosin.commands import open_inputs
from eosin.config import load
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.numerics import Floats
from eosin.retrieval.build import build_index
from eosin.retrieval.case_index import CaseIndex
from eosin.retrieval.config import IndexConfig

Build = Callable[..., Path]
Archive = Callable[..., Floats]
Write = Callable[..., Artefact]


def test_only_the_splits_asked_for_go_in(build: Build, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(40), splits=["train"]))
    assert {case.id for case in index.search(archive_vectors(1), 100)[0]} == {f"made/{row}" for row in range(20)}


@pytest.mark.parametrize("kind", ["flat", "ivf_flat", "hnsw"])
def test_the_same_embeddings_give_the_same_bytes(build: Build, kind: str, archive_vectors: Archive) -> None:
    vectors = archive_vectors(300)
    first, second = build(vectors, kind=kind, name="one"), build(vectors, kind=kind, name="two")
    files = open_artefact(first).manifest["files"]
    assert {"index.faiss", "columns.parquet"} <= set(files)
    assert files == open_artefact(second).manifest["files"]


def test_a_finished_index_is_not_built_again(build: Build, archive_vectors: Archive) -> None:
    folder = build(archive_vectors(20))
    before = (folder / "index.faiss").stat().st_mtime_ns
    assert build(archive_vectors(20)) == folder
    assert (folder / "index.faiss").stat().st_mtime_ns == before


def test_embeddings_without_a_fingerprint_are_refused(tmp_path: Path, archive_vectors: Archive, write_embeddings: Write) -> None:
    write_embeddings(tmp_path / "data", archive_vectors(10), fingerprint=None)
    config = load(IndexConfig, {"data": str(tmp_path / "data")})
    with pytest.raises(ArtefactError, match="which embedder"):
        build_index(config, open_inputs(config), tmp_path / "index")


@pytest.mark.parametrize("bad", [2.0, np.nan])
def test_vectors_that_are_not_of_unit_length_are_refused(
    tmp_path: Path, bad: float, archive_vectors: Archive, write_embeddings: Write
) -> None:
    vectors: Floats = archive_vectors(10)
    vectors[3] *= bad
    write_embeddings(tmp_path / "data", vectors)
    config = load(IndexConfig, {"data": str(tmp_path / "data")})
    with pytest.raises(InputError, match="made/3"):
        build_index(config, open_inputs(config), tmp_path / "index")


@pytest.mark.parametrize("settings", [{"kind": "pq"}, {"probes": 0}, {"lists": 0}, {"splits": ["tset"]}])
def test_settings_outside_the_closed_sets_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        load(IndexConfig, {"data": "x", **settings})


def test_the_shipped_recipe_builds_from_the_command_line(tmp_path: Path, archive_vectors: Archive, write_embeddings: Write) -> None:
    write_embeddings(tmp_path / "data", archive_vectors(30))
    out = tmp_path / "index"
    assert eosin(["index", "build", "demo/index", f"data={tmp_path / 'data'}", "--out", str(out)]) == 0
    assert len(CaseIndex.open(out, fingerprint="aaaa")) == 30
