"""Artefacts are data sets of the `datasets` library as they lie: what it reads, writes and would push is every record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from eosin.artefacts import Artefact
from eosin.records import RECORD_TYPES, SCHEMAS, Record, from_table

Write = Callable[..., Artefact]


@pytest.mark.parametrize("kind", ["pairs", "labelled", "conversations"])
def test_records_survive_the_datasets_library_and_the_files_it_pushes(
    kind: str, write: Write, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    records: list[Record] = request.getfixturevalue(kind)
    artefact, cache = write(records), str(tmp_path / "cache")
    opened = datasets.load_dataset(str(artefact.path), cache_dir=cache)
    pushed = {}
    for split, part in opened.items():
        pushed[split] = str(tmp_path / f"{split}.parquet")
        # `push_to_hub` uploads what `to_parquet` writes, images embedded.
        part.to_parquet(pushed[split])
    again = datasets.load_dataset("parquet", data_files=pushed, cache_dir=cache)
    assert [again[split].features for split in again] == [opened[split].features for split in opened]
    record_type = RECORD_TYPES[artefact.kind]
    found = [record for split in again for record in from_table(record_type, again[split].data.table.cast(SCHEMAS[artefact.kind]))]
    assert sorted(found, key=lambda record: record.id) == sorted(records, key=lambda record: record.id)
