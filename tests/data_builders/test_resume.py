"""Builds that are killed at random points, by the tool that does it to any recipe."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eosin.artefacts import open_artefact

TOOL = Path(__file__).resolve().parents[2] / "tools" / "kill_and_resume.py"
Build = Callable[..., Path]


def content(out: Path) -> dict[str, bytes]:
    """Every file but those that hold times and locks."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }


def kill(*arguments: str, out: Path, kills: int) -> dict[str, Any]:
    """What the tool found."""
    command = [sys.executable, str(TOOL), *arguments, "--out", str(out), "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_killed_at_ten_random_points_and_started_again_the_result_is_the_same(tmp_path: Path, small_phantoms: dict[str, Any]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**small_phantoms, "slides": {"count": 1, "width": 1024, "height": 1024}}))
    found = kill(str(recipe), out=tmp_path, kills=10)
    assert found["kills"] >= 5
    assert content(tmp_path / "killed") == content(tmp_path / "straight")
    names = {open_artefact(path.parent).path.name for path in (tmp_path / "killed").glob("*/manifest.json")}
    assert names == {"labelled_images", "image_text", "conversations", "slides"}


@pytest.mark.parametrize("export", ["webdataset", "llava"])
def test_killed_exports_are_the_same_too(tmp_path: Path, build: Build, small_phantoms: dict[str, Any], export: str) -> None:
    data = build(small_phantoms) / "conversations"
    small = ["samples_a_shard=7"] if export == "webdataset" else []
    found = kill(f"data/export-{export}", f"data={data}", *small, out=tmp_path / "run", kills=3)
    assert found["kills"] >= 1
    assert content(tmp_path / "run/killed") == content(tmp_path / "run/straight")


def test_the_tool_names_a_file_that_differs(tmp_path: Path, small_phantoms: dict[str, Any]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small_phantoms))
    command = [sys.executable, str(TOOL), str(recipe), "--out", str(tmp_path), "--kills", "0"]
    assert subprocess.run(command, capture_output=True, timeout=100, check=False).returncode == 0
    card = tmp_path / "straight/image_text/README.md"
    card.write_bytes(card.read_bytes().replace(b"---", b"+++", 1))
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["different"] == ["image_text/README.md"]
