"""A shard damaged at the same size: every reader names it, and --overwrite makes the artefact whole again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import Artefact, Plan, RecordTable, Task, open_artefact, verify
from eosin.artefacts.parquet import read_parquet
from eosin.data_builders.nearest import case_blocks
from eosin.data_builders.subjects import read_rows
from eosin.errors import ArtefactError, EosinError
from eosin.eval.predictions import model_names, read_runs, read_shown
from eosin.eval.questions import read_columns
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Embedding, Prediction, Record
from eosin.retrieval.build import build_index

SPLIT = "train"


def embedding(number: int) -> Embedding:
    return Embedding(id=f"s/{number}", source="s", licence="x", group=f"g{number}", split=SPLIT, vector=(0.6, 0.8), extra={"n": number})


def prediction(number: int) -> Prediction:
    common = {"benchmark": "d", "condition": "plain", "task": "mcq", "answer": "a", "options": ("a", "b"), "reply": "a"}
    told = {"finish_reason": "stop", "prompt_hash": "h", "model": "m"}
    return Prediction(id=f"s/{number}", source="s", licence="x", group="g", split=SPLIT, question=f"q{number}", **common, **told)


MAKE: dict[str, Callable[[int], Record]] = {"embeddings": embedding, "predictions": prediction}


def produce(kind: str, task: Task) -> list[Record]:
    return [MAKE[kind](number) for number in range(task.start, task.stop)]


def build(out: Path, kind: str = "embeddings", **options: bool) -> Artefact:
    tasks = (Task("s", 0, 30, SPLIT), Task("s", 30, 60, SPLIT))
    plan = Plan(kind, "build", {"name": "model"}, (), tasks, {"fingerprint": "f"})
    return run_step(Step(kind, plan, lambda task: produce(kind, task)), out, LocalEngine(), **options)


def spoil(shard: Path, where: str) -> None:
    """Overwrite the pages or the footer; the size stays."""
    data = bytearray(shard.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    first, last = (4, footer) if where == "pages" else (footer, len(data) - 8)
    data[first:last] = b"\xa5" * (last - first)
    shard.write_bytes(data)


READERS: dict[str, tuple[str, Callable[[Artefact], Any]]] = {
    "records": ("embeddings", lambda found: list(found.records(Embedding))),
    "table": ("embeddings", lambda found: RecordTable(found, Embedding)[40]),
    "columns": ("embeddings", lambda found: list(read_columns(found, SPLIT, ["id"]))),
    "rows": ("embeddings", lambda found: list(read_rows(found, SPLIT, 0, 60, ["id"]))),
    "blocks": ("embeddings", lambda found: list(case_blocks(found))),
    "runs": ("predictions", lambda found: read_runs([found])),
    "names": ("predictions", lambda found: model_names([found])),
    "shown": ("predictions", lambda found: read_shown([found])),
}


@pytest.mark.parametrize("where", ["pages", "footer"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_the_damaged_shard_and_the_way_out(tmp_path: Path, reader: str, where: str) -> None:
    kind, read = READERS[reader]
    artefact = build(tmp_path / "a", kind)
    read(artefact)
    spoil(artefact.shards()[1], where)
    with pytest.raises(ArtefactError, match=rf"train-00001\.parquet is damaged.*eosin inspect {tmp_path}/a --verify.*--overwrite"):
        read(open_artefact(tmp_path / "a"))


@pytest.mark.parametrize("where", ["pages", "footer"])
def test_an_index_of_damaged_embeddings_is_refused(tmp_path: Path, where: str) -> None:
    from eosin.commands import Inputs
    from eosin.config import load
    from eosin.retrieval.config import IndexConfig

    spoil(build(tmp_path / "a").shards()[1], where)
    inputs = Inputs({"data": open_artefact(tmp_path / "a")}, {}, (), {})
    with pytest.raises(ArtefactError, match=r"train-00001\.parquet is damaged"):
        build_index(load(IndexConfig, {"data": str(tmp_path / "a")}), inputs, tmp_path / "index")


def test_errors_of_the_block_that_are_no_damage_pass(tmp_path: Path) -> None:
    from eosin.artefacts.parquet import open_parquet

    shard = build(tmp_path / "a").shards()[0]
    with pytest.raises(EosinError, match="of our own"), open_parquet(shard):
        raise EosinError("of our own")
    with pytest.raises(ZeroDivisionError), open_parquet(shard):
        raise ZeroDivisionError


def test_overwrite_rebuilds_what_is_damaged_and_leaves_what_is_whole(tmp_path: Path) -> None:
    artefact = build(tmp_path / "a")
    shard = artefact.shards()[1]
    written = shard.stat().st_mtime_ns
    assert build(tmp_path / "a", overwrite=True).digest == artefact.digest
    assert shard.stat().st_mtime_ns == written
    spoil(shard, "pages")
    assert verify(build(tmp_path / "a")) != []
    assert verify(build(tmp_path / "a", overwrite=True)) == []
    shard.write_bytes(b"shorter")
    with pytest.raises(ArtefactError, match="--overwrite"):
        open_artefact(tmp_path / "a")
    assert build(tmp_path / "a", overwrite=True).digest == artefact.digest


@pytest.mark.parametrize("harm", ["sidecar", "shard"])
def test_overwrite_keeps_the_whole_tasks_of_an_unfinished_artefact(tmp_path: Path, harm: str) -> None:
    digest = build(tmp_path / "a").digest
    (tmp_path / "a/manifest.json").unlink()
    kept, harmed = (tmp_path / f"a/data/train-0000{number}.parquet" for number in (0, 1))
    if harm == "sidecar":
        (tmp_path / "a/_done/train-00001.json").write_text("{")
    else:
        spoil(harmed, "pages")
    before = kept.stat().st_mtime_ns, harmed.stat().st_mtime_ns
    artefact = build(tmp_path / "a", overwrite=True)
    assert (artefact.digest, verify(artefact)) == (digest, [])
    assert kept.stat().st_mtime_ns == before[0]
    assert harmed.stat().st_mtime_ns != before[1]


def test_a_file_read_whole_holds_every_row(tmp_path: Path) -> None:
    shards = build(tmp_path / "a").shards()
    assert [read_parquet(shard, ["id"]).num_rows for shard in shards] == [30, 30]
