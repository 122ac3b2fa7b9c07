"""Phrasing: the words of captions, questions and reports, editable in `eosin.configs/questions/*.yaml`.

Nothing here knows a data set: a label set says what the classes are called, a phrasing says how one asks about them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eosin.config import load_recipe
from eosin.errors import ConfigError


@dataclass(frozen=True)
class TopicWords:
    """How one topic (the class, a facet of it, or an attribute of the picture) is asked for and told.

    Attributes:
        open: questions whose answer is the value.
        closed: yes/no questions with `{value}` in them; without it for a topic that has `positive`.
        mcq: questions that are followed by options.
        positive: for a topic that is there or not: the value that means yes. It gets yes/no questions alone, without a value in them.
        values: value -> its word in answers and questions, where that is not the value itself.
        clauses: value -> what captions say of it; a value without clauses goes unmentioned.
        line: its name in a report; empty leaves it out.
    """

    open: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    mcq: tuple[str, ...] = ()
    positive: str = ""
    values: dict[str, str] = field(default_factory=dict)
    clauses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    line: str = ""

    def __post_init__(self) -> None:
        for template in self.closed:
            if ("{value}" in template) == bool(self.positive):
                rule = "must not hold {value}, for the topic has a `positive`" if self.positive else "must hold {value}"
                raise ConfigError(f"the yes/no question {template!r} {rule}")


@dataclass(frozen=True)
class Phrasing:
    """All the words builders use.

    Attributes:
        captions: with `{name}` (the class in words) in them.
        describe: requests for a caption.
        report: requests for a synoptic report.
        grounding: requests for boxes, with `{label}` in them.
        choose: what stands under the options of a multiple choice question.
        topics: by name; `class` is the class itself.
        other: the words for a topic that is not in `topics`, with `{topic}` in them.
    """

    captions: tuple[str, ...]
    describe: tuple[str, ...]
    report: tuple[str, ...]
    grounding: tuple[str, ...]
    choose: str
    topics: dict[str, TopicWords]
    other: TopicWords

    def __post_init__(self) -> None:
        for template in self.captions:
            if "{name}" not in template:
                raise ConfigError(f"the caption {template!r} must hold {{name}}")
        for template in self.grounding:
            if "{label}" not in template:
                raise ConfigError(f"the grounding request {template!r} must hold {{label}}")
        empty = [name for name in ("captions", "describe", "report", "grounding") if not getattr(self, name)]
        if empty or "class" not in self.topics:
            raise ConfigError(f"a phrasing needs {', '.join(empty) or 'the topic class'}")

    def words(self, topic: str) -> TopicWords:
        """The topic's words, or those for any topic."""
        if topic in self.topics:
            return self.topics[topic]
        name = topic.replace("_", " ")

        def named(templates: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(template.replace("{topic}", name) for template in templates)

        other = self.other
        return TopicWords(named(other.open), named(other.closed), named(other.mcq), line=other.line.replace("{topic}", name.capitalize()))


def load_phrasing(name: str) -> Phrasing:
    """The phrasing `name`: a file, or a name below `eosin.configs/questions`.

    Raises:
        ConfigError: there is none, or it does not hold together.
    """
    return load_recipe(Phrasing, name if name.endswith((".yaml", ".yml")) else f"questions/{name}")
