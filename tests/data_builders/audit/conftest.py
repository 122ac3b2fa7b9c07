"""Small data sets of drawn tiles, and the command in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eosin.artefacts import ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.data_builders.audit.cli import main
from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile
from eosin.images import encode_png
from eosin.records import LabelledImage, Record

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def tiles() -> list[Pixels]:
    """Sixteen tiles of all tissues, 112 px."""
    tissues, scanners = list(TISSUES), list(SCANNERS)
    specs = [TileSpec(seed, tissues[seed % len(tissues)], f"P{seed}", "S0", scanners[seed % len(scanners)]) for seed in range(16)]
    return [render_tile(spec).image[:112, :112] for spec in specs]


@pytest.fixture
def image() -> Callable[..., LabelledImage]:
    """A record: `image("name", pixels, group="A")`."""

    def make(name: str, pixels: Pixels, **columns: Any) -> LabelledImage:
        values = {"source": "s", "licence": "CC0-1.0", "group": name, "split": "train", **columns}
        return LabelledImage(id=f"{values['source']}/{name}", image=encode_png(np.ascontiguousarray(pixels)), **values)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write records of one kind as an artefact, a shard a split."""

    def run(name: str, records: list[Record]) -> Path:
        splits = sorted({record.split for record in records})
        of = {split: [record for record in records if record.split == split] for split in splits}
        plan = Plan(records[0].kind, "test", {"name": name}, tasks=tuple(Task("records", 0, len(of[split]), split) for split in splits))
        with ArtefactWriter(tmp_path / name, plan) as writer:
            for shard, task in writer.pending():
                write_shard(writer.path, plan.kind, shard, task.split, of[task.split])
            writer.finish()
        return tmp_path / name

    return run


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., Path]:
    """Run `eosin audit`: `audit("train", "--against", "eval", out="audit")` gives the folder made."""

    def run(*arguments: str | Path, out: str = "audit") -> Path:
        main([*map(str, arguments), "--out", str(tmp_path / out), "--workers", "1"])
        return tmp_path / out

    return run
