from collections import Counter, defaultdict

import numpy as np
import pytest

from eosin.data_builders.phrasing import load_phrasing
from eosin.data_builders.questions import Block, Question, QuestionCounts
from eosin.data_builders.subjects import Subject
from eosin.data_builders.vocabulary import Vocabulary
from eosin.errors import ConfigError
from eosin.labels import LabelClass, LabelSet, load_label_set
from eosin.records import Box

LC25000 = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
COUNTS = QuestionCounts(class_closed=2, detail_closed=2, class_mcq=1, detail_mcq=1, grounding=1, caption=1, report=1, dialogue=1)


def phantom_subjects(count: int) -> list[Subject]:
    """Subjects as phantoms have them, without drawing any: three classes, values that vary within each."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        label = ("MUS", "STR", "TUM")[number % 3]
        attributes = {"red_cells": ("absent", "present")[rng.integers(2)]}
        if label == "TUM":
            attributes["growth_pattern"] = ("glandular", "cribriform", "solid")[rng.integers(3)]
        else:
            attributes["fibre_direction"] = ("horizontal", "vertical", "diagonal")[rng.integers(3)]
        found.append(
            Subject(f"p/{number}", label, {}, attributes, (Box(0.1, 0.2, 0.5, 0.6, "gland"), Box(0.5, 0.5, 0.505, 0.505, "mitosis")))
        )
    return found


@pytest.fixture(scope="module")
def phantoms() -> tuple[list[Subject], list[Question]]:
    subjects = phantom_subjects(301)
    words = Vocabulary(load_label_set("phantoms", ["MUS", "STR", "TUM"]), load_phrasing("phantoms"))
    return subjects, Block(subjects, words, seed=1).ask(COUNTS)


@pytest.fixture(scope="module")
def folder() -> tuple[list[Subject], list[Question]]:
    labels = load_label_set("lc25000", LC25000)
    weights = dict(zip(LC25000, (0.3, 0.3, 0.2, 0.1, 0.1), strict=True))
    drawn = np.random.default_rng(0).choice(LC25000, 300, p=list(weights.values()))
    subjects = [Subject(f"t/{n}", str(label), labels.classes[str(label)].facets, {}) for n, label in enumerate(drawn)]
    return subjects, Block(subjects, Vocabulary(labels, load_phrasing("tiles")), seed=1).ask(COUNTS)


@pytest.fixture(params=["phantoms", "folder"])
def asked(request: pytest.FixtureRequest) -> tuple[list[Subject], list[Question]]:
    found: tuple[list[Subject], list[Question]] = request.getfixturevalue(request.param)
    return found


def test_yes_and_no_are_equally_frequent_for_every_exact_question(asked: tuple[list[Subject], list[Question]]) -> None:
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in asked[1]:
        if question.task == "closed":
            texts[question.turns[0][0]][question.answer] += 1
    assert len(texts) > 10
    assert all(counts["yes"] == counts["no"] for counts in texts.values())


def test_yes_and_no_are_equally_frequent_within_each_class_and_form(asked: tuple[list[Subject], list[Question]]) -> None:
    subjects, questions = asked
    forms: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for question in questions:
        if question.task == "closed":
            forms[subjects[question.place].label, question.form][question.answer] += 1
    assert {form for _, form in forms} > {"class"}
    assert all(counts["yes"] == counts["no"] for counts in forms.values())


def test_within_a_class_no_attribute_question_tells_its_answer(phantoms: tuple[list[Subject], list[Question]]) -> None:
    subjects, questions = phantoms
    texts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for question in questions:
        if question.task == "closed" and question.form != "class":
            texts[subjects[question.place].label, question.turns[0][0]][question.answer] += 1
    assert all(counts["yes"] == counts["no"] for counts in texts.values())


def test_closed_answers_are_true(asked: tuple[list[Subject], list[Question]]) -> None:
    subjects, questions = asked
    for question in questions:
        if question.task == "closed":
            assert (question.answer == "yes") == (subjects[question.place].value(question.form) == question.asked)


def test_no_detail_is_the_answer_to_more_than_half_of_its_open_questions(asked: tuple[list[Subject], list[Question]]) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in asked[1]:
        if question.task == "open" and question.form != "class":
            answers[question.form][question.answer] += 1
    assert len(answers) >= 2
    assert all(max(counts.values()) <= sum(counts.values()) / 2 for counts in answers.values())


def test_the_wording_of_an_open_question_does_not_tell_the_class(phantoms: tuple[list[Subject], list[Question]]) -> None:
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in phantoms[1]:
        if question.task == "open" and question.form == "class":
            texts[question.turns[0][0]][question.answer] += 1
    assert len(texts) == 4
    assert all(max(counts.values()) < 0.5 * sum(counts.values()) for counts in texts.values())


def test_an_image_is_asked_for_its_class_in_different_words(phantoms: tuple[list[Subject], list[Question]]) -> None:
    first = [question.turns[0][0] for question in phantoms[1] if (question.place, question.task, question.form) == (0, "open", "class")]
    assert len(first) == len(set(first)) == 2


def test_the_letters_of_multiple_choice_are_balanced_and_right(asked: tuple[list[Subject], list[Question]]) -> None:
    letters: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for question in asked[1]:
        if question.task == "mcq":
            text, letter = question.turns[0]
            assert question.options["ABCD".index(letter)] == question.answer
            assert f"{letter}. {question.answer}" in text.splitlines()
            assert len(set(question.options)) == len(question.options)
            letters[question.form, len(question.options)][letter] += 1
    assert ("class", min(4, len({subject.label for subject in asked[0]}))) in letters
    for (_, size), counts in letters.items():
        assert max(counts.values()) - min(counts[letter] for letter in "ABCD"[:size]) <= 1


def test_grounding_lists_boxes_on_the_scale_of_a_thousand_and_skips_specks(phantoms: tuple[list[Subject], list[Question]]) -> None:
    answers = {(question.value, question.answer) for question in phantoms[1] if question.task == "grounding"}
    assert answers == {("gland", "[100, 200, 500, 599]")}


def test_a_dialogue_goes_from_the_class_to_a_description(phantoms: tuple[list[Subject], list[Question]]) -> None:
    talks = [question for question in phantoms[1] if question.form == "dialogue"]
    assert {len(talk.turns) for talk in talks} == {3}
    assert talks[0].turns[0][1] == "smooth muscle"
    assert talks[0].answer == talks[0].turns[-1][1]


def test_a_report_lists_what_is_known(phantoms: tuple[list[Subject], list[Question]]) -> None:
    subjects, questions = phantoms
    report = next(question.answer for question in questions if question.task == "report")
    direction = {"horizontal": "horizontally", "vertical": "vertically", "diagonal": "diagonally"}[
        subjects[0].attributes["fibre_direction"]
    ]
    assert report.splitlines() == [
        "Tissue: smooth muscle",
        f"Fibre direction: {direction}",
        f"Red cells: {subjects[0].attributes['red_cells']}",
    ]


def test_questions_depend_on_the_seed_alone() -> None:
    words = Vocabulary(load_label_set("phantoms", ["MUS", "STR", "TUM"]), load_phrasing("phantoms"))
    subjects = phantom_subjects(30)
    assert Block(subjects, words, 5).ask(COUNTS) == Block(subjects, words, 5).ask(COUNTS)
    assert Block(subjects, words, 5).ask(COUNTS) != Block(subjects, words, 6).ask(COUNTS)


def test_the_average_number_of_questions_is_kept() -> None:
    words = Vocabulary(load_label_set("phantoms", ["MUS", "STR", "TUM"]), load_phrasing("phantoms"))
    nothing = dict.fromkeys(QuestionCounts.__dataclass_fields__, 0.0)
    questions = Block(phantom_subjects(40), words, 0).ask(QuestionCounts(**{**nothing, "class_open": 1.25, "class_closed": 0.5}))
    assert Counter(question.task for question in questions) == {"open": 50, "closed": 40}


def test_one_class_gets_no_question_whose_answer_is_certain() -> None:
    words = Vocabulary(LabelSet({"a": LabelClass("alpha")}), load_phrasing("tiles"))
    questions = Block([Subject(f"t/{n}", "a", {}, {}) for n in range(4)], words, 0).ask(COUNTS)
    assert {question.task for question in questions} == {"open", "caption", "report"}


def test_two_classes_of_one_answer_are_refused() -> None:
    with pytest.raises(ConfigError, match="same answer"):
        Vocabulary(LabelSet({"a": LabelClass("tumour"), "b": LabelClass("Tumour")}), load_phrasing("tiles"))


def test_too_many_questions_are_refused() -> None:
    with pytest.raises(ConfigError, match="class_open is 30"):
        QuestionCounts(class_open=30)
