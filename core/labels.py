"""Label sets: what the classes of a data set are called in words, editable in `eosin.configs/labels/*.yaml`.

Builders write captions and questions from them, zero-shot evaluation writes its prompts from them, so that both speak of
a class in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from eosin.config import load_recipe
from eosin.errors import ConfigError


@dataclass(frozen=True)
class LabelClass:
    """One class.

    Attributes:
        answer: the one name a model should answer with.
        phrases: names as captions and prompts use them; `answer` when empty.
        facets: what else the class implies, such as organ: colon; each facet can be asked for.
    """

    answer: str
    phrases: tuple[str, ...] = ()
    facets: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The phrases, or the answer where there are none."""
        return self.phrases or (self.answer,)


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set, by the label that stands in its records."""

    classes: dict[str, LabelClass]
    title: str = ""

    def select(self, labels: Sequence[str]) -> LabelSet:
        """Only these classes, in this order.

        Raises:
            ConfigError: the set does not name one of them: it belongs to another data set.
        """
        missing = [label for label in labels if label not in self.classes]
        if missing:
            raise ConfigError(f"the label set lacks {', '.join(missing)}; it names {', '.join(self.classes)}")
        return LabelSet({label: self.classes[label] for label in labels}, self.title)

    def facet_values(self) -> Mapping[str, tuple[str, ...]]:
        """Each facet with its values in order of first use; a facet with one value cannot be asked for and is left out."""
        values: dict[str, dict[str, None]] = {}
        for label_class in self.classes.values():
            for facet, value in label_class.facets.items():
                values.setdefault(facet, {})[value] = None
        return {facet: tuple(found) for facet, found in values.items() if len(found) > 1}


def load_label_set(name: str, labels: Sequence[str]) -> LabelSet:
    """A label set, narrowed to `labels`.

    Args:
        name: a file, a name below `eosin.configs/labels`, or `auto`: the shipped set that names exactly these labels, and
            where there is none the labels' own words (`colon_aca` becomes "colon aca").
        labels: as they stand in the records.

    Raises:
        ConfigError: there is no such set, or it belongs to another data set.
    """
    if name == "auto":
        return _matching(labels)
    return find_label_set(name).select(labels)


def find_label_set(name: str) -> LabelSet:
    """A label set with all its classes: a file, or a name below `eosin.configs/labels`.

    Raises:
        ConfigError: there is no such set.
    """
    return load_recipe(LabelSet, name if name.endswith((".yaml", ".yml")) else f"labels/{name}")


def _matching(labels: Sequence[str]) -> LabelSet:
    for path in sorted(Path(str(resources.files("eosin.configs"))).glob("labels/*.yaml")):
        found = load_recipe(LabelSet, str(path))
        if set(found.classes) == set(labels):
            return found.select(labels)
    short = {label: _words(label.rsplit("/", 1)[-1]) for label in labels}
    # colon/tumour and lung/tumour must not both be called "tumour".
    unique = len(set(short.values())) == len(short)
    return LabelSet({label: LabelClass(short[label] if unique else _words(label)) for label in labels})


def _words(label: str) -> str:
    return label.replace("/", " ").replace("_", " ").strip()
