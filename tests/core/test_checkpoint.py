"""Checkpoints: whole or refused, and the number of threads stays that of the beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from eosin.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, threads_of
from eosin.errors import ArtefactError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "_work" / "checkpoint.pt"
    weights = {"w": torch.arange(64.0)}
    save_checkpoint(path, Checkpoint(weights, {"state": {0: {"step": torch.tensor(3.0)}}}, {"step": 3, "metrics": [{"loss": 0.5}]}, 2))
    return path


def test_a_checkpoint_comes_back_as_it_was(saved: Path, tmp_path: Path) -> None:
    found = load_checkpoint(saved)
    assert found is not None
    assert torch.equal(found.model["w"], torch.arange(64.0))
    assert found.optimiser["state"][0]["step"] == 3
    assert (found.progress, found.threads) == ({"step": 3, "metrics": [{"loss": 0.5}]}, 2)
    assert load_checkpoint(tmp_path / "none.pt") is None


def spoil(path: Path, first: int) -> None:
    data = bytearray(path.read_bytes())
    data[first : first + 16] = b"\xa5" * len(data[first : first + 16])
    path.write_bytes(data)


def test_a_changed_weight_is_refused_with_the_way_out(saved: Path) -> None:
    spoil(saved, saved.read_bytes().index(np.arange(64, dtype=np.float32).tobytes()))
    with pytest.raises(ArtefactError, match=rf"{saved} is damaged.*delete {saved.parent} and run the command again"):
        load_checkpoint(saved)


def test_damage_anywhere_is_refused_or_without_effect(saved: Path) -> None:
    good, refused = saved.read_bytes(), 0
    for first in range(0, len(good), 37):
        saved.write_bytes(good)
        spoil(saved, first)
        try:
            found = load_checkpoint(saved)
        except ArtefactError:
            refused += 1
            continue
        assert found is not None
        assert torch.equal(found.model["w"], torch.arange(64.0))
        assert found.progress == {"step": 3, "metrics": [{"loss": 0.5}]}
    assert refused > 20


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_is_none_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(ArtefactError, match="is damaged"):
        load_checkpoint(saved)


def test_a_file_of_other_content_is_refused(saved: Path) -> None:
    torch.save({"model": {}}, saved)
    with pytest.raises(ArtefactError, match="is damaged"):
        load_checkpoint(saved)


def test_a_resumed_run_keeps_its_threads_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    begun = Checkpoint({}, {}, {}, 2)
    assert (threads_of(None, 4), threads_of(begun, 2)) == (4, 2)
    assert capsys.readouterr().err == ""
    assert threads_of(begun, 4) == 2
    assert "goes on with 2 threads, as it began, not 4" in capsys.readouterr().err
