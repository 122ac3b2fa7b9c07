"""A label set and a phrasing together: every value of every topic in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from eosin.data_builders.phrasing import Phrasing
from eosin.data_builders.subjects import Subject
from eosin.errors import ConfigError
from eosin.labels import LabelSet

T = TypeVar("T")
CLASS = "class"


@dataclass(frozen=True)
class Vocabulary:
    """What can be asked about the images of one data set, and in which words.

    Attributes:
        labels: the classes.
        phrasing: the words.
        topics: the topics to use; empty for all.
        synonyms: ask about a class by any of its phrases, not by its answer alone.

    Raises:
        ConfigError: two classes have the same answer, so that a question about them would have two right ones.
    """

    labels: LabelSet
    phrasing: Phrasing
    topics: tuple[str, ...] = ()
    synonyms: bool = True

    def __post_init__(self) -> None:
        answers: dict[str, str] = {}
        for label, label_class in self.labels.classes.items():
            other = answers.setdefault(label_class.answer.casefold(), label)
            if other != label:
                raise ConfigError(f"the classes {other} and {label} have the same answer {label_class.answer!r}; give each its own")

    def details(self, subject: Subject) -> list[str]:
        """The topics but the class that are known of this subject, in a stable order."""
        return [name for name in sorted({*subject.facets, *subject.attributes}) if not self.topics or name in self.topics]

    def answer(self, topic: str, value: str) -> str:
        """The one word or name that answers an open question."""
        if topic == CLASS:
            return self.labels.classes[value].answer
        return self.phrasing.words(topic).values.get(value, value)

    def name(self, topic: str, value: str, number: int) -> str:
        """One of the names a value has in questions: the same `number` gives the same name of the same value."""
        return self._phrase(value, number) if topic == CLASS and self.synonyms else self.answer(topic, value)

    def _phrase(self, label: str, number: int) -> str:
        names = self.labels.classes[label].names
        return names[number % len(names)]

    def caption(self, subject: Subject, mentions: int, rng: np.random.Generator) -> str:
        """A description: the class in words, then up to `mentions` of what else is known, drawn at random."""
        name = self._phrase(subject.label, int(rng.integers(2**31)))
        opening = pick(self.phrasing.captions, rng).replace("{name}", name)
        told = [clauses for clauses in (self._clauses(subject, topic) for topic in self.details(subject)) if clauses]
        drawn = [pick(told[int(place)], rng) for place in rng.permutation(len(told))[:mentions]]
        sentences = map(_sentence, [opening, *drawn])
        return " ".join(sentences)

    def captions(self, subject: Subject, count: int, mentions: int, rng: np.random.Generator) -> tuple[str, ...]:
        """Up to `count` different descriptions; the first names the class alone."""
        found = {self.caption(subject, 0, rng): None}
        for _ in range(4 * count):
            if len(found) >= count:
                break
            found[self.caption(subject, mentions, rng)] = None
        return tuple(found)

    def report(self, subject: Subject) -> str:
        """A synoptic report: one line a topic, `name: value`."""
        lines = []
        for topic in [CLASS, *self.details(subject)]:
            line, value = self.phrasing.words(topic).line, subject.value(topic)
            if line and value is not None:
                lines.append(f"{line}: {self.answer(topic, value)}")
        return "\n".join(lines)

    def _clauses(self, subject: Subject, topic: str) -> tuple[str, ...]:
        return self.phrasing.words(topic).clauses.get(subject.value(topic) or "", ())


def pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    """One of the choices, at random."""
    return choices[int(rng.integers(len(choices)))]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
