"""Fields of publishers' records: parsed as they are written, never evaluated."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.pathgen import PathGen, PathGenOptions
from eosin.data_builders.sources.reading.fields import checked_split, planned_split, repr_list, rest, texts
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError

KNOWN = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "none", ""}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


@given(st.lists(PLAIN, max_size=4))
def test_a_list_written_by_python_is_read_back(value: list[object]) -> None:
    assert repr_list(repr(value)) == value


@given(st.text(max_size=40))
def test_any_text_is_a_list_or_stays_as_it_is(written: str) -> None:
    found = repr_list(written)
    assert found == written or isinstance(found, list)


@pytest.mark.parametrize("written", ["[print(1)]", "[open('x', 'w')]", "[1 for _ in range(9)]", "(" * 5000, "[1, 2"])
def test_what_would_have_to_run_stays_text(written: str) -> None:
    assert repr_list(written) == written


@given(st.text(max_size=12))
def test_a_split_that_is_none_of_ours_is_planned_as_none_and_refused(written: str) -> None:
    planned = planned_split(written)
    assert planned in ("train", "val", "test", "none")
    refused = ""
    try:
        found = checked_split(written)
    except Refused as error:
        found, refused = "none", error.reason
    assert found == planned
    assert refused in ("", "unknown_split")
    assert (refused == "") == (written.strip().lower() in KNOWN)


def test_captions_keep_their_order_and_lose_repetitions() -> None:
    assert texts([" b ", "a", "", None, "b", 3]) == ("b", "a")
    assert texts({"a": "b"}) == texts(None) == texts(3) == ()
    assert rest({"Caption": "x", "a": None, "b": [], "c": 0}, "caption") == {"c": 0}


RECORDS = st.lists(
    st.fixed_dictionaries({"id": st.text(max_size=9), "n": st.integers(), "deep": st.lists(st.text(max_size=5), max_size=3)}),
    min_size=2,
    max_size=9,
)


@settings(max_examples=30)
@given(records=RECORDS, indent=st.sampled_from([None, 1]), bom=st.booleans())
def test_records_are_the_same_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], indent: int | None, bom: bool
) -> None:
    path = tmp_path_factory.mktemp("forms") / "data.json"
    forms = {
        "list": json.dumps(records, indent=indent),
        "lines": "\n".join(map(json.dumps, records)),
        "object": json.dumps({f"k{number}": record for number, record in enumerate(records)}, indent=indent),
        "named list": json.dumps({"annotations": records}, indent=indent),
    }
    for form, written in forms.items():
        path.write_text(("\ufeff" if bom else "") + written)
        file = JsonRecords(path, "data.json")
        found = [entry for section in file.sections() for entry in file.items(section)]
        assert [element for _, element in found] == records, form
        assert [key for key, _ in found] == [f"{'k' if form == 'object' else '#'}{number}" for number in range(len(records))]


NUMBERS = st.integers(0, 10**6)


@settings(max_examples=30)
@given(x=NUMBERS, y=NUMBERS, form=st.sampled_from([str, int, float]), packed=st.booleans())
def test_a_position_is_read_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, x: int, y: int, form: type, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("places")
    position: object = [form(x), form(y)]
    record = {"wsi_id": "S", "position": str(position) if packed else position, "caption": "c"}
    (folder / "PathGen.json").write_text(json.dumps([record]))
    source = PathGen(folder, PathGenOptions())
    [section] = source.sections()
    assert [item.key for item in source.items(section)] == [f"S/{x}_{y}#0"]


@pytest.mark.parametrize(
    "position",
    [
        None,
        [],
        [1],
        [1, 2, 3],
        ["a", 1],
        {"x": 1},
        [-1, 0],
        [0.5, 0],
        ["inf", 0],
        ["nan", "nan"],
        "12",
        [10**12, 0],
        [None, 1],
        [10**400, 0],
        "[" * 3000,
    ],
)
def test_a_position_that_is_none_is_refused(tmp_path: Path, position: object) -> None:
    (tmp_path / "PathGen.json").write_text(json.dumps([{"wsi_id": "S", "position": position, "caption": "c"}]))
    source = PathGen(tmp_path, PathGenOptions())
    [section] = source.sections()
    [item] = source.items(section)
    with pytest.raises(Refused) as refused:
        item.build()
    assert refused.value.reason == "no_position"


def test_a_size_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="from 16 to 4096"):
        PathGenOptions(size=9)
