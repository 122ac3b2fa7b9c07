"""A reply is one JSON object that fits its schema, or a refusal with a reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.writing.prompts import PromptFile, load_prompt
from eosin.data_builders.writing.replies import Refused, check_schema, parse_reply
from eosin.errors import ConfigError

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}, "required": ["a"], "additionalProperties": False}
ANY = {"type": "object"}
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])), st.lists, max_leaves=5)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=4), st.booleans(), st.booleans())
def test_any_object_is_read_as_it_was_written_with_or_without_fence_and_thought(value: dict[str, Any], fence: bool, thought: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    text = f"```json\n{text}\n```" if fence else text
    assert parse_reply(f"<think>a {{}} b</think>\n{text}" if thought else text, ANY) == value


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reason = str(type(parse_reply(text, ANY)).__name__)
    except Refused as refused:
        reason = refused.reason
    assert reason in ("dict", "not_json", "not_in_schema", "not_text")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        ("sure!", "not_json"),
        ('Here it is: {"a": "x"}', "not_json"),
        ('{"a": "x"} {"a": "y"}', "not_json"),
        ('{"a": "x", "a": "y"}', "not_json"),
        ('{"a": NaN}', "not_json"),
        ('{"a": "cut', "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"a": ' + "9" * 5000 + "}", "not_json"),
        ('["a"]', "not_in_schema"),
        ('{"a": ""}', "not_in_schema"),
        ('{"a": "x", "b": 1}', "not_in_schema"),
        ('{"a": "\\ud800"}', "not_text"),
    ],
)
def test_what_is_no_answer_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_reply(text, SCHEMA)
    assert caught.value.reason == reason


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": "nonsense"}, {}])
def test_a_schema_that_is_none_is_refused_when_the_prompt_is_read(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="schema"):
        check_schema(schema)


def test_a_prompt_changes_its_hash_with_every_word_and_with_no_comment(tmp_path: Any) -> None:
    text = "version: 1\nuser: Describe {{known}}.\nschema: {type: object}\n"
    (tmp_path / "p.yaml").write_text(text)
    (tmp_path / "q.yaml").write_text(f"# a comment\n{text}")
    (tmp_path / "r.yaml").write_text(text.replace("Describe", "Sketch"))
    hashes = [load_prompt(str(tmp_path / f"{name}.yaml")).hash for name in "pqr"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_value_that_looks_like_a_slot_is_left_alone() -> None:
    prompt = PromptFile(1, "{{a}} and {{b}}", {"type": "object"})
    assert prompt.chat({"a": "{{b}}", "b": r"\1"}).messages[0].text.startswith(r"{{b}} and \1")


def test_a_slot_without_a_value_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"slots for b; known here: a"):
        PromptFile(1, "{{a}} {{b}}", {"type": "object"}).chat({"a": "x"})


def test_the_schema_that_is_checked_is_the_schema_that_is_sent() -> None:
    prompt = load_prompt("mcq")
    sent = prompt.chat({"facts": "f"}).messages[-1].text
    assert json.loads(sent.rpartition("schema:\n")[2]) == prompt.schema
