"""Questions that give themselves away: the answer stands in them, or they speak of the text they were made from."""

from __future__ import annotations

import re

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
_LONGEST_SHARE = 2.0


def words_of(text: str) -> tuple[str, ...]:
    """The words, letters and digits alone, without case."""
    return tuple(_WORDS.findall(text.casefold()))


def check_leak(question: str, answer: str) -> None:
    """See to it that the answer is not, word for word, in the question.

    Raises:
        Refused: `answer_in_question`.
    """
    wanted, asked = words_of(answer), words_of(question)
    if not wanted or (len(wanted) == 1 and wanted[0] in _PLAIN):
        return
    if any(asked[start : start + len(wanted)] == wanted for start in range(len(asked) - len(wanted) + 1)):
        raise Refused("answer_in_question", f"The question {question!r} holds its own answer {answer!r}")


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
    named = [words_of(option) for option in (answer, *distractors)]
    if len(set(named)) < len(named) or () in named:
        raise Refused("options_alike", "Two options are the same, or one is empty; all must differ")
    longest = max(len(option) for option in distractors)
    if len(answer) > _LONGEST_SHARE * longest and len(answer) > longest + 8:
        raise Refused("answer_stands_out", "The right option is more than twice as long as any other; make them of equal length")
