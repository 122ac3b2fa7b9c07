"""Questions and answers about a block of images, of every task kind, from what is known about them.

A block is asked about as a whole, because balance is a property of many images (`couples`): yes and no are equally frequent for
every class and every exact text, and no value is the answer to more than half of the open questions about a detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from eosin.data_builders.couples import balanced_positions, couple, couple_within
from eosin.data_builders.phrasing import TopicWords
from eosin.data_builders.subjects import Subject, stable_number
from eosin.data_builders.vocabulary import CLASS, Vocabulary, pick
from eosin.errors import ConfigError
from eosin.records import box_to_text
from eosin.seeds import generator

LETTERS = "ABCDEFGH"
YES, NO = "yes", "no"
# Boxes of a smaller share of the image are a few pixels: nobody can be asked to find them.
SMALLEST_SIDE = 0.02


@dataclass(frozen=True)
class QuestionCounts:
    """How many conversations an image gets of each kind, on average; a detail is any topic but the class.

    Attributes:
        class_open: "What does this tile show?".
        detail_open: a facet or an attribute, by an open question.
        class_closed: pairs of a yes and a no about the class.
        detail_closed: pairs about a detail; a single question where the detail is there or not.
        class_mcq: the class, multiple choice.
        detail_mcq: a detail, multiple choice.
        grounding: boxes, where the image has a label with few enough.
        caption: a description.
        report: a synoptic report.
        dialogue: several turns. Its later turns have gold answers before them: for training, not for scoring.
    """

    class_open: float = 2.0
    detail_open: float = 1.0
    class_closed: float = 1.0
    detail_closed: float = 1.0
    class_mcq: float = 0.5
    detail_mcq: float = 0.5
    grounding: float = 0.5
    caption: float = 0.5
    report: float = 0.25
    dialogue: float = 0.25

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0 <= getattr(self, item.name) <= 20:
                raise ConfigError(f"{item.name} is {getattr(self, item.name)}; 0 to 20 questions an image are allowed")


@dataclass(frozen=True)
class Question:
    """One conversation to be: `turns` are (question, answer) in order; the last is the one that is scored.

    Attributes:
        place: of its subject in the block.
        task: one of `eosin.records.TASKS`.
        form: the topic, or the task where it is about none.
        value: the gold value as records hold it.
        answer: the gold answer in words.
        asked: the value in the text of a yes/no question.
        options: of a multiple choice question.
    """

    place: int
    task: str
    form: str
    value: str
    answer: str
    turns: tuple[tuple[str, str], ...]
    asked: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """One question of a kind for each of `places`; `number` counts the kind's rounds."""

    number: int
    places: list[int]
    rng: np.random.Generator


@dataclass(frozen=True)
class Block:
    """Images that are asked about together.

    Attributes:
        subjects: what is known of each.
        vocabulary: the words.
        seed: with it, the block's questions are always the same.
        mentions: what a description mentions at most besides the class.
        max_options: of a multiple choice question.
        max_boxes: the most boxes one answer may list.
    """

    subjects: Sequence[Subject]
    vocabulary: Vocabulary
    seed: int
    mentions: int = 2
    max_options: int = 4
    max_boxes: int = 3

    def ask(self, counts: QuestionCounts) -> list[Question]:
        """The questions, those about one image next to each other."""
        makers: dict[str, Callable[[Round], Iterator[Question]]] = {
            "class_open": self._class_open,
            "detail_open": self._detail_open,
            "class_closed": self._class_closed,
            "detail_closed": self._detail_closed,
            "class_mcq": self._class_mcq,
            "detail_mcq": self._detail_mcq,
            "grounding": self._grounding,
            "caption": self._caption,
            "report": self._report,
            "dialogue": self._dialogue,
        }
        found: list[Question] = []
        for number, (name, make) in enumerate(makers.items()):
            for turn in _rounds(len(self.subjects), getattr(counts, name), generator(self.seed, number)):
                found += make(turn)
        return sorted(found, key=lambda question: question.place)

    def _class_open(self, turn: Round) -> Iterator[Question]:
        for place in turn.places:
            yield self._open(place, CLASS, turn.rng, turn.number)

    def _detail_open(self, turn: Round) -> Iterator[Question]:
        for topic, *pair in self._detail_couples(turn.places, lambda words: bool(words.open) and not words.positive, turn.rng):
            for place in pair:
                yield self._open(place, topic, turn.rng)

    def _class_closed(self, turn: Round) -> Iterator[Question]:
        for pair in couple([self._value(place, CLASS) for place in turn.places], turn.rng):
            yield from self._closed(CLASS, (turn.places[pair[0]], turn.places[pair[1]]), turn.rng)

    def _detail_closed(self, turn: Round) -> Iterator[Question]:
        for topic, one, other in self._detail_couples(turn.places, lambda words: bool(words.closed), turn.rng):
            yield from self._closed(topic, (one, other), turn.rng)

    def _class_mcq(self, turn: Round) -> Iterator[Question]:
        values = list(self.vocabulary.labels.classes)
        yield from self._mcq([(place, CLASS, values) for place in turn.places], turn.rng)

    def _detail_mcq(self, turn: Round) -> Iterator[Question]:
        asked = []
        for topic, *pair in self._detail_couples(turn.places, lambda words: bool(words.mcq) and not words.positive, turn.rng):
            asked += [(place, topic, self._values[topic, self._group(place, topic)]) for place in pair]
        yield from self._mcq(asked, turn.rng)

    def _grounding(self, turn: Round) -> Iterator[Question]:
        for place in turn.places:
            boxes = [box for box in self.subjects[place].boxes if min(box.x1 - box.x0, box.y1 - box.y0) >= SMALLEST_SIDE]
            labels = sorted({box.label for box in boxes})
            few = [label for label in labels if sum(box.label == label for box in boxes) <= self.max_boxes]
            if few:
                label = pick(few, turn.rng)
                text = pick(self.vocabulary.phrasing.grounding, turn.rng).replace("{label}", label)
                answer = "; ".join(box_to_text(box) for box in boxes if box.label == label)
                yield Question(place, "grounding", "grounding", label, answer, ((text, answer),))

    def _caption(self, turn: Round) -> Iterator[Question]:
        for place in turn.places:
            text, answer = self._described(place, turn.rng)
            yield Question(place, "caption", "caption", self.subjects[place].label, answer, ((text, answer),))

    def _report(self, turn: Round) -> Iterator[Question]:
        for place in turn.places:
            answer = self.vocabulary.report(self.subjects[place])
            yield Question(
                place, "report", "report", self.subjects[place].label, answer, ((pick(self.vocabulary.phrasing.report, turn.rng), answer),)
            )

    def _dialogue(self, turn: Round) -> Iterator[Question]:
        """The class, then a detail where there is one, then a description."""
        for place in turn.places:
            first = self._open(place, CLASS, turn.rng)
            details = [topic for topic in self._topics(place) if self._words(topic).open and not self._words(topic).positive]
            turns = list(first.turns)
            if details:
                turns += self._open(place, pick(details, turn.rng), turn.rng).turns
            turns.append(self._described(place, turn.rng))
            yield Question(place, "caption", "dialogue", first.value, turns[-1][1], tuple(turns))

    def _described(self, place: int, rng: np.random.Generator) -> tuple[str, str]:
        return pick(self.vocabulary.phrasing.describe, rng), self.vocabulary.caption(self.subjects[place], self.mentions, rng)

    def _open(self, place: int, topic: str, rng: np.random.Generator, number: int | None = None) -> Question:
        """The topic's open question; numbers that follow each other give an image different wordings."""
        value = self._value(place, topic)
        answer, wordings = self.vocabulary.answer(topic, value), self._words(topic).open
        # A hash of the id, not the place: classes may come in turn, and the wording must not tell the class.
        offset = int(rng.integers(len(wordings))) if number is None else stable_number(self.subjects[place].id, topic) + number
        text = wordings[offset % len(wordings)]
        return Question(place, "open", topic, value, answer, ((text, answer),))

    def _closed(self, topic: str, pair: tuple[int, int], rng: np.random.Generator) -> Iterator[Question]:
        """Yes/no questions for a couple: the same texts for both, each a yes for one and a no for the other."""
        words = self._words(topic)
        template, name = pick(words.closed, rng), int(rng.integers(2**31))
        for place in pair:
            value = self._value(place, topic)
            if words.positive:
                answer = YES if value == words.positive else NO
                yield Question(place, "closed", topic, value, answer, ((template, answer),), asked=words.positive)
                continue
            for asked in (value, self._value(pair[1] if place == pair[0] else pair[0], topic)):
                text = template.replace("{value}", self.vocabulary.name(topic, asked, name))
                answer = YES if asked == value else NO
                yield Question(place, "closed", topic, value, answer, ((text, answer),), asked=asked)

    def _mcq(self, asked: list[tuple[int, str, list[str]]], rng: np.random.Generator) -> Iterator[Question]:
        """Multiple choice about (place, topic, possible values); the right option stands at each letter equally often."""
        by_form: dict[tuple[str, int], dict[int, list[str]]] = {}
        for place, topic, values in asked:
            size = min(len(values), self.max_options)
            if size > 1:
                by_form.setdefault((topic, size), {})[place] = values
        for (topic, size), rows in by_form.items():
            for place, position in balanced_positions(sorted(rows), size, rng).items():
                value = self._value(place, topic)
                wrong = [other for other in rows[place] if other != value]
                shown = [wrong[int(number)] for number in rng.permutation(len(wrong))[: size - 1]]
                shown.insert(position, value)
                options = tuple(self.vocabulary.answer(topic, item) for item in shown)
                lines = [f"{LETTERS[number]}. {option}" for number, option in enumerate(options)]
                text = "\n".join([pick(self._words(topic).mcq, rng), *lines, self.vocabulary.phrasing.choose])
                yield Question(place, "mcq", topic, value, options[position], ((text, LETTERS[position]),), options=options)

    def _detail_couples(
        self, places: list[int], usable: Callable[[TopicWords], bool], rng: np.random.Generator
    ) -> Iterator[tuple[str, int, int]]:
        """Couples that differ in a detail: (topic, place, place). A place that finds no partner in one topic tries its others."""
        wanted: dict[int, list[str]] = {}
        for place in places:
            topics = [topic for topic in self._topics(place) if usable(self._words(topic))]
            wanted[place] = [topics[int(number)] for number in rng.permutation(len(topics))]
        while wanted := {place: topics for place, topics in wanted.items() if topics}:
            row = list(wanted)
            heads = [wanted[place].pop(0) for place in row]
            groups = [f"{topic}\n{self._group(place, topic)}" for place, topic in zip(row, heads, strict=True)]
            values = [self._stance(place, topic) for place, topic in zip(row, heads, strict=True)]
            for one, other in couple_within(groups, values, rng):
                yield heads[one], row[one], row[other]
                del wanted[row[one]], wanted[row[other]]

    def _group(self, place: int, topic: str) -> str:
        """Attributes are compared within a class, so that the class does not give them away; facets follow from the class."""
        return self.subjects[place].label if topic in self.subjects[place].attributes else ""

    def _stance(self, place: int, topic: str) -> str:
        """What must differ within a couple: the value, or whether it is the one that means yes."""
        words, value = self._words(topic), self._value(place, topic)
        return str(value == words.positive) if words.positive else value

    @cached_property
    def _values(self) -> dict[tuple[str, str], list[str]]:
        """(topic, group) -> the values it takes in this block, in a stable order."""
        found: dict[tuple[str, str], set[str]] = {}
        for place in range(len(self.subjects)):
            for topic in self._topics(place):
                found.setdefault((topic, self._group(place, topic)), set()).add(self._value(place, topic))
        return {key: sorted(values) for key, values in found.items()}

    def _topics(self, place: int) -> list[str]:
        return self.vocabulary.details(self.subjects[place])

    def _words(self, topic: str) -> TopicWords:
        return self.vocabulary.phrasing.words(topic)

    def _value(self, place: int, topic: str) -> str:
        value = self.subjects[place].value(topic)
        if value is None:
            raise ConfigError(f"{self.subjects[place].id}: {topic} is not known, so it cannot be asked for")
        return value


def _rounds(count: int, average: float, rng: np.random.Generator) -> Iterator[Round]:
    """All places while `average` is above one, then a share of them."""
    whole = int(average)
    for number in range(whole):
        yield Round(number, list(range(count)), rng)
    share = round((average - whole) * count)
    if share:
        yield Round(whole, sorted(int(place) for place in rng.permutation(count)[:share]), rng)
