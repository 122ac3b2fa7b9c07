"""OncoTree: three questions a tumour type, each with one right answer."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from eosin.errors import InputError


def node(code: str, tissue: str, *children: dict[str, Any], name: str = "") -> dict[str, Any]:
    return {"code": code, "name": name or f"{code} tumour", "tissue": tissue, "children": {child["code"]: child for child in children}}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    real = os.environ.get("EOSIN_REAL_DATA")
    if real:
        return Path(real) / "text" / "oncotree"
    tissues = [
        node(f"T{t}", f"Organ {t}", *(node(f"T{t}A{a}", f"Organ {t}", node(f"T{t}A{a}X", f"Organ {t}")) for a in range(3)))
        for t in range(4)
    ]
    root = node("TISSUE", "", *tissues)
    folder = tmp_path / "oncotree"
    folder.mkdir()
    (folder / "oncotree_2025.json").write_text(json.dumps({"TISSUE": root}))
    return folder


def test_every_tumour_type_is_asked_in_three_ways_and_no_wrong_option_is_right(release: Path, read_source: Any) -> None:
    built = read_source("oncotree", release)
    assert not built.rejects
    by_task = {task: [record for record in built.records if record.task == task] for task in ("open", "mcq", "closed")}
    assert len(by_task["open"]) == len(by_task["mcq"]) == len(by_task["closed"]) >= 24
    for record in by_task["mcq"]:
        assert len(set(record.options)) == 4
        assert record.answer in record.options
        assert all(f") {option}" in record.messages[0].text for option in record.options)
    positions = [record.options.index(record.answer) for record in by_task["mcq"]]
    assert max(map(positions.count, range(4))) < 0.6 * len(positions)
    assert 0.2 < [record.answer for record in by_task["closed"]].count("yes") / len(by_task["closed"]) < 0.8
    assert all(record.group == record.answer for record in by_task["open"])


def test_another_json_is_refused(tmp_path: Path, read_source: Any) -> None:
    (tmp_path / "oncotree.json").write_text('[{"code": "A"}]')
    with pytest.raises(InputError, match="not OncoTree's tree"):
        read_source("oncotree", tmp_path)
