"""Artefacts: what is finished is whole, what is not is refused, nothing is lost or mixed up."""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import datasets
import pyarrow.parquet as pq
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, InputRef, Plan, RecordTable, Task, files, open_artefact, verify, writer
from eosin.artefacts.writer import write_shard
from eosin.cli import main
from eosin.errors import ArtefactError, BackendError, InputError, LockedError
from eosin.pipeline import LocalEngine, Step, chunked, run_step
from eosin.records import Embedding, LabelledImage, Record, Reject, Tile

# Worker processes import the function they run; a test module is not importable there, so it stands in one of its own.
MODULE = """
    import os, signal, time
    from eosin.records import Reject, Tile

    def produce(task, pause=0.0):
        for number in range(task.start, task.stop):
            time.sleep(pause)
            key = f"{task.split}{number}"
            if number % 7 == 3:
                yield Reject(key, "blank", "no tissue")
            else:
                yield Tile(id=f"s/{key}", source="s", licence="CC0-1.0", group=key, split=task.split, x=number, y=0, size=1, kept=True)

    def die(task):
        if task.start:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from produce(task)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "eosin_test_tiles.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("eosin_test_tiles")
    del sys.modules["eosin_test_tiles"]


def produce(task: Task) -> Iterator[Record | Reject]:
    """Every seventh is rejected."""
    for number in range(task.start, task.stop):
        key = f"{task.split}{number}"
        if number % 7 == 3:
            yield Reject(key, "blank", "no tissue")
        else:
            yield Tile(id=f"s/{key}", source="s", licence="CC0-1.0", group=key, split=task.split, x=number, y=0, size=1, kept=True)


def a_plan(*tasks: Task, **settings: object) -> Plan:
    return Plan("tiles", "build", settings, (InputRef("data", "slides", "d" * 64),), tasks or tuple(chunked("s", "train", 250, 120)))


def build(out: Path, *tasks: Task) -> Artefact:
    return run_step(Step("tiles", a_plan(*tasks), produce), out, LocalEngine())


def contents(folder: Path) -> dict[str, bytes]:
    left_out = ("run.json", ".lock")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left_out
    }


def test_counts_rejects_and_files_are_all_in_the_manifest(tmp_path: Path) -> None:
    artefact = build(tmp_path / "a", *chunked("s", "train", 250, 120), *chunked("s", "test", 20, 120))
    assert artefact.manifest["counts"] == {"in": 270, "out": 231, "rejected": {"blank": 39}}
    assert artefact.manifest["splits"] == {"test": 17, "train": 214}
    assert artefact.manifest["licences"] == {"CC0-1.0": 231}
    rejects = pq.read_table(tmp_path / "a/rejects/rejects.parquet").to_pylist()
    assert len(rejects) == 39
    assert rejects[0] == {"task": "train-00000", "key": "train3", "reason": "blank", "message": "no tissue"}
    assert verify(artefact) == []
    assert [path.name for path in artefact.shards("train")] == ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"]


def test_rejects_of_many_tasks_are_all_there_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_REJECTS_A_GROUP", 5)
    build(tmp_path / "a", *chunked("s", "train", 250, 10))
    rejects = pq.ParquetFile(tmp_path / "a/rejects/rejects.parquet")
    assert rejects.num_row_groups > 3
    assert rejects.read(["key"]).column("key").to_pylist() == [f"train{number}" for number in range(250) if number % 7 == 3]


def test_damage_between_writing_and_finishing_is_not_taken_for_the_truth(tmp_path: Path) -> None:
    build(tmp_path / "a")
    (tmp_path / "a/manifest.json").unlink()
    shard = tmp_path / "a/data/train-00001.parquet"
    with shard.open("r+b") as file:
        # A byte of the magic number at the start: nothing but a checksum looks at it.
        file.write(b"X")
    assert verify(build(tmp_path / "a")) == ["data/train-00001.parquet has another sha256"]


def test_records_come_in_order_and_by_number(tmp_path: Path) -> None:
    artefact = build(tmp_path / "a")
    streamed = list(artefact.records(Tile, "train"))
    table = RecordTable(artefact, Tile, "train", cached_groups=1)
    assert [table[number] for number in range(len(table))] == streamed
    assert table[len(table) - 1].x == 249
    with pytest.raises(IndexError):
        table[len(table)]


def test_two_workers_make_the_same_bytes_as_one(tmp_path: Path, module: ModuleType) -> None:
    build(tmp_path / "one")
    run_step(Step("tiles", a_plan(), module.produce), tmp_path / "two", LocalEngine(2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_finished_artefact_is_left_as_it_is(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    before = (tmp_path / "a/data/train-00000.parquet").stat().st_mtime_ns
    assert build(tmp_path / "a").digest == first.digest
    assert (tmp_path / "a/data/train-00000.parquet").stat().st_mtime_ns == before


def test_a_task_whose_every_record_is_rejected_leaves_no_shard(tmp_path: Path) -> None:
    artefact = build(tmp_path / "a", Task("s", 3, 4, "val"), Task("s", 0, 3, "train"))
    assert artefact.manifest["counts"] == {"in": 4, "out": 3, "rejected": {"blank": 1}}
    assert datasets.load_dataset(str(artefact.path))["train"].num_rows == 3
    with pytest.raises(ArtefactError, match="no records of split 'val'; it holds: train"):
        artefact.shards("val")


def test_another_plan_is_refused_and_overwrite_replaces_it(tmp_path: Path) -> None:
    build(tmp_path / "a")
    other = Step("tiles", a_plan(mpp=0.5), produce)
    with pytest.raises(ArtefactError, match=r"settings.mpp was None, now 0.5.*--overwrite"):
        run_step(other, tmp_path / "a", LocalEngine())
    assert run_step(other, tmp_path / "a", LocalEngine(), overwrite=True).plan.settings == {"mpp": 0.5}


def test_a_folder_that_is_no_artefact_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(ArtefactError, match="not empty and not an artefact"):
        run_step(Step("tiles", a_plan(), produce), tmp_path, LocalEngine(), overwrite=True)
    assert (tmp_path / "precious.txt").exists()


def test_a_second_writer_is_barred(tmp_path: Path) -> None:
    with ArtefactWriter(tmp_path / "a", a_plan()), pytest.raises(LockedError, match="another process"):
        ArtefactWriter(tmp_path / "a", a_plan()).__enter__()
    build(tmp_path / "a")


def test_an_unfinished_or_missing_artefact_says_so(tmp_path: Path) -> None:
    with ArtefactWriter(tmp_path / "a", a_plan()) as writer, pytest.raises(ArtefactError, match="3 of 3 tasks are not done"):
        writer.finish()
    with pytest.raises(ArtefactError, match="unfinished"):
        open_artefact(tmp_path / "a")
    with pytest.raises(ArtefactError, match="no such folder"):
        open_artefact(tmp_path / "b")


def test_the_wrong_kind_is_refused_by_name(tmp_path: Path) -> None:
    build(tmp_path / "a")
    with pytest.raises(ArtefactError, match="is of kind tiles; wanted: index or clip_model"):
        open_artefact(tmp_path / "a", "index", "clip_model")
    with pytest.raises(ArtefactError, match="labelled_images is wanted"):
        list(open_artefact(tmp_path / "a").records(LabelledImage))


@pytest.mark.parametrize("harm", ["shorter", "missing", "added"])
def test_files_that_do_not_match_the_manifest_are_refused(tmp_path: Path, harm: str) -> None:
    build(tmp_path / "a")
    shard = tmp_path / "a/data/train-00001.parquet"
    if harm == "shorter":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif harm == "missing":
        shard.unlink()
    else:
        (tmp_path / "a/data/train-00009.parquet").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="does not match its manifest"):
        open_artefact(tmp_path / "a")


def test_verify_finds_a_change_that_keeps_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path / "a")
    shard = tmp_path / "a/data/train-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    assert main(["inspect", str(tmp_path / "a")]) == 0
    assert main(["inspect", str(tmp_path / "a"), "--verify"]) == 2
    assert "train-00001.parquet has another sha256" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["manifest.json", "plan.json"])
def test_a_damaged_json_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    build(tmp_path / "a")
    (tmp_path / "a" / name).write_text("{")
    with pytest.raises(ArtefactError, match=f"{name}: damaged|does not match its manifest"):
        open_artefact(tmp_path / "a")


def test_records_of_another_split_or_twice_are_refused(tmp_path: Path) -> None:
    tile = Tile(id="s/1", source="s", licence="x", group="g", split="train", x=0, y=0, size=1, kept=True)
    with pytest.raises(InputError, match="split 'train', in a shard of split 'test'"):
        write_shard(tmp_path, "tiles", "test-00000", "test", [tile])
    with pytest.raises(InputError, match="comes twice"):
        write_shard(tmp_path, "tiles", "train-00000", "train", [tile, tile])
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_full_disk_keeps_what_was_finished_and_the_rerun_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full_at_the_eighth(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", full_at_the_eighth)
    with pytest.raises(InputError, match=r"no space left.*finished parts are kept"):
        build(tmp_path / "a")
    assert (tmp_path / "a/_done/train-00000.json").is_file()
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(files.os, "fsync", real)
    build(tmp_path / "a")
    build(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_worker_that_dies_is_reported_and_the_rerun_completes(tmp_path: Path, module: ModuleType) -> None:
    step = Step("tiles", a_plan(*chunked("s", "train", 250, 60)), module.die)
    with pytest.raises(BackendError, match="a worker process died"):
        run_step(step, tmp_path / "a", LocalEngine(2))
    assert not (tmp_path / "a/manifest.json").exists()
    run_step(Step("tiles", step.plan, produce), tmp_path / "a", LocalEngine())
    build(tmp_path / "b", *chunked("s", "train", 250, 60))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from eosin_test_tiles import produce
from eosin.artefacts import Plan
from eosin.pipeline import LocalEngine, Step, chunked, run_step

plan = Plan("tiles", "build", {}, (), tuple(chunked("s", "train", 600, 30)))
print("ready", flush=True)
run_step(Step("tiles", plan, partial(produce, pause=0.001)), Path(sys.argv[1]), LocalEngine())
"""


def test_killed_at_any_moment_and_started_again_the_result_is_the_same(tmp_path: Path, module: ModuleType) -> None:
    script = tmp_path / "modules/script.py"
    script.write_text(SCRIPT)
    start = functools.partial(subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    kills = 0
    for delay in (0.02, 0.11, 0.23, 0.31, 0.17, 0.05):
        process = start([sys.executable, str(script), str(tmp_path / "killed")])
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills == 6
    assert not (tmp_path / "killed/manifest.json").exists()
    for name in ("killed", "straight"):
        assert start([sys.executable, str(script), str(tmp_path / name)]).wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_datasets_opens_every_data_kind_with_decoded_images(tmp_path: Path, one_of_each: list[Record]) -> None:
    pictures = {"image_text": "image", "conversations": "images", "labelled_images": "image", "embeddings": "thumbnail"}
    for record in one_of_each:
        plan = Plan(record.kind, "build", {}, (), (Task("s", 0, 2, "train"),))
        reject = Reject("k", "bad", "rejects must not be read as records")
        run_step(Step(record.kind, plan, functools.partial(_same, record, reject)), tmp_path / record.kind, LocalEngine())
        loaded = datasets.load_dataset(str(tmp_path / record.kind), cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == ["train"]
        row = loaded["train"][0]
        assert row["id"] == record.id
        if record.kind in pictures:
            found = row[pictures[record.kind]]
            assert (found[0] if isinstance(found, list) else found).size == (8, 6)


def _same(record: Record, reject: Reject, task: Task) -> list[Record | Reject]:
    return [record, reject]


def test_an_artefact_of_another_schema_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "a")
    path = tmp_path / "a/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"]["schema_version"] = 99
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="schema version 99"):
        open_artefact(tmp_path / "a")


def test_an_outer_folder_names_the_artefacts_in_it(tmp_path: Path) -> None:
    build(tmp_path / "out/tiles")
    with pytest.raises(ArtefactError, match="it holds the artefacts tiles"):
        open_artefact(tmp_path / "out")


def test_vectors_keep_float32_exactly(tmp_path: Path) -> None:
    vector = (0.10000000149011612, 0.5)
    record = Embedding(id="s/1", source="s", licence="x", group="g", split="train", vector=vector)
    plan = Plan("embeddings", "clip embed", {}, (), (Task("s", 0, 1, "train"),))
    artefact = run_step(Step("e", plan, functools.partial(_same, record, Reject("k", "r", "m"))), tmp_path / "a", LocalEngine())
    assert next(artefact.records(Embedding)).vector == vector


def test_moving_an_artefact_changes_nothing(tmp_path: Path) -> None:
    digest = build(tmp_path / "a").digest
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert open_artefact(tmp_path / "b").digest == digest
