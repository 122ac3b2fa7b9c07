"""Small image folders, small recipes, and the command in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eosin.artefacts import Plan, Task
from eosin.data_builders.cli import main
from eosin.images import encode_png
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import SPLITS, Record

Build = Callable[..., Path]


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """A small PNG of its own for each number."""

    def make(number: int) -> bytes:
        return encode_png(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8))

    return make


@pytest.fixture
def image_folder(tmp_path: Path, png: Callable[[int], bytes]) -> Callable[..., Path]:
    """Write a folder with so many images a class: `image_folder(colon_aca=3)`."""

    def make(**classes: int) -> Path:
        root = tmp_path / "images"
        for place, (name, count) in enumerate(classes.items()):
            (root / name).mkdir(parents=True)
            for number in range(count):
                (root / name / f"{name}{number}.png").write_bytes(png(1000 * place + number))
        return root

    return make


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Run `eosin build` on a recipe: `build(recipe, "key=value", out="name", workers=1)` gives the folder made."""

    def run(recipe: dict[str, Any], *arguments: str, out: str = "out", workers: int = 1) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        main([str(path), *arguments, "--out", str(tmp_path / out), "--workers", str(workers)])
        return tmp_path / out

    return run


@pytest.fixture
def small_phantoms() -> dict[str, Any]:
    """A recipe of a few small tiles."""
    return {
        "builder": "phantoms",
        "size": 64,
        "mpp": 1.75,
        "splits": {
            "train": {"patients": 3, "tiles": 2, "scanners": ["amber", "birch"]},
            "test": {"patients": 2, "tiles": 1, "scanners": ["fjord"]},
        },
        "slides": {"count": 0},
    }


@pytest.fixture
def write_artefact(tmp_path: Path) -> Callable[..., Path]:
    """Write records of one kind as an artefact: `write_artefact(records, "name", classes=[...])`, a shard a split."""

    def make(records: Sequence[Record], name: str = "given", **facts: Any) -> Path:
        splits = [split for split in SPLITS if any(record.split == split for record in records)]
        tasks = tuple(Task("given", 0, sum(record.split == split for record in records), split) for split in splits)
        plan = Plan(records[0].kind, "test", {"ids": [record.id for record in records]}, (), tasks, facts)
        step = Step(name, plan, lambda task: [record for record in records if record.split == task.split])
        return run_step(step, tmp_path / name, LocalEngine()).path

    return make
