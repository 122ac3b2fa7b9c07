"""Questions that give themselves away: the answer stands in them, in an option's form, or they speak of the text they were made from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eosin.data_builders.writing.replies import Refused

_WORDS = re.compile(r"[^\W_]+")
# What a question that was made from a text says, and one about a picture does not.
_SOURCE = re.compile(
    r"\b(?:(?:according to|based on|mentioned in|stated in|described in|given) (?:the|this)"
    r" (?:caption|description|report|text|context|information|facts?|label|diagnosis|passage)"
    r"|the (?:caption|provided (?:text|information|description|facts)|given (?:text|information|facts)))\b",
    re.IGNORECASE,
)
# Such answers stand in any question that offers a choice.
_PLAIN = frozenset({"yes", "no"})
_TOLD = re.compile(r"\b(?:the|correct|right) answer (?:is|was|must be|should be|would be|will be)\b", re.IGNORECASE)
# Plurals, English and Latin: glands, biopsies, mitoses, carcinomata, nuclei, mucosae.
_ENDINGS = (("mata", "ma"), ("ies", ""), ("es", ""), ("is", ""), ("us", ""), ("ae", "a"), ("s", ""), ("e", ""), ("i", ""), ("y", ""))
_SHORTEST_STEM = 3
# "3+" is not "3-", but "high-grade" is "high grade".
_SIGNS = re.compile(r"[+<>≤≥=±~]|(?<![^\W_])[-−–]|[-−–](?![^\W_])")
_LETTERED = re.compile(r"\(?([A-Da-d1-4])[.):]\)?\s+(?=\S)")
_GENUS = re.compile(r"[A-Z]\.\s+[a-z]")
_LONGEST_SHARE = 2.0


def words_of(text: str) -> tuple[str, ...]:
    """The words, letters and digits alone, without case."""
    return tuple(_WORDS.findall(text.casefold()))


def holds(text: str, answer: str) -> bool:
    """Whether the answer stands in the text, word for word but for singular and plural; yes and no stand in no text."""
    wanted, asked = ([_stem(word) for word in words_of(one)] for one in (answer, text))
    if not wanted or (len(wanted) == 1 and wanted[0] in _PLAIN):
        return False
    return any(asked[start : start + len(wanted)] == wanted for start in range(len(asked) - len(wanted) + 1))


def _stem(word: str) -> str:
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM and not word.endswith("ss"):
            return word.removesuffix(ending) + instead
    return word


def check_leak(question: str, answer: str) -> None:
    """See to it that the question neither holds its answer (see `holds`) nor says what it is.

    Raises:
        Refused: `answer_in_question`.
    """
    told = _TOLD.search(question)
    if told:
        raise Refused("answer_in_question", f"The words {told.group(0)!r} in the question give its answer away")
    # Beside "no" it offers a choice; alone it is the answer, right or wrong.
    if {"yes"} == _PLAIN & set(words_of(question)):
        raise Refused("answer_in_question", f"The question {question!r} holds the word yes")
    if holds(question, answer):
        raise Refused("answer_in_question", f"The question {question!r} holds its own answer {answer!r}")


def check_dialogue(turns: Sequence[tuple[str, str]]) -> None:
    """See to it that no earlier question holds a later answer; one that repeats an earlier answer is no news to anyone.

    Args:
        turns: (question, answer), in order; each answer is checked against its own question elsewhere.

    Raises:
        Refused: `answer_in_question`.
    """
    for number, (_, answer) in enumerate(turns):
        if any(holds(said, answer) for _, said in turns[:number]):
            continue
        early = next((question for question, _ in turns[:number] if holds(question, answer)), None)
        if early is not None:
            raise Refused("answer_in_question", f"The question {early!r} holds the answer {answer!r} to a later one")


def bare_options(options: Sequence[str]) -> list[str]:
    """Options without the letters or numbers, A to D, that each of them stands behind: they are shuffled later.

    Among options that all begin with a capital, "C. albicans" is a species.

    Raises:
        Refused: `lettered_options`: only some have one, or two have the same.
    """
    found = [_LETTERED.match(option) for option in options]
    marks = [match.group(1).upper() for match in found if match]
    if not marks:
        return list(options)
    if sorted(marks) not in (list("ABCD"), list("1234")):
        marked = [option for option, match in zip(options, found, strict=True) if match]
        if all(option[:1].isupper() for option in options) and all(map(_GENUS.match, marked)):
            return list(options)
        raise Refused("lettered_options", "Write the options without letters or numbers before them; the places are given later")
    return [option[match.end() :] for option, match in zip(options, found, strict=True) if match]


def check_source(*texts: str) -> None:
    """See to it that nothing speaks of the caption or report, which whoever reads it will not have.

    Raises:
        Refused: `speaks_of_source`.
    """
    for text in texts:
        found = _SOURCE.search(text)
        if found:
            raise Refused("speaks_of_source", f"The words {found.group(0)!r} speak of a text; speak of the picture alone")


def check_options(answer: str, distractors: list[str]) -> None:
    """See to it that options differ, and that the right one does not stand out by its length.

    Raises:
        Refused: `options_alike` or `answer_stands_out`.
    """
    named = [(words_of(option), tuple(_SIGNS.findall(option))) for option in (answer, *distractors)]
    if len(set(named)) < len(named) or ((), ()) in named:
        raise Refused("options_alike", "Two options are the same, or one is empty; all must differ")
    longest = max(len(option) for option in distractors)
    if len(answer) > _LONGEST_SHARE * longest and len(answer) > longest + 8:
        raise Refused("answer_stands_out", "The right option is more than twice as long as any other; make them of equal length")
