"""Turns, options and answers in all their spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.questions import LETTERS
from eosin.data_builders.sources.reading.dialogue import IMAGE, Gold, asked, chosen, gold_of, question_messages, turns_of
from eosin.data_builders.sources.reading.names import article_of, patient_of, split_of, video_of
from eosin.data_builders.sources.reading.options import gold_option, inline_options, option_texts, yes_or_no
from eosin.data_builders.sources.source import Refused
from eosin.records import Message, Part

WORDS = st.text("abcdefghijklm0123\u00e9\u00fc", min_size=2, max_size=9)
PHRASES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
OPTION_LISTS = st.lists(PHRASES, min_size=2, max_size=6, unique_by=lambda text: text.casefold())
STYLES = st.sampled_from(["{}) {}", "{}. {}", "{}: {}", " {}:{}", "({}) {}"])


def refusal(call, *arguments) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.reason


@given(OPTION_LISTS, STYLES, st.data())
def test_options_and_answers_are_the_same_in_every_spelling(texts: list[str], style: str, data: st.DataObject) -> None:
    spelt = [style.format(letter, text) for letter, text in zip(LETTERS, texts, strict=False)]
    assert option_texts(spelt) == tuple(texts)
    place = data.draw(st.integers(0, len(texts) - 1))
    letter = LETTERS[place]
    spellings = (
        letter,
        letter.lower(),
        f"{letter}.",
        f"({letter})",
        f" {letter}) ",
        spelt[place],
        texts[place],
        f"{texts[place].upper()}.",
    )
    assert {gold_option(answer, texts) for answer in spellings} == {texts[place]}


@given(PHRASES, OPTION_LISTS, st.sampled_from(["{}) {}", "{}. {}", "{}: {}", "({}) {}"]), st.sampled_from(["\n", " "]), st.booleans())
def test_options_inside_a_question_are_found_without_the_request_for_a_letter(
    stem: str, texts: list[str], style: str, between: str, same_line: bool
) -> None:
    lines = [style.format(letter, text) for letter, text in zip(LETTERS, texts, strict=False)]
    request = (" " if same_line else "\n") + "Answer with the option's letter from the given choices directly."
    assert inline_options(f"What is {stem}?" + between + between.join(lines) + request) == tuple(texts)
    assert inline_options(f"What is {stem}? Give it in one word.") == ()


def test_options_that_cannot_be_told_apart_are_refused() -> None:
    assert option_texts(["A. fumigatus", "Mucor"]) == ("A. fumigatus", "Mucor")
    assert refusal(option_texts, ["only one"]) == "wrong_options"
    assert refusal(option_texts, ["A) x", "B) "]) == "wrong_options"
    assert refusal(gold_option, "C", ["x", "y"]) == "answer_not_an_option"
    assert refusal(gold_option, "B) x", ["x", "y"]) == "answer_ambiguous"
    assert refusal(gold_option, "B", ["b", "y"]) == "answer_ambiguous"
    assert refusal(gold_option, "x", ["x", "X", "y"]) == "answer_ambiguous"
    assert gold_option("y", ["x", "x", "y"]) == "y"


@pytest.mark.parametrize(("text", "word"), [("Yes.", "yes"), (" no", "no"), ("No, it is not", None), ("normal", None), ("", None)])
def test_only_a_bare_yes_or_no_is_a_closed_answer(text: str, word: str | None) -> None:
    assert yes_or_no(text) == word


@pytest.mark.parametrize("key", ["conversations", "conversatons", "messages"])
@pytest.mark.parametrize("spelling", ["from", "role"])
@pytest.mark.parametrize("question", ["<image>\nIs there necrosis?", "Is there necrosis?\n<image>", "Is there necrosis?"])
def test_keys_roles_and_the_image_token_may_be_spelt_in_many_ways(key: str, spelling: str, question: str) -> None:
    other = {"from": "value", "role": "content"}[spelling]
    names = ("Human", "gpt") if spelling == "from" else ("user", "assistant")
    turns = [{spelling: names[0], other: question}, {spelling: names[1], other: "Yes"}]
    messages = turns_of({key: turns}, (IMAGE,))
    assert [message.role for message in messages] == ["user", "assistant"]
    assert messages[0].text == "Is there necrosis?"
    assert [part.type for part in messages[0].content].count("image") == 1
    assert messages[0].content[0].type == ("text" if question.endswith("<image>") else "image")
    gold = gold_of(messages)
    assert (gold.task, gold.answer) == ("closed", "yes")


@given(st.lists(st.tuples(PHRASES, PHRASES), min_size=1, max_size=4), st.data())
def test_every_image_stands_where_its_token_stood_and_no_word_is_lost(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    turns, images = [], 0
    for question, answer in pairs:
        here = data.draw(st.integers(0, 2))
        pieces = question.split(" ")
        for _ in range(here):
            pieces.insert(data.draw(st.integers(0, len(pieces))), "<image>")
        images += here
        turns += [{"from": "human", "value": " ".join(pieces)}, {"from": "gpt", "value": answer}]
    shown = tuple(Part("slide", f"s{number}") for number in range(images))
    messages = turns_of({"conversations": turns}, shown)
    parts = [part for message in messages for part in message.content]
    assert tuple(part for part in parts if part.type == "slide") == shown
    said = [message.text.split() for message in messages]
    assert said == [text.split() for pair in pairs for text in pair]


@pytest.mark.parametrize(
    ("turns", "images", "reason"),
    [
        (None, 0, "no_turns"),
        ("text", 0, "no_turns"),
        (["hello"], 0, "wrong_turns"),
        ([{"from": "moderator", "value": "x"}], 0, "unknown_role"),
        ([{"from": "human", "value": "x"}], 0, "turn_order"),
        ([{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}], 0, "turn_order"),
        ([{"from": "human", "value": "x"}, {"from": "gpt", "value": " "}], 0, "wrong_turns"),
        ([{"from": "human", "value": " "}, {"from": "gpt", "value": "y"}], 1, "wrong_turns"),
        ([{"from": "human", "value": "x"}, {"from": "gpt", "value": "<image>"}], 1, "wrong_turns"),
        ([{"from": "human", "value": 7}, {"from": "gpt", "value": "y"}], 0, "wrong_turns"),
        ([{"from": "human", "value": "<image>x"}, {"from": "gpt", "value": "y"}], 2, "image_count"),
        ([{"from": "human", "value": "<image>x"}, {"from": "gpt", "value": "y"}], 0, "image_count"),
    ],
)
def test_turns_that_make_no_conversation_are_named(turns: object, images: int, reason: str) -> None:
    assert refusal(turns_of, {"conversations": turns}, (IMAGE,) * images) == reason


def test_parts_in_lists_system_turns_and_several_questions_are_read() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Colon."}]},
        {"role": "user", "content": "Is it benign?"},
        {"role": "assistant", "content": "Yes"},
    ]
    messages = turns_of({"messages": turns}, (IMAGE,))
    assert [part.type for part in messages[1].content] == ["image", "text"]
    assert gold_of(messages).task == "open"
    assert gold_of(messages).answer == "Yes"


def test_an_image_alone_is_a_question_for_a_caption() -> None:
    messages = turns_of({"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "Glands."}]}, (IMAGE,))
    assert messages == (Message("user", (IMAGE,)), Message("assistant", (Part("text", "Glands."),)))
    assert gold_of(messages) == Gold("caption", "Glands.")


def test_a_list_in_free_text_is_no_choice() -> None:
    messages = question_messages("Which? A) x B) y", "Neither: both are reactive.")
    assert gold_of(messages).task == "open"
    found = gold_of(question_messages("Which? A) x B) y", "B"))
    assert (found.task, found.answer, found.options) == ("mcq", "y", ("x", "y"))


def test_questions_become_fields_of_a_conversation() -> None:
    assert asked(" Is it? ", "No")["answer"] == "no"
    assert asked("What?", "A duct ")["task"] == "open"
    fields = chosen("Which?", ["A: x", "B: y"], "B")
    assert fields["answer"] == "y"
    assert fields["messages"][0].text == "Which?\nA. x\nB. y\nAnswer with the letter."
    assert fields["messages"][1].text == "B"
    assert refusal(asked, "", "yes") == "no_question"
    assert refusal(asked, "What?", " ") == "no_answer"
    assert refusal(chosen, " ", ["x", "y"], "x") == "no_question"


def test_names_tell_split_patient_video_and_article() -> None:
    names = (
        "qas/val/val_qa.pkl",
        "data/train-00000-of-00007.parquet",
        "test_clean.csv",
        "validation",
        "latest.json",
        "contest",
        "quiltvqa_test_w_ans",
    )
    assert [split_of(name) for name in names] == ["val", "train", "test", "val", None, None, "test"]
    assert patient_of("TCGA-AB-1234-01Z-00-DX1.uuid") == "TCGA-AB-1234"
    assert patient_of("B7") == "B7"
    assert video_of("frames/_b-C_d_roi__roi_0a1b2c3d-0000-4000-8000-000000000000.jpg") == "_b-C_d_roi_"
    assert video_of("AbC_d-FgHiJ_image_0a1b2c3d-0000-4000-8000-000000000000.jpg") == "AbC_d-FgHiJ"
    assert video_of("picture.jpg") is None
    assert video_of("an_image_of_skin.jpg") is None
    assert article_of("x", "figures/pmc123_Fig4_41.jpg") == "PMC123"
