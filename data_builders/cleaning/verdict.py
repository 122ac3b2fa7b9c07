"""What a rule answers: the text, perhaps changed, or a named reason why it cannot be kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Kept:
    """The text is kept.

    Attributes:
        text: as it goes on.
        changes: what was taken out or masked, by name, with how often.
    """

    text: str
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """The text is not kept. The message never quotes it: it may hold what must not be stored.

    Attributes:
        reason: the short, stable name that is counted.
        message: why, for people.
    """

    reason: str
    message: str


Verdict = Kept | Dropped


class Rule(Protocol):
    """A rule is a pure function of the text."""

    def __call__(self, text: str) -> Verdict:
        """Keep or drop."""
        ...


def judge(text: str, rules: Sequence[Rule]) -> Verdict:
    """Each rule gets what the one before it kept; the first that drops decides.

    What one rule takes out may bring to light what an earlier one looks for, so the rules are asked until none changes anything.
    """
    changes: Counter[str] = Counter()
    before = None
    while before != text:
        before = text
        for rule in rules:
            verdict = rule(text)
            if isinstance(verdict, Dropped):
                return verdict
            text = verdict.text
            changes.update(verdict.changes)
    return Kept(text, dict(sorted(changes.items())))


_SPACES = re.compile(r"[^\S\n]+")
_EMPTY_BRACKETS = re.compile(r"[(\[]\s*[,;.:]*\s*[)\]]")
_BEFORE_MARK = re.compile(r"\s+([,;.:!?)\]])(?=[\s,;.:!?)\]]|$)")
_MARKS = re.compile(r"([,;:])(?:\s*[,;:])+(?=\s|$)|(?:[,;:]\s*)+(?=\.(?:\s|\.|$))")
_POINTS = re.compile(r"\.(?:\s*\.)+(?=\s|$)")


def tidy(text: str) -> str:
    """Text from which pieces were taken out, without the brackets, spaces and marks that they left behind."""
    before = None
    while before != text:
        before = text
        text = _EMPTY_BRACKETS.sub(" ", text)
        text = _BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text))
        text = _POINTS.sub(".", _MARKS.sub(lambda found: found.group(1) or "", text))
        text = text.strip().lstrip(",;:.!? ").rstrip(",;: ")
    return text


def has_words(text: str) -> bool:
    """Whether a letter is left."""
    return any(character.isalpha() for character in text)
