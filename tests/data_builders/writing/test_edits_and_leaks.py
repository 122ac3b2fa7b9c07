"""Edit operations are applied by code; questions that give themselves away are refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.writing.edits import apply_edits
from eosin.data_builders.writing.leaks import bare_options, check_dialogue, check_leak, check_options, check_source
from eosin.data_builders.writing.replies import Refused
from eosin.data_builders.writing.tokens import clip_tokens

TEXT = "Small glands with dark nuclei, and necrosis. The stroma is loose."


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            {"op": "replace", "find": "dark nuclei", "text": "pale nuclei"},
            "Small glands with pale nuclei, and necrosis. The stroma is loose.",
        ),
        ({"op": "delete", "find": ", and necrosis"}, "Small glands with dark nuclei. The stroma is loose."),
        ({"op": "delete", "find": "The stroma is loose."}, "Small glands with dark nuclei, and necrosis."),
        ({"op": "delete", "find": "Small"}, "glands with dark nuclei, and necrosis. The stroma is loose."),
        ({"op": "insert", "find": "dark nuclei", "text": "and mitoses"}, TEXT.replace("dark nuclei", "dark nuclei and mitoses")),
        ({"op": "insert", "find": "glands", "text": "and tubules "}, TEXT.replace("glands", "glands and tubules")),
        ({"op": "insert", "find": "nuclei", "text": ", mitoses"}, TEXT.replace("nuclei", "nuclei, mitoses")),
        ({"op": "insert", "find": "", "text": "There is blood."}, f"{TEXT} There is blood."),
        ({"op": "replace", "find": "Small", "text": ""}, "glands with dark nuclei, and necrosis. The stroma is loose."),
    ],
)
def test_an_operation_changes_what_it_names_and_keeps_the_sentence_whole(operation: dict[str, str], expected: str) -> None:
    text, counts = apply_edits(TEXT, [operation])
    assert text == expected
    assert counts == {"applied": 1, "absent": 0, "ambiguous": 0, "idle": 0}


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        ({"op": "replace", "find": "fat", "text": "x"}, "absent"),
        ({"op": "delete", "find": "gland"}, "absent"),
        ({"op": "delete", "find": ""}, "absent"),
        ({"op": "replace", "find": "s", "text": "x"}, "absent"),
        ({"op": "delete", "find": "."}, "ambiguous"),
        ({"op": "replace", "find": "Small", "text": "Small"}, "idle"),
        ({"op": "insert", "find": "Small"}, "idle"),
    ],
)
def test_what_does_not_apply_is_counted_and_changes_nothing(operation: dict[str, str], outcome: str) -> None:
    text, counts = apply_edits(TEXT, [operation])
    assert text == TEXT
    assert counts[outcome] == sum(counts.values()) == 1


def test_operations_follow_each_other() -> None:
    operations = [{"op": "replace", "find": "Small", "text": "Large"}, {"op": "delete", "find": "Large"}, {"op": "delete", "find": "Small"}]
    text, counts = apply_edits(TEXT, operations)
    assert text.startswith("glands")
    assert (counts["applied"], counts["absent"]) == (2, 1)


WORDS = ("glands", "nuclei", "dark", "small", "and", "necrosis.", "(fat)", "H&E,", "Drüse")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["replace", "delete", "insert"]),
            "find": TEXTS | st.sampled_from(WORDS) | st.text(max_size=3),
            "text": TEXTS | st.text(max_size=8),
        }
    ),
    max_size=6,
)


@given(TEXTS | st.text(), OPERATIONS)
def test_any_operations_on_any_text_are_all_counted_and_only_applied_ones_change_it(text: str, operations: list[dict[str, str]]) -> None:
    edited, counts = apply_edits(text, operations)
    assert sum(counts.values()) == len(operations)
    assert edited == text or counts["applied"]


@given(TEXTS, OPERATIONS)
def test_every_word_is_the_describers_or_the_editors(text: str, operations: list[dict[str, str]]) -> None:
    edited, _ = apply_edits(text, operations)
    given_characters = Counter("".join(text.split())) + Counter("".join("".join(step["text"].split()) for step in operations))
    assert not Counter("".join(edited.split())) - given_characters


@given(TEXTS, OPERATIONS, OPERATIONS)
def test_operations_in_two_parts_do_what_they_do_in_one(text: str, first: list[dict[str, str]], second: list[dict[str, str]]) -> None:
    half, before = apply_edits(text, first)
    whole, after = apply_edits(half, second)
    edited, counts = apply_edits(text, first + second)
    assert edited == whole
    assert counts == {name: before[name] + after[name] for name in counts}


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12, unique=True), st.data())
def test_a_word_that_stands_there_once_is_replaced_there_and_nowhere_else(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(words) - 1))
    edited, counts = apply_edits(" ".join(words), [{"op": "replace", "find": words[place], "text": "NEW"}])
    assert counts["applied"] == 1
    assert edited.split() == [*words[:place], "NEW", *words[place + 1 :]]
    back, _ = apply_edits(edited, [{"op": "replace", "find": "NEW", "text": words[place]}])
    assert back == " ".join(words)
    gone, _ = apply_edits(" ".join(words), [{"op": "delete", "find": words[place]}])
    assert gone.split() == words[:place] + words[place + 1 :]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is the lung adenocarcinoma seen here?", "adenocarcinoma"),
        ("Which grade, 2 or 3?", "3"),
        ("Why is it Squamous-Cell carcinoma?", "squamous cell"),
        ("Are these adenocarcinomas or another tumour?", "Adenocarcinoma"),
        ("Is the gland crowded?", "Glands"),
        ("Where are the mitoses?", "mitosis"),
        ("Are both biopsies of skin?", "Biopsy."),
        ("The answer is no: is there bone?", "No"),
        ("Which one is it? The correct answer is fat.", "adipose tissue"),
        ("Are there glands, yes, they are present?", "Yes"),
    ],
)
def test_an_answer_that_stands_in_the_question_is_refused(question: str, answer: str) -> None:
    with pytest.raises(Refused, match="answer_in_question"):
        check_leak(question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there necrosis, yes or no?", "no"),
        ("Is it carcinomatous?", "carcinoma"),
        ("Which tumour?", "lymphoma"),
        ("Is there no necrosis here?", "No"),
        ("Which answer is right for the glands?", "They are crowded"),
    ],
)
def test_other_answers_are_taken(question: str, answer: str) -> None:
    check_leak(question, answer)


def test_no_earlier_question_of_a_dialogue_holds_a_later_answer() -> None:
    tumour = ("What is the diagnosis of this tumour?", "Adenocarcinoma")
    with pytest.raises(Refused, match="answer_in_question"):
        check_dialogue([("Where do the adenocarcinomas lie?", "In the left half"), tumour])
    check_dialogue([tumour, ("What speaks for adenocarcinoma?", "Crowded glands"), ("So what is it?", "Adenocarcinoma")])
    check_dialogue([("Is there bone?", "No"), ("Are there glands?", "Yes"), ("Are these, yes or no, crowded?", "Yes")])


@pytest.mark.parametrize("form", ["{}. ", "{}) ", "({}) ", "{}: "])
def test_options_lose_the_letters_that_stand_before_each(form: str) -> None:
    for letters in ("ABCD", "BACD", "bacd", "1234"):
        options = [form.format(letter) + word for letter, word in zip(letters, ("bone", "gland", "fat", "skin"), strict=True)]
        assert bare_options(options) == ["bone", "gland", "fat", "skin"]


@pytest.mark.parametrize(
    "options",
    [["B. bone", "gland", "fat", "skin"], ["A) bone", "A) gland", "B) fat", "C) skin"], ["bone", "A. gland", "C. fat", "D. skin"]],
)
def test_letters_before_some_options_are_refused(options: list[str]) -> None:
    with pytest.raises(Refused, match="lettered_options"):
        bare_options(options)


@pytest.mark.parametrize(
    "options",
    [
        ["E. coli", "S. aureus", "H. pylori", "K. rhinoscleromatis"],
        ["C. albicans", "H. capsulatum", "A. fumigatus", "B. dermatitidis"],
        ["C. albicans", "Aspergillus", "Mucor", "Rhizopus"],
        ["1.5 mm", "2.5 mm", "B cell", "A"],
    ],
)
def test_other_letters_and_numbers_stay_in_options(options: list[str]) -> None:
    assert bare_options(options) == options


@pytest.mark.parametrize(
    "text", ["What does the caption say?", "According to the report, what is seen?", "What is mentioned in this description?"]
)
def test_a_question_about_the_text_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="speaks_of_source"):
        check_source(text)
    check_source("Write a report of what you see.")


def test_options_must_differ_and_the_right_one_not_stand_out() -> None:
    check_options("tubular adenoma", ["villous adenoma", "lymphoma", "lipoma"])
    check_options("3+", ["2+", "1+", "3-"])
    check_options("ER+ PR-", ["ER- PR+", "ER+ PR+", "ER- PR-"])
    check_options("+", ["-", "±", "++"])
    with pytest.raises(Refused, match="options_alike"):
        check_options("high-grade lesion", ["High grade  lesion.", "lymphoma", "lipoma"])
    with pytest.raises(Refused, match="options_alike"):
        check_options("Tubular adenoma", ["tubular adenoma.", "lymphoma", "lipoma"])
    with pytest.raises(Refused, match="answer_stands_out"):
        check_options("a tubular adenoma with high grade dysplasia in one place", ["lymphoma", "lipoma", "normal"])


@pytest.mark.parametrize("text", ["", "dark nuclei", "H&E-stained glands, 40x", "Ünïcode wörds"])
def test_tokens_are_counted_as_clip_does(text: str) -> None:
    import open_clip

    assert clip_tokens(text) == int((open_clip.get_tokenizer("ViT-B-32")([text])[0] != 0).sum())
