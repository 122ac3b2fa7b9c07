"""Zero-shot protocols: templates, class names and how many prompts become one answer; editable in `eosin.configs/prompts/*.yaml`.

The same weights on the same images differ by ten points and more between the published protocols, so a protocol is data with a version,
and every prompt stands in the result. CONCH's prompt files (Lu et al. 2024), the field's exchange format, are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eosin.artefacts.plan import canonical_json
from eosin.config import find_recipe, load_recipe
from eosin.errors import ConfigError
from eosin.eval.config import check_seed
from eosin.labels import LabelClass, LabelSet

Prompts = dict[str, tuple[str, ...]]
Metric = Literal["accuracy", "balanced_accuracy", "weighted_f1", "auroc"]


@dataclass(frozen=True)
class ClassSet:
    """What a protocol calls the classes of a data set.

    Attributes:
        classes: label -> its names.
        templates: in place of the protocol's; empty for those.
        left_out: labels whose images the protocol does not ask about.
        title: for readers.
    """

    classes: dict[str, tuple[str, ...]]
    templates: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        _check_templates(self.templates)
        if len(self.classes) < 2:
            raise ConfigError(f"a class set names at least two classes; got {', '.join(self.classes) or 'none'}")
        for label, names in self.classes.items():
            if not names or not all(name.strip() for name in names):
                raise ConfigError(f"class {label!r} has no name, or an empty one; every class needs at least one name")

    def label_set(self) -> LabelSet:
        """The classes as a label set."""
        return LabelSet({label: LabelClass(names[0], names) for label, names in self.classes.items()}, self.title)


@dataclass(frozen=True)
class Draws:
    """Prompts drawn at random in place of all at once.

    Attributes:
        count: draws; each one classifies every image.
        seed: of the draws.
        fewest: templates in a draw, at least; the same ones for every class, each class with one name drawn.
        most: templates in a draw, at most.
    """

    count: int = 50
    seed: int = 0
    fewest: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.count < 1 or not 1 <= self.fewest <= self.most:
            raise ConfigError(f"draws wants count of at least 1, and 1 <= fewest <= most; got {self.count}, {self.fewest}, {self.most}")


@dataclass(frozen=True)
class PromptSet:
    """A protocol.

    Attributes:
        templates: each with `{name}` in it, for the name of a class.
        title: for readers.
        version: raised with every change of the file's meaning.
        metric: the score the protocol quotes; empty for accuracy.
        draws: where it draws prompts; the score is then the median over the draws.
        names: how many names of a class it joins: `one` or `all`, for a publication with names of its own; `any` for templates that belong
            to no names: a run is then called by the protocol's title whatever the classes are called.
        names_of: protocols whose class sets are its own too.
        class_sets: what it calls the classes of known data sets.
    """

    templates: tuple[str, ...]
    title: str = ""
    version: int = 1
    metric: Metric | None = None
    draws: Draws | None = None
    names: Literal["one", "all", "any"] = "any"
    names_of: tuple[str, ...] = ()
    class_sets: dict[str, ClassSet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("a prompt set needs at least one template")
        _check_templates(self.templates)
        if self.draws and self.draws.most > len(self.templates):
            raise ConfigError(f"draws.most is {self.draws.most}, but there are {len(self.templates)} templates")


def _check_templates(templates: Sequence[str]) -> None:
    for template in templates:
        if "{name}" not in template:
            raise ConfigError(f"the prompt template {template!r} must hold {{name}}")


@dataclass(frozen=True)
class Wording:
    """How every class is worded: one way, or several draws, each of which answers for itself.

    Attributes:
        draws: label -> prompts, classes in the same order in each.
        title: the protocol's.
        name: the protocol's file and version.
        metric: the score to quote; empty for accuracy.
    """

    draws: tuple[Prompts, ...]
    title: str
    name: str
    metric: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in their order."""
        return tuple(self.draws[0])

    @property
    def hash(self) -> str:
        """sha256 over all prompts, classes in their order."""
        return hash_of(self.draws[0]) if len(self.draws) == 1 else hash_of_draws(self.draws)

    def facts(self) -> dict[str, Any]:
        """What a plan says of it: `protocol`, and every prompt."""
        protocol = {"id": f"{self.name} {self.hash[:8]}", "metric": self.metric, "title": self.title}
        protocol["aggregate"] = "median" if len(self.draws) > 1 else ""
        worded = [{label: list(texts) for label, texts in draw.items()} for draw in self.draws]
        return {"protocol": protocol, **({"prompts": worded[0]} if len(worded) == 1 else {"prompt_draws": worded})}


def load_prompts(name: str) -> PromptSet:
    """The prompt set `name`: a file, or a name below `eosin.configs`, such as `prompts/histology`.

    Raises:
        ConfigError: there is none, or a template has no place for the class.
    """
    return load_recipe(PromptSet, name)


def _protocol_of(name: str) -> str:
    """The protocol of a class set's name, as `load_prompts` takes it."""
    protocol, _, wanted = name.rpartition("/")
    return protocol if protocol.endswith((".yaml", ".yml")) else f"prompts/{protocol or wanted}"


def find_class_set(name: str) -> ClassSet:
    """A class set by PROTOCOL/SET, such as `conch/nct_crc`.

    Raises:
        ConfigError: there is no such protocol, or it has no such set.
    """
    protocol, _, wanted = name.rpartition("/")
    recipe = _protocol_of(name)
    sets = load_prompts(recipe).class_sets
    if not protocol or wanted not in sets:
        raise ConfigError(f"class_names: got {name!r}; wanted PROTOCOL/SET, and {recipe} has the sets: {', '.join(sets) or 'none'}")
    return sets[wanted]


def worded(prompts: str, labels: LabelSet) -> Wording:
    """A protocol's templates with the names of a label set; of a protocol of one name a class, each class's answer alone.

    A protocol with class names of its own is then not what was published, and title and name say so.

    Args:
        prompts: see `load_prompts`.
        labels: what the classes are called.

    Raises:
        ConfigError: see `load_prompts`; or a draw wants more templates than there are.
    """
    found = load_prompts(prompts)
    if found.names == "one":
        labels = LabelSet({label: LabelClass(item.answer) for label, item in labels.classes.items()}, labels.title)
    return _wording(prompts, found, labels, "" if found.names == "any" else "label set")


def worded_as(prompts: str, class_names: str) -> Wording:
    """A protocol with a class set of its own, or another's names, which title and name then say.

    Args:
        prompts: see `load_prompts`.
        class_names: see `find_class_set`; its templates are taken with the protocol that they belong to.

    Raises:
        ConfigError: see `load_prompts` and `find_class_set`; or the protocol joins one name a class, and these are several.
    """
    found, classes = load_prompts(prompts), find_class_set(class_names)
    several = [label for label, names in classes.classes.items() if len(names) > 1]
    if found.names == "one" and several:
        raise ConfigError(
            f"{prompts} asks with one name a class, and class_names={class_names} has several of {', '.join(several)}: their mean would be "
            "another protocol. Name a class set with one name a class, or leave class_names out"
        )
    home = find_recipe(_protocol_of(class_names))
    if home in (find_recipe(prompts), *(find_recipe(f"prompts/{name}") for name in found.names_of)):
        return _wording(prompts, replace(found, templates=classes.templates or found.templates), classes.label_set())
    return _wording(prompts, found, classes.label_set(), "" if found.names == "any" else class_names)


def _wording(prompts: str, found: PromptSet, labels: LabelSet, foreign: str = "") -> Wording:
    """`foreign`: whose class names these are, where they are not the protocol's."""
    name = f"{find_recipe(prompts).stem} v{found.version}"
    title = found.title or find_recipe(prompts).stem
    if foreign:
        name, title = f"{name} + {foreign}", f"{title} templates, class names: {foreign}"
    draws = tuple(_drawn(labels, found, found.draws)) if found.draws else (prompts_of(labels, found),)
    return Wording(draws, title, name, found.metric or "")


def refuse_one_class(wording: Wording) -> None:
    """Of one class every answer is right.

    Raises:
        ConfigError: there are not two.
    """
    if len(wording.classes) < 2:
        raise ConfigError(
            f"the one class is {', '.join(wording.classes)}: every answer would be right. Name all classes with labels=FILE or class_names="
        )


def _drawn(labels: LabelSet, prompts: PromptSet, draws: Draws) -> list[Prompts]:
    """Prompt sets as MI-Zero draws them (Lu et al. 2023, 4.2): a subset of the templates, and one name for each class."""
    rng = np.random.default_rng(draws.seed)
    found = []
    for _ in range(draws.count):
        size = int(rng.integers(draws.fewest, draws.most + 1))
        places = sorted(rng.choice(len(prompts.templates), size, replace=False).tolist())
        names = {label: item.names[int(rng.integers(len(item.names)))] for label, item in labels.classes.items()}
        found.append({label: tuple(prompts.templates[place].replace("{name}", name) for place in places) for label, name in names.items()})
    return found


def read_conch(path: Path) -> Wording:
    """A prompt file of CONCH: `{"0": {"classnames": {label: name or names}, "templates": [... CLASSNAME ...]}}`; each entry is a draw.

    Raises:
        ConfigError: the file is not of that form, a class has no name, or the entries name different classes.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        found = [_conch_entry(key, entry) for key, entry in entries.items()]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        message = f'{path} is no prompt file of the form {{"0": {{"classnames": ..., "templates": ...}}}}: {type(error).__name__} {error}'
        raise ConfigError(message) from error
    if not found or any(list(draw) != list(found[0]) for draw in found):
        raise ConfigError(f"{path}: every entry must name the same classes in the same order, and there must be one entry at least")
    return Wording(tuple(found), f"prompts of {path.name}", path.stem)


def _conch_entry(key: str, entry: Mapping[str, Any]) -> Prompts:
    templates = [str(template) for template in entry["templates"]]
    if not templates or any("CLASSNAME" not in template for template in templates):
        raise ConfigError(f"entry {key!r}: each of its templates must hold CLASSNAME; got {templates}")
    names = {label: [value] if isinstance(value, str) else [str(name) for name in value] for label, value in entry["classnames"].items()}
    ClassSet({str(label): tuple(found) for label, found in names.items()})
    return {str(label): tuple(text.replace("CLASSNAME", name) for name in found for text in templates) for label, found in names.items()}


def prompts_of(labels: LabelSet, prompts: PromptSet) -> Prompts:
    """Every prompt of every class: each template with each of the class's names."""
    return {
        label: tuple(template.replace("{name}", name) for name in found.names for template in prompts.templates)
        for label, found in labels.classes.items()
    }


def hash_of(prompts: Mapping[str, Sequence[str]]) -> str:
    """sha256 over all prompts, classes in their order."""
    return hashlib.sha256(canonical_json([[label, list(texts)] for label, texts in prompts.items()])).hexdigest()


def hash_of_draws(draws: Sequence[Prompts]) -> str:
    """sha256 over the prompts of every draw."""
    return hashlib.sha256(canonical_json([hash_of(draw) for draw in draws])).hexdigest()
