"""Records keep their promises on the way into Arrow and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.errors import InputError
from eosin.records import (
    RECORD_TYPES,
    REJECT_SCHEMA,
    SCHEMAS,
    Box,
    Conversation,
    LabelledImage,
    Message,
    Part,
    Record,
    Reject,
    box_to_text,
    from_table,
    to_table,
    unwritable,
)


def test_every_kind_survives_the_round_trip(one_of_each: list[Record]) -> None:
    assert {record.kind for record in one_of_each} == set(SCHEMAS)
    for record in one_of_each:
        table = to_table(record.kind, [record])
        assert table.schema.equals(SCHEMAS[record.kind], check_metadata=True)
        back = from_table(RECORD_TYPES[record.kind], table)
        if record.kind == "embeddings":  # vectors are float32 on disk
            assert back[0].vector == pytest.approx(record.vector)  # type: ignore[attr-defined]
        else:
            assert back == [record]


def test_a_record_of_another_kind_is_refused(one_of_each: list[Record]) -> None:
    with pytest.raises(InputError, match="artefact of kind image_text"):
        to_table("image_text", one_of_each[1:2])


def labelled(**changes: Any) -> LabelledImage:
    return LabelledImage(**{"id": "a/1", "source": "a", "licence": "x", "group": "g", "image": b"x", **changes})


@pytest.mark.parametrize("name", ["id", "source", "licence", "group"])
def test_a_record_without_its_identity_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        labelled(**{name: ""})


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="allowed: train, val, test, none"):
        labelled(split="dev")


def conversation(**changes: Any) -> Conversation:
    values = {"id": "a/1", "source": "a", "licence": "x", "group": "g", "images": (), "messages": (), "task": "open", **changes}
    return Conversation(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "quiz"}, "task is 'quiz'"),
        ({"images": (b"x",)}, "0 image parts but 1 images"),
        ({"messages": (Message("user", (Part("image"),)),)}, "1 image parts but 0 images"),
        ({"messages": (Message("gpt", ()),)}, "role is 'gpt'"),
        ({"messages": (Message("user", (Part("video"),)),)}, "part type is 'video'"),
    ],
)
def test_a_conversation_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        conversation(**changes)


@pytest.mark.parametrize("corners", [(0.5, 0, 0.5, 1), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, 1, 1, 0)])
def test_a_box_outside_the_image_or_without_area_is_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="box"):
        Box(*corners, "x")


@given(st.tuples(st.floats(0, 0.45), st.floats(0, 0.45), st.floats(0.55, 1), st.floats(0.55, 1)))
def test_a_box_in_text_is_within_half_a_step_of_the_box(corners: tuple[float, float, float, float]) -> None:
    text = box_to_text(Box(*corners, "x"))
    numbers = [int(number) for number in text.strip("[]").split(", ")]
    assert all(0 <= number <= 999 for number in numbers)
    assert all(abs(number / 999 - corner) <= 0.5 / 999 + 1e-9 for number, corner in zip(numbers, corners, strict=True))


def test_extra_is_json_whatever_its_numbers() -> None:
    told = {"a": float("nan"), "b": [float("inf"), {"c": -float("inf")}], "d": 0.5}
    [written] = to_table("labelled_images", [labelled(extra=told)])["extra"].to_pylist()
    held = json.loads(written, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert held == {"a": "NaN", "b": ["Infinity", {"c": "-Infinity"}], "d": 0.5}


def test_a_reject_can_be_written_whatever_it_is_about() -> None:
    reject = Reject("a\ud83d", "broken_text", "cut \ud83d")
    table = pa.Table.from_pylist(
        [dataclasses.asdict(reject)], schema=pa.schema([REJECT_SCHEMA.field(n) for n in ("key", "reason", "message")])
    )
    assert table.to_pylist() == [{"key": "a\\ud83d", "reason": "broken_text", "message": "cut \\ud83d"}]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [({"a": 1}, None), ({"a": {"\ud83d": 1}}, "broken_text"), ({"a": [("\udcff",)]}, "broken_text"), ({"a": None}, None)],
)
def test_what_cannot_be_stored_is_told(extra: dict[str, Any], reason: str | None) -> None:
    why = unwritable(labelled(extra=extra))
    assert (why and why[0]) == reason
    for _ in range(101):
        extra = {"a": extra}
    assert unwritable(labelled(extra=extra)) is not None
