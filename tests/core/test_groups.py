"""Groups in several splits are told of every artefact: at the end of the run, in the manifest and on the card."""

from pathlib import Path

import pytest

from eosin.artefacts import Artefact, Plan, Task, groups
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Tile


def build(out: Path, shards: list[tuple[str, list[str]]]) -> Artefact:
    tasks = tuple(Task(str(number), 0, 1, split) for number, (split, _) in enumerate(shards))

    def produce(task: Task) -> list[Tile]:
        names = shards[int(task.source)][1]
        common = {"source": "s", "licence": "CC0-1.0", "split": task.split, "x": 0, "y": 0, "size": 1, "kept": True}
        return [Tile(id=f"{task.source}-{place}", group=name, **common) for place, name in enumerate(names)]

    return run_step(Step("tiles", Plan("tiles", "build", {}, (), tasks), produce), out, LocalEngine())


SHARDS = [("train", ["a", "b", "b"]), ("train", ["c", "a"]), ("val", ["d"]), ("test", ["c", "e", "c"]), ("none", ["a", "d"])]


def test_groups_in_several_splits_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artefact = build(tmp_path / "a", [*SHARDS, ("test", ["d"])])
    assert artefact.manifest["groups_across_splits"] == {"count": 2, "examples": {"c": ["train", "test"], "d": ["val", "test"]}}
    assert "warning: tiles: 2 groups are in several splits (c in train and test; d in val and test)" in capsys.readouterr().err
    assert "Groups in several splits, 2: c (train, test); d (val, test)." in (tmp_path / "a/README.md").read_text()


def test_groups_that_keep_to_a_split_are_not_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artefact = build(tmp_path / "a", [shard for shard in SHARDS if shard[0] != "test"])
    assert "groups_across_splits" not in artefact.manifest
    assert "warning" not in capsys.readouterr().err


def test_equal_hashes_of_different_groups_are_no_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr(groups, "_hashed", lambda names: np.array([len(name) for name in names], dtype=np.int64))
    assert "groups_across_splits" not in build(tmp_path / "a", [("train", ["aa", "b"]), ("test", ["cc", "d"])]).manifest
    across = build(tmp_path / "b", [("train", ["aa", "b"]), ("test", ["cc", "b"])]).manifest["groups_across_splits"]
    assert across["examples"] == {"b": ["train", "test"]}
