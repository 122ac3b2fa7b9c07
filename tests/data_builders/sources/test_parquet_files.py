"""Parquet shards: every row in exactly one section, whatever the row groups."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.parquet_files import class_names, image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 120), st.integers(1, 70), st.integers(1, 50))
def test_sections_cover_every_row_once_and_in_order(tmp_path: Path, rows: int, group: int, size: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"number": list(range(rows)), "other": ["x"] * rows}), path, row_group_size=group)
    sections = list(parquet_sections(path, "a", ("train",), size))
    assert all(0 < section.stop - section.start <= size for section in sections)
    read = [(number, row["number"]) for section in sections for number, row in section_records(path, section, ["number"])]
    assert read == [(number, number) for number in range(rows)]


def test_small_row_groups_are_joined_and_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"number": list(range(100))}), path, row_group_size=30)
    assert [(section.start, section.stop) for section in parquet_sections(path, "a", size=60)] == [(0, 60), (60, 100)]


def test_damage_and_missing_columns_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"number": [1]}), path)
    with pytest.raises(InputError, match="the column image is missing; there are: number"):
        need_fields(path, "number", "image")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="fetch it again"):
        list(parquet_sections(path, "a"))


def test_a_cell_holds_bytes_or_names_a_file(tmp_path: Path, jpeg) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    images = ImageFiles(tmp_path)
    for cell in (jpeg(1), {"bytes": jpeg(1), "path": "gone.jpg"}, {"bytes": None, "path": "a.jpg"}, "a.jpg"):
        assert image_bytes(cell, images) == jpeg(1)
    for cell in (None, {"bytes": None, "path": None}, b"", 7):
        with pytest.raises(Refused) as refused:
            image_bytes(cell, images)
        assert refused.value.reason == "image_missing"


def test_a_column_of_another_form_takes_no_class_names_from_the_rest(tmp_path: Path) -> None:
    label = {"names": ["benign", "malignant"], "_type": "ClassLabel"}
    features = {
        "objects": [{"bbox": {"_type": "Value"}}],
        "boxes": {"feature": [{"_type": "Value"}], "_type": "Sequence"},
        "odd": {"_type": "ClassLabel"},
        "label": label,
        "labels": {"feature": label, "_type": "Sequence"},
    }
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"label": [1]}).replace_schema_metadata(told), tmp_path / "a.parquet")
    assert class_names(tmp_path / "a.parquet") == {"label": ["benign", "malignant"], "labels": ["benign", "malignant"]}
