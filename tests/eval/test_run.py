"""What asking promises: every question answered once, under the condition named, resumed after a kill, nothing dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main as eosin
from eosin.errors import BackendError
from eosin.images import decode_image, image_size
from eosin.numerics import unit_rows
from eosin.records import Conversation, LabelledImage, Prediction

Fixture = Any


def predicted(folder: Path) -> dict[str, Prediction]:
    return {row.question: row for row in open_artefact(folder, "predictions").records(Prediction)}


def run(*words: str) -> int:
    return eosin(["eval", "run", *words])


def test_zero_shot_takes_the_class_whose_prompts_lie_nearest(bench: Fixture, embedder: Fixture) -> None:
    out = bench.root / "out"
    assert run("demo/eval-zero-shot", f"model={bench.clip}", f"data={bench.images}", "--out", str(out)) == 0
    rows = predicted(out)
    assert len(rows) == 24
    assert all(row.reply == row.answer for row in rows.values())
    record = next(iter(open_artefact(bench.images).records(LabelledImage, "test")))
    row = rows[record.id]
    weights = unit_rows(np.array([(230, 120, 180), (60, 70, 200), (60, 190, 90)]))
    assert row.scores == pytest.approx(20 * (embedder.embed_images([record.image]) @ weights.T)[0], abs=1e-4)
    assert (row.options, row.topic, row.finish_reason, row.model) == (("PINK", "BLUE", "GREEN"), row.answer, "argmax", embedder.fingerprint)
    prompts = open_artefact(out).plan.facts["prompts"]
    assert "an H&E tile showing pink tissue" in prompts["PINK"]


def test_blind_zero_shot_sees_black_and_says_one_class(bench: Fixture, embedder: Fixture) -> None:
    out = bench.root / "out"
    assert run("demo/eval-zero-shot-blind", f"model={bench.clip}", f"data={bench.images}", "--out", str(out)) == 0
    rows = predicted(out).values()
    assert len({row.reply for row in rows}) == 1
    assert len({row.image_hashes for row in rows}) == 1
    assert {row.condition for row in rows} == {"blind"}


def test_questions_are_asked_without_their_answers(bench: Fixture, chat: Fixture) -> None:
    out = bench.root / "out"
    assert run("demo/eval-vqa", "tasks=[closed,open,mcq]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(out)) == 0
    rows = predicted(out)
    assert len(rows) == 72
    assert {message.role for asked in chat.asked for message in asked.messages} == {"user"}
    row = rows["made/test-0/closed"]
    sent = next(asked for asked in chat.asked if asked.prompt_hash == row.prompt_hash and asked.image_hashes == row.image_hashes)
    assert sent.messages[-1].text == row.extra["question"] == "Is this green ink?"
    assert (row.reply, row.answer, row.topic, row.condition, row.model) == ("No.", "no", "class", "plain", "looking-chat")
    assert rows["made/test-1/mcq"].options == ("pink tissue", "blue nuclei", "green ink")


def test_blind_and_no_image_send_what_their_names_say(bench: Fixture, chat: Fixture) -> None:
    for condition in ("blind", "no_image"):
        chat.asked.clear()
        out = bench.root / condition
        words = (f"condition={condition}", "tasks=[open]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(out))
        assert run("demo/eval-vqa", *words) == 0
        assert {row.reply for row in predicted(out).values()} == {"nothing"}
        if condition == "blind":
            assert all(image_size(asked.images[0]) == (24, 24) and not decode_image(asked.images[0]).any() for asked in chat.asked)
        else:
            assert all(not asked.images and [part.type for part in asked.messages[0].content] == ["text"] for asked in chat.asked)


def test_evidence_stands_before_the_question_and_never_shows_the_own_group(bench: Fixture, chat: Fixture, archive: Path) -> None:
    out = bench.root / "out"
    words = (f"index={archive}", f"embedder={bench.clip}", "tasks=[open]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(out))
    assert run("demo/eval-vqa-evidence", *words) == 0
    rows = predicted(out)
    groups = {f"made/{split}-{number}": f"{split}-patient-{number // 2}" for split in ("train", "test") for number in range(24)}
    for row in rows.values():
        assert len(row.extra["evidence"]) == 4
        assert row.group not in {groups[name] for name, _ in row.extra["evidence"]}
    asked = chat.asked[0].messages[-1].text
    assert asked.startswith("Similar cases from the archive:\n[1] ")
    assert asked.endswith("\n\nWhat is this?")


def test_a_question_that_fails_becomes_a_counted_error(bench: Fixture, chat: Fixture) -> None:
    chat.bad = "Is this green ink?"
    out = bench.root / "out"
    assert run("demo/eval-vqa", "tasks=[closed]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(out)) == 0
    rows = predicted(out)
    failed = {name for name, row in rows.items() if row.finish_reason == "error"}
    assert len(rows) == 24
    assert failed == {name for name, row in rows.items() if row.extra["question"] == "Is this green ink?"} != set()
    assert all(rows[name].extra["error"] == "cannot answer this" and rows[name].reply == "" for name in failed)


def test_a_dead_server_stops_the_run_and_the_next_one_resumes(bench: Fixture, chat: Fixture) -> None:
    out = bench.root / "out"
    words = ("tasks=[closed,open]", "shard_size=12", f"model={bench.llm}", f"data={bench.talks}", "--out", str(out))
    whole, chat.asked = bench.root / "whole", []
    assert run("demo/eval-vqa", *words[:-1], str(whole)) == 0
    first, generate = set(range(12)), chat.generate
    calls = []

    def dies(batch: list[Any], sampling: Any) -> Any:
        calls.append(len(batch))
        if sum(calls) > len(first):
            raise BackendError("connection refused")
        return generate(batch, sampling)

    chat.generate = dies
    assert run("demo/eval-vqa", *words) == 1
    assert not (out / "manifest.json").exists()
    chat.generate, chat.asked = generate, []
    assert run("demo/eval-vqa", *words) == 0
    assert len(chat.asked) == 36
    assert open_artefact(out).manifest["files"] == open_artefact(whole).manifest["files"]


def test_a_finished_run_asks_no_model(bench: Fixture, chat: Fixture) -> None:
    words = ("demo/eval-vqa", "tasks=[open]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(bench.root / "out"))
    assert run(*words) == 0
    chat.asked.clear()
    assert run(*words) == 0
    assert not chat.asked


def test_an_unreadable_image_costs_one_answer(bench: Fixture, embedder: Fixture, write_records: Callable[..., Artefact]) -> None:
    records = list(open_artefact(bench.images).records(LabelledImage, "test"))
    broken = LabelledImage(**{**vars(records[0]), "id": "made/broken", "image": b"\x89PNG\r\n\x1a\n broken"})
    write_records(bench.root / "some", "labelled_images", [*records, broken], {"classes": ["PINK", "BLUE", "GREEN"]})
    out = bench.root / "out"
    labels = bench.root / "labels.yaml"
    labels.write_text("classes: {PINK: {answer: pink tissue}, BLUE: {answer: blue nuclei}, GREEN: {answer: green ink}}")
    words = (f"labels={labels}", f"model={bench.clip}", f"data={bench.root / 'some'}", "--out", str(out))
    assert run("demo/eval-zero-shot", *words) == 0
    rows = predicted(out)
    assert [name for name, row in rows.items() if row.finish_reason == "error"] == ["made/broken"]
    assert len(rows) == 25


def test_conversations_of_several_turns_are_left_out_and_counted(
    bench: Fixture, chat: Fixture, write_records: Callable[..., Artefact], capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(open_artefact(bench.talks).records(Conversation, "test"))
    long = Conversation(**{**vars(records[0]), "id": "made/long", "messages": records[0].messages * 2, "images": records[0].images * 2})
    write_records(bench.root / "some", "conversations", [*records, long])
    out = bench.root / "out"
    assert run("demo/eval-vqa", f"model={bench.llm}", f"data={bench.root / 'some'}", "--out", str(out)) == 0
    assert "made/long" not in predicted(out)
    assert open_artefact(out).plan.facts["questions"]["left_out"] == {"of several turns": 1}
    assert "1 of several turns" in capsys.readouterr().err


def test_options_that_the_text_does_not_name_are_listed_and_instructions_end_the_question(
    bench: Fixture, chat: Fixture, write_records: Callable[..., Artefact]
) -> None:
    records = [row for row in open_artefact(bench.talks).records(Conversation, "test") if row.task == "open"]
    bare = [Conversation(**{**vars(row), "task": "mcq", "options": ("pink tissue", "blue nuclei", "green ink")}) for row in records]
    write_records(bench.root / "some", "conversations", bare)
    out = bench.root / "out"
    words = ("instructions.mcq=Answer with the letter.", f"model={bench.llm}", f"data={bench.root / 'some'}", "--out", str(out))
    assert run("demo/eval-vqa", *words) == 0
    asked = next(iter(predicted(out).values())).extra["question"]
    assert asked == "What is this?\nA. pink tissue\nB. blue nuclei\nC. green ink\nAnswer with the letter."


def test_the_colour_baseline_learns_classes_and_forms_from_training_only(bench: Fixture) -> None:
    out = bench.root / "out"
    assert run("demo/eval-colour", f"data={bench.images}", f"conversations={bench.talks}", "--out", str(out)) == 0
    rows = predicted(out)
    assert len(rows) == 24 + 72
    assert {row.model for row in rows.values()} == {"colour-baseline"}
    right = {
        task: [row.reply == row.answer for row in rows.values() if row.task == task] for task in ("zero_shot", "closed", "open", "mcq")
    }
    assert all(right["zero_shot"] + right["open"] + right["mcq"])
    assert sum(right["closed"]) / len(right["closed"]) > 0.9
    assert {row.split for row in rows.values()} == {"test"}


def test_training_images_that_the_colour_baseline_cannot_decode_are_counted(
    bench: Fixture, write_records: Callable[..., Artefact], capsys: pytest.CaptureFixture[str]
) -> None:
    images = list(open_artefact(bench.images).records(LabelledImage))
    talks = list(open_artefact(bench.talks).records(Conversation))
    broken = [row.image for row in images if row.split == "train"][:2]
    spoilt = {image: image[:40] for image in broken}
    write_records(bench.root / "spoilt-images", "labelled_images", [replace(row, image=spoilt.get(row.image, row.image)) for row in images])
    few = {broken[0]: broken[0][:40]}
    changed = [replace(row, images=tuple(few.get(image, image) for image in row.images)) for row in talks]
    write_records(bench.root / "spoilt-talks", "conversations", changed)
    out = bench.root / "out"
    words = (f"data={bench.root / 'spoilt-images'}", f"conversations={bench.root / 'spoilt-talks'}")
    assert run("demo/eval-colour", *words, "--out", str(out)) == 0
    assert open_artefact(out).manifest["results"] == {"undecodable_training_images": {"data": 2, "conversations": 1}}
    said = capsys.readouterr().err.replace("\n", " ")
    assert "images of data that cannot be decoded and are left out: 2" in said
    assert "images of conversations that cannot be decoded and are left out: 1" in said
    assert all(row.reply == row.answer for row in predicted(out).values() if row.task in ("zero_shot", "open"))


def test_the_colour_baseline_answers_the_majority_where_training_never_asked(
    bench: Fixture, write_records: Callable[..., Artefact]
) -> None:
    records = list(open_artefact(bench.talks).records(Conversation))
    train = [row for row in records if row.split == "train" and row.task == "closed" and row.extra["asked"] != "GREEN"]
    test = [row for row in records if row.split == "test" and row.task == "closed" and row.extra["asked"] == "GREEN"]
    write_records(bench.root / "some", "conversations", train + test)
    out = bench.root / "out"
    assert run("demo/eval-colour", "tasks=[closed]", f"conversations={bench.root / 'some'}", "--out", str(out)) == 0
    assert {(row.reply, row.extra["learnt"]) for row in predicted(out).values()} == {("no", "majority")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("demo/eval-vqa", "condition=deaf"), "allowed: plain, blind, no_image, evidence"),
        (("demo/eval-vqa", "task=caption"), "allowed: zero_shot, vqa, colour_baseline"),
        (("demo/eval-vqa", "condition=evidence"), "needs index"),
        (("demo/eval-vqa", "tasks=[closd]"), "closd"),
        (("demo/eval-vqa", "limit=3"), "did you mean"),
        (("demo/eval-vqa", "tasks=[report]"), "nothing to ask"),
        (("demo/eval-vqa", "split=val"), "no records of split"),
    ],
)
def test_mistakes_are_named(bench: Fixture, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = (f"model={bench.llm}", f"data={bench.talks}", "--out", str(bench.root / "out"))
    assert run(*words, *inputs) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_label_set_of_other_data_is_refused(bench: Fixture, embedder: Fixture) -> None:
    words = (f"model={bench.clip}", f"data={bench.images}", "labels=lc25000", "--out", str(bench.root / "out"))
    assert run("demo/eval-zero-shot", *words) == 2


def test_errors_of_our_own_are_not_taken_for_bad_questions(bench: Fixture, chat: Fixture) -> None:
    chat.bad, chat.error = "Is this", ZeroDivisionError
    words = ("tasks=[closed]", f"model={bench.llm}", f"data={bench.talks}", "--out", str(bench.root / "out"))
    with pytest.raises(ZeroDivisionError):
        run("demo/eval-vqa", *words)
