import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from eosin.artefacts import open_artefact, verify


def content(out: Path) -> dict[str, bytes]:
    """Every file but those that hold times and locks."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".lock")
    }


def start(recipe: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "eosin.cli", "build", str(recipe), "--out", str(out), "--workers", "1"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_at_random_moments_and_started_again_the_result_is_the_same(tmp_path: Path, small_phantoms: dict[str, Any]) -> None:
    recipe = tmp_path / "recipe.yaml"
    small_phantoms["splits"]["train"]["tiles"] = 5
    recipe.write_text(yaml.safe_dump({**small_phantoms, "slides": {"count": 1, "width": 1024, "height": 1024}}))
    straight = start(recipe, tmp_path / "straight")
    began = time.monotonic()
    assert straight.wait(120) == 0
    whole = time.monotonic() - began
    out, kills, moments = tmp_path / "killed", 0, random.Random(0)
    for share in (0.5, 0.65, 0.8):
        process = start(recipe, out)
        try:
            process.wait(whole * (share + 0.1 * moments.random()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    last = start(recipe, out)
    assert last.wait(120) == 0
    assert kills >= 1
    assert content(out) == content(tmp_path / "straight")
    for name in ("labelled_images", "image_text", "conversations", "slides"):
        assert verify(open_artefact(out / name)) == []
