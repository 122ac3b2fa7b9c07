"""`write_instructions`: every form of conversation, from captions, labels, boxes and reports."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from eosin.artefacts import open_artefact, verify
from eosin.data_builders.questions import LETTERS
from eosin.data_builders.writing.forms import FORMS
from eosin.data_builders.writing.prompts import load_prompt
from eosin.errors import ConfigError
from eosin.records import Box, Conversation, LabelledImage

Build = Callable[..., Path]
# (0.1, 0.2, 0.3, 0.4) and (0.5, 0.5, 0.75, 1.0) of the picture, as text.
BOXES = "[100, 200, 300, 400]; [500, 500, 749, 999]"


def read(out: Path) -> list[Conversation]:
    return list(open_artefact(out / "conversations").records(Conversation))


def by_form(out: Path) -> dict[str, list[Conversation]]:
    found: dict[str, list[Conversation]] = {form: [] for form in FORMS}
    for record in read(out):
        found[str(record.extra["form"])].append(record)
    return found


def rejects(out: Path) -> list[tuple[str, str]]:
    table = pq.read_table(out / "conversations" / "rejects" / "rejects.parquet").to_pylist()
    return [(row["key"], row["reason"]) for row in table]


def only(**forms: float) -> dict[str, float]:
    return forms


@pytest.fixture
def everything(build: Build, recipe: Any, labelled: Any) -> Path:
    """All forms about twelve labelled pictures, of which four have boxes and one is in the test split."""
    return build(recipe("write_instructions", images=str(labelled(12))))


def test_every_form_is_written_about_every_picture_it_fits(everything: Path, server: Any) -> None:
    found = by_form(everything)
    counts = {form: len(records) for form, records in found.items()}
    assert counts == {**dict.fromkeys(FORMS, 12), "closed": 24, "grounding": 4}
    artefact = open_artefact(everything / "conversations")
    assert artefact.manifest["results"]["form"] == dict(sorted(counts.items()))
    assert artefact.manifest["splits"] == {"test": 9, "train": 91}
    assert verify(artefact) == []
    assert len(server.bodies) == 7 * 12 + 4


def test_a_record_names_its_picture_its_origin_and_what_made_it(everything: Path) -> None:
    for form, records in by_form(everything).items():
        for record in records:
            assert record.id.startswith(f"{record.extra['image_id']}/{form}/")
            assert (record.source, record.licence) == ("toy", "CC0-1.0")
            assert len(record.images) == 1
            assert [part.type for message in record.messages for part in message.content].count("image") == 1
            assert next(message for message in record.messages if message.role == "user").content[0].type == "image"
            assert record.provenance is not None
            assert record.provenance.prompt == load_prompt(form).hash
            assert record.provenance.model
    assert len({record.provenance.model for record in read(everything) if record.provenance}) == 1


def test_yes_and_no_come_in_pairs(everything: Path) -> None:
    closed = by_form(everything)["closed"]
    assert Counter(record.answer for record in closed) == {"yes": 12, "no": 12}
    assert all(record.messages[-1].text == record.answer for record in closed)


def test_options_are_shuffled_the_same_way_each_time_and_the_right_one_stands_everywhere_equally_often(
    build: Build, recipe: Any, captioned: Any
) -> None:
    made = [recipe("write_instructions", images=str(captioned(21)), forms=only(mcq=1.0), seed=seed) for seed in (0, 0, 1)]
    sets = [read(build(made[place], out=f"out{place}")) for place in range(3)]
    places = [record.options.index(record.answer or "") for record in sets[0]]
    assert set(Counter(places).values()) <= {5, 6}
    for record, place in zip(sets[0], places, strict=True):
        lines = record.messages[0].text.splitlines()
        assert lines[1:5] == [f"{LETTERS[number]}. {option}" for number, option in enumerate(record.options)]
        assert record.messages[1].text == LETTERS[place]
        assert len(set(record.options)) == 4
    assert sets[0] == sets[1]
    assert [record.options for record in sets[2]] != [record.options for record in sets[0]]
    wrong = {tuple(option.split()[0] for option in record.options if option != record.answer) for record in sets[0]}
    assert len(wrong) > 1


def test_places_stay_balanced_whatever_was_rejected(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        good = dict(kit.good_answer(body))
        number = int(re.findall(r"glands of case (\d+)", kit.texts_of(body, "user")[0])[0])
        return {**good, "question": "Is this adenocarcinoma?"} if number % 5 < 2 else good

    server.answer = answer
    out = build(recipe("write_instructions", {"answers": 1}, images=str(captioned(20)), forms=only(mcq=1.0)))
    assert Counter(record.options.index(record.answer or "") for record in read(out)) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert rejects(out) == [(f"toy/{number:03d}/mcq", "answer_in_question") for number in range(20) if number % 5 < 2]


def test_a_dialogue_has_turns_and_reasoning_has_steps_before_its_answer(everything: Path) -> None:
    found = by_form(everything)
    assert [message.role for message in found["dialogue"][0].messages] == ["user", "assistant"] * 2
    assert found["reasoning"][0].messages[1].text == "1. Glands are crowded.\n2. Nuclei are dark.\nAnswer: adenocarcinoma"
    assert found["reasoning"][0].answer == "adenocarcinoma"
    assert {record.task for record in found["report"]} == {"report"}
    assert (found["report"][0].answer or "").startswith("Crowded glands")


def test_boxes_in_an_answer_are_the_records_own_whatever_the_model_says(everything: Path, server: Any, kit: Any) -> None:
    grounding = by_form(everything)["grounding"]
    assert {record.answer for record in grounding} == {BOXES}
    asked = [kit.texts_of(body, "user")[0] for body in server.bodies if "with boxes" in kit.texts_of(body, "user")[0]]
    assert len(asked) == 4
    assert all("2 x mitosis" in text and "0.1" not in text for text in asked)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Please mark the 2 mitosis figures.", "answer_in_question"),
        ("Please mark the two mitosis figures.", "answer_in_question"),
        ("Please mark mitosis at [1, 2, 3, 4].", "answer_in_question"),
        ("Please mark every gland.", "label_not_asked"),
    ],
)
def test_a_request_for_boxes_tells_neither_where_nor_how_many(
    question: str, reason: str, build: Build, recipe: Any, labelled: Any, server: Any
) -> None:
    server.answer = lambda body: {"question": question}
    out = build(recipe("write_instructions", {"answers": 1}, images=str(labelled(1)), forms=only(grounding=1.0)))
    assert rejects(out) == [("toy/000/grounding", reason)]


def test_a_label_may_hold_numbers_of_its_own(build: Build, recipe: Any, kit: Any, server: Any, tmp_path: Path) -> None:
    record = LabelledImage(**kit.common(0), image=kit.picture(0), boxes=(Box(0.1, 0.2, 0.3, 0.4, "CD3 cell"),))
    images = kit.write_artefact(tmp_path / "boxed", "labelled_images", [record], classes=["a"]).path
    server.answer = lambda body: {"question": "Please mark every CD3 cell in the picture."}
    out = build(recipe("write_instructions", images=str(images), forms=only(grounding=1.0)))
    assert [found.answer for found in read(out)] == ["[100, 200, 300, 400]"]


def test_a_call_fits_the_tools_own_schema_and_results_come_from_boxes_alone(
    build: Build, recipe: Any, labelled: Any, tmp_path: Path
) -> None:
    out = build(recipe("write_instructions", images=str(labelled(40)), forms=only(tool=1.0)))
    records = read(out)
    called = Counter(json.loads(record.answer or "")["name"] for record in records)
    assert len(called) >= 6
    boxed = [record for record in records if json.loads(record.answer or "")["name"] == "detect_objects"]
    assert boxed
    for record in records:
        assert record.messages[0].role == "system"
        assert '"name": "detect_objects"' in record.messages[0].text
        assert record.messages[2].text == record.answer
        assert len(record.messages) == (5 if record in boxed else 3)
    result = json.loads(boxed[0].messages[3].text)
    assert (boxed[0].messages[3].role, result["count"], len(result["boxes"])) == ("tool", 2, 2)
    assert boxed[0].messages[4].text.startswith(f"The tool marked 2 x mitosis: {BOXES}")


def test_a_call_with_wrong_arguments_goes_back_to_the_model(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    server.answer = lambda body: {"request": "Please look into this.", "arguments": {"nonsense": 1}}
    out = build(recipe("write_instructions", {"answers": 2}, images=str(captioned(2)), forms=only(tool=1.0)))
    assert {reason for _, reason in rejects(out)} == {"wrong_arguments"}
    assert len(server.bodies) == 4
    assert "do not fit the tool" in kit.texts_of(server.bodies[-1], "user")[1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"question": "Which tumour, an adenocarcinoma or a lymphoma?", "answer": "adenocarcinoma"}, "answer_in_question"),
        ({"question": "What does the caption say of this?", "answer": "adenocarcinoma"}, "speaks_of_source"),
        ({"question": "Which tumour is seen here?", "answer": "?!"}, "empty"),
        ({"question": "Which tumour is seen here?"}, "not_in_schema"),
    ],
)
def test_a_question_that_is_no_good_is_repaired_or_rejected_with_the_reason(
    value: dict[str, Any], reason: str, build: Build, recipe: Any, captioned: Any, server: Any, kit: Any
) -> None:
    server.answer = lambda body: value
    out = build(recipe("write_instructions", images=str(captioned(1)), forms=only(open=1.0)))
    assert rejects(out) == [("toy/000/open", reason)]
    assert len(server.bodies) == 3
    server.answer = lambda body: value if len(body["messages"]) < 4 else kit.good_answer(body)
    (record,) = read(build(recipe("write_instructions", images=str(captioned(1)), forms=only(open=1.0)), out="repaired"))
    assert record.extra["answers"] == 2


def test_options_that_give_the_answer_away_are_refused(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    server.answer = lambda body: {**kit.good_answer(body), "distractors": ["Adenocarcinoma.", "lymphoma", "lipoma"]}
    out = build(recipe("write_instructions", images=str(captioned(1)), forms=only(mcq=1.0)))
    assert rejects(out) == [("toy/000/mcq", "options_alike")]


def test_a_dialogue_that_tells_its_end_at_its_beginning_is_refused(build: Build, recipe: Any, captioned: Any, server: Any) -> None:
    turns = [("Where does the adenocarcinoma lie here?", "In the left half"), ("What is the diagnosis of it?", "Adenocarcinoma")]
    server.answer = lambda body: {"turns": [{"question": question, "answer": answer} for question, answer in turns]}
    out = build(recipe("write_instructions", images=str(captioned(1)), forms=only(dialogue=1.0)))
    assert rejects(out) == [("toy/000/dialogue", "answer_in_question")]


def test_letters_that_a_model_writes_before_options_are_not_shuffled_with_them(
    build: Build, recipe: Any, captioned: Any, server: Any
) -> None:
    server.answer = lambda body: {
        "question": "Which tissue is this?",
        "answer": "B. bone",
        "distractors": ["A. gland", "C. fat", "D. skin"],
    }
    (record,) = read(build(recipe("write_instructions", images=str(captioned(1)), forms=only(mcq=1.0))))
    assert (sorted(record.options), record.answer) == (["bone", "fat", "gland", "skin"], "bone")


def test_a_blind_writer_is_sent_no_picture_but_the_record_has_it(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    out = build(recipe("write_instructions", images=str(captioned(2)), forms=only(open=1.0), see=False))
    assert all(isinstance(message["content"], str) for body in server.bodies for message in body["messages"])
    assert {"Caption: glands of case 0" in kit.texts_of(body, "user")[0] for body in server.bodies} == {True, False}
    assert [len(record.images) for record in read(out)] == [1, 1]


def test_slides_are_talked_about_from_their_reports(build: Build, recipe: Any, slides: Path, server: Any, kit: Any) -> None:
    out = build(recipe("write_instructions", slides=str(slides), forms=only(open=1.0, report=1.0), see=False))
    records = read(out)
    assert [record.id for record in records] == [f"toy/{number:03d}/{form}/0" for number in (1, 2) for form in ("open", "report")]
    assert rejects(out) == [("toy/000", "nothing_known")]
    part = records[0].messages[0].content[0]
    assert (part.type, part.text) == ("slide", "S1")
    assert all("Report: Crowded glands." in kit.texts_of(body, "user")[0] for body in server.bodies)


def test_a_share_of_the_pictures_is_the_same_share_next_time(build: Build, recipe: Any, captioned: Any) -> None:
    shares = [
        [record.id for record in read(build(recipe("write_instructions", images=str(captioned(60)), forms=only(open=share)), out=name))]
        for share, name in ((0.5, "a"), (0.5, "b"), (0.8, "c"))
    ]
    assert 18 <= len(shares[0]) <= 42
    assert shares[0] == shares[1]
    assert set(shares[0]) < set(shares[2])


def test_a_form_or_an_input_that_is_not_there_is_an_error(build: Build, recipe: Any, captioned: Any, slides: Path) -> None:
    images = str(captioned(1))
    with pytest.raises(ConfigError, match="there is no form opne"):
        build(recipe("write_instructions", images=images, forms=only(opne=1.0)))
    with pytest.raises(ConfigError, match="above 0"):
        build(recipe("write_instructions", images=images, forms=only(open=0.0)))
    with pytest.raises(ConfigError, match="not both"):
        build(recipe("write_instructions", images=images, slides=str(slides)))


def test_a_prompt_of_ones_own_stands_in_the_record(build: Build, recipe: Any, captioned: Any, tmp_path: Path) -> None:
    own = {"version": 3, "user": "Ask. {{facts}}", "schema": load_prompt("open").schema}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    path = str(tmp_path / "own.yaml")
    out = build(recipe("write_instructions", images=str(captioned(1)), forms=only(open=1.0), prompts={"open": path}))
    (record,) = read(out)
    assert record.provenance is not None
    assert record.provenance.prompt == load_prompt(path).hash != load_prompt("open").hash
    plan = open_artefact(out / "conversations").plan
    assert plan.settings["prompts"]["open"] == {"version": 3, "hash": load_prompt(path).hash}


def test_no_key_and_no_address_reaches_the_artefact(
    build: Build, recipe: Any, captioned: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EOSIN_TEST_KEY", "s3cret-key")
    out = build(recipe("write_instructions", {"api_key_env": "EOSIN_TEST_KEY"}, images=str(captioned(2)), forms=only(open=1.0)))
    assert set(server.keys) == {"Bearer s3cret-key"}
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert not [path for path, data in files.items() if b"s3cret-key" in data]
    assert not [path for path, data in files.items() if server.url.encode() in data and path.name != "run.json"]
