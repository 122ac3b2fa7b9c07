"""Answers of a few allowed words: yes or no, and the options of multiple choice questions as publishers spell them.

Options come as `A) text`, `A. text`, `A: text`, ` A:text`, `(A) text` or bare text, in a list or inline in the question; the right one as
its letter, as the whole option, or as its text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eosin.data_builders.questions import LETTERS
from eosin.data_builders.sources.source import Refused

_LABELLED = re.compile(r"^\s*(?:\(([A-Ha-h])\)|([A-Ha-h])\s*[).:])\s*(.*)$", re.DOTALL)
_LETTER = re.compile(r"^\s*\(?([A-Ha-h])\)?\s*[).:]?\s*$")
_INLINE = (r"\({}\)", r"{}\)", r"{}\.(?=\s)", r"{}:")
_ASKING = re.compile(
    r"\s*\b(?:please\s+)?(?:answer|choose|select|respond|reply|provide|give|pick|indicate)\b[^\n]*\b(?:letter|option|choice|alphabet)s?\b[^\n]*$",
    re.IGNORECASE,
)


def yes_or_no(text: str) -> str | None:
    """`yes` or `no` where the text is nothing else, upper and lower case and punctuation aside."""
    word = text.strip().strip("\"'.!,;:").strip().casefold()
    return word if word in ("yes", "no") else None


def option_texts(options: Sequence[str]) -> tuple[str, ...]:
    """Options without their letters. Letters are taken off only where each option has its own in order: `A. fumigatus` alone is no letter.

    Raises:
        Refused: `wrong_options`: fewer than 2, more than 8, or an empty one.
    """
    found = [_LABELLED.match(option) for option in options]
    labels = "".join((match[1] or match[2]).upper() for match in found if match)
    texts = tuple(match[3] for match in found if match) if labels == LETTERS[: len(options)] else tuple(options)
    texts = tuple(text.strip() for text in texts)
    if not 2 <= len(texts) <= len(LETTERS) or not all(texts):
        raise Refused("wrong_options", f"2 to {len(LETTERS)} options with words in them are wanted; there are {list(options)}")
    return texts


def inline_options(text: str) -> tuple[str, ...]:
    """The options that a question's text ends with, without letters and without the request for a letter after them.

    Returns:
        Their texts; empty where the question has none.
    """
    for style in _INLINE:
        found = _inline(text, style)
        if len(found) >= 2 and all(found):
            return found
    return ()


def _inline(text: str, style: str) -> tuple[str, ...]:
    """The longest row A, B, C... of markers in one style, from the last A on."""
    starts = list(re.finditer(r"(?<!\S)" + style.format("A"), text))
    if not starts:
        return ()
    marks = [starts[-1]]
    for letter in LETTERS[1:]:
        following = re.compile(r"(?<!\S)" + style.format(letter)).search(text, marks[-1].end())
        if following is None:
            break
        marks.append(following)
    ends = [mark.start() for mark in marks[1:]]
    last = text[marks[-1].end() :].strip().split("\n")[0]
    bodies = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=False)] + [_ASKING.sub("", last)]
    return tuple(body.strip() for body in bodies)


def gold_option(answer: str, options: Sequence[str]) -> str:
    """The right one of `options`, which are bare texts, from an answer that is its letter, the whole option or its text. A blank option
    has its letter, and is never the right one.

    Raises:
        Refused: `answer_not_an_option`; `answer_ambiguous`: letter and text say different options, or two options read the same.
    """
    shown = [_plain(option) for option in options]
    meant: set[int] = {place for place, option in enumerate(shown) if option and option == _plain(answer)}
    letter = _LETTER.match(answer)
    labelled = _LABELLED.match(answer)
    if letter and (place := LETTERS.index(letter[1].upper())) < len(options) and shown[place]:
        meant.add(place)
        meant |= {other for other, option in enumerate(shown) if option == shown[place]}
    elif labelled and not meant:
        place = LETTERS.index((labelled[1] or labelled[2]).upper())
        meant = {other for other, option in enumerate(shown) if option and option == _plain(labelled[3])}
        if meant and place < len(options) and shown[place]:
            meant.add(place)
    if not meant:
        raise Refused("answer_not_an_option", f"the answer {answer!r} is none of the options {list(options)}")
    if len(meant) > 1:
        named = ", ".join(f"{LETTERS[place]} {options[place]!r}" for place in sorted(meant))
        raise Refused("answer_ambiguous", f"the answer {answer!r} may mean {named}")
    return options[meant.pop()]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
