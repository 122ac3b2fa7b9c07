"""No id is in an artefact twice, in whatever shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from eosin.artefacts import Artefact, Plan, Task, ids
from eosin.errors import InputError
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Tile


def tile(name: str, split: str) -> Tile:
    return Tile(id=name, source="s", licence="CC0-1.0", group=name, split=split, x=0, y=0, size=1, kept=True)


def build(out: Path, shards: list[tuple[str, list[str]]]) -> Artefact:
    tasks = tuple(Task(str(number), 0, 1, split) for number, (split, _) in enumerate(shards))
    step = Step(
        "tiles", Plan("tiles", "build", {}, (), tasks), lambda task: [tile(name, task.split) for name in shards[int(task.source)][1]]
    )
    return run_step(step, out, LocalEngine())


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_id_in_two_shards_is_refused_with_both_named(tmp_path: Path, split: str) -> None:
    shards = [("train", ["a", "b"]), ("train", ["c"]), (split, ["d", "b"])]
    second = "test-00000" if split == "test" else "train-00002"
    with pytest.raises(InputError, match=rf"'b' is in train-00000\.parquet and in {second}\.parquet"):
        build(tmp_path / "a", shards)
    assert not (tmp_path / "a/manifest.json").exists()


def test_equal_hashes_of_different_ids_are_no_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr(ids, "_hashes", lambda names: np.array([len(name) for name in names], dtype=np.int64))
    shards = [("train", ["aa", "bb"]), ("train", ["cc", "d"]), ("test", ["ee"])]
    assert build(tmp_path / "a", shards).manifest["counts"]["out"] == 5
    with pytest.raises(InputError, match="'cc' is in train-00001"):
        build(tmp_path / "b", [*shards, ("test", ["cc"])])


def test_ids_beyond_one_batch_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_BATCH", 2)
    names = [f"n{number}" for number in range(7)]
    assert build(tmp_path / "a", [("train", names), ("test", ["other"])]).manifest["counts"]["out"] == 8
    with pytest.raises(InputError, match="'n6' is in"):
        build(tmp_path / "b", [("train", names), ("test", ["n6"])])
