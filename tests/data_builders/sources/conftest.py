"""A folder in a publisher's format, built with `eosin build`, read back as records."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.artefacts import Artefact, open_artefact
from eosin.data_builders.cli import main
from eosin.data_builders.sources.catalogue import SOURCES
from eosin.images import encode_jpeg
from eosin.records import RECORD_TYPES


@dataclass(frozen=True)
class Built:
    """What a source became."""

    artefact: Artefact
    records: list[Any]
    rejects: dict[str, str]

    def by_id(self) -> dict[str, Any]:
        return {record.id: record for record in self.records}


ReadSource = Callable[..., Built]


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """A small JPEG of its own for each number."""

    def make(number: int, size: int = 16) -> bytes:
        return encode_jpeg(np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8))

    return make


@pytest.fixture
def read_source(tmp_path: Path) -> ReadSource:
    """Build a folder as a source: `read_source("lc25000", folder, "options.groups=groups.csv")`."""

    def run(name: str, folder: Path, *overrides: str, workers: int = 1) -> Built:
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        main(["data/source", f"source={name}", f"folder={folder}", *overrides, "--out", str(out), "--workers", str(workers)])
        artefact = open_artefact(out / SOURCES[name].card.kind)
        rejects = artefact.path / "rejects" / "rejects.parquet"
        rows = pq.read_table(rejects).to_pylist() if rejects.is_file() else []
        records = list(artefact.records(RECORD_TYPES[artefact.kind])) if artefact.manifest["counts"]["out"] else []
        return Built(artefact, records, {row["key"]: row["reason"] for row in rows})

    return run
