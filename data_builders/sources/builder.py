"""`source`: a published corpus in its publisher's own layout becomes one artefact of its kind."""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import open_inputs
from eosin.config import input_path, load, load_recipe, settings_of
from eosin.data_builders.sources.catalogue import find_source
from eosin.data_builders.sources.checks import check_folder, record_or_reject, repeated
from eosin.data_builders.sources.source import Section, Shard, Source
from eosin.errors import ConfigError, InputError
from eosin.labels import LabelSet, load_label_set
from eosin.pipeline import Step
from eosin.records import Record, Reject


@dataclass(frozen=True)
class SourceConfig:
    """A corpus and where it lies.

    Attributes:
        source: its name; `eosin build --list` shows all.
        folder: the publisher's files, unchanged.
        options: of this source; `eosin build --card NAME` shows them.
        labels: for labelled images, the label set that says the classes in words; `auto` takes the source's own, or the
            shipped one that fits.
    """

    builder: Literal["source"] = "source"
    source: str = ""
    folder: str = input_path()
    options: dict[str, Any] = field(default_factory=dict)
    labels: str = "auto"


def source_steps(config: SourceConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder, named after the kind.

    Raises:
        ConfigError: no such source, or options that it does not have.
        InputError: see `check_folder`.
    """
    source = open_source(config)
    sections = check_folder(source)
    inputs = open_inputs(config)
    card, options = source.card, source.options
    facts = {"title": card.title, "description": _description(source), "card": _plain(asdict(card)), **source.facts()}
    if card.kind == "labelled_images" and facts.get("classes"):
        facts["label_set"] = settings_of(_label_set(source, config.labels, facts["classes"]))
    settings = {"builder": config.builder, "source": config.source, "options": settings_of(options), "labels": config.labels}
    tasks = tuple(
        Task(Shard(section.name, section.offset).source, section.start, section.stop, split)
        for section in sections
        for split in section.splits
    )
    plan = Plan(card.kind, "build", settings, inputs.refs, tasks, facts)
    produce = ReadSource(config.source, config.folder, json.dumps(settings_of(options), sort_keys=True), _splits_of(sections))
    yield Step(card.kind, plan, produce, inputs.paths)


def _label_set(source: Source[Any], name: str, classes: list[str]) -> LabelSet:
    if name == "auto":
        for shipped in source.label_sets:
            found = load_recipe(LabelSet, f"labels/{shipped}")
            if set(classes) <= set(found.classes):
                return found.select(classes)
    return load_label_set(name, classes)


def open_source(config: SourceConfig) -> Source[Any]:
    """The source that a recipe names, over its folder.

    Raises:
        ConfigError: no such source, options that it does not have, or no folder named.
        InputError: the folder is none.
    """
    cls = find_source(config.source)
    options = load(cls.Options, config.options, "options")
    if not config.folder:
        raise ConfigError(f"folder: this input is missing; add folder=PATH: {cls.card.title} as its publisher ships it")
    if not Path(config.folder).is_dir():
        raise InputError(f"folder: {config.folder} is not a folder")
    return cls(Path(config.folder), options)


def _description(source: Source[Any]) -> str:
    card = source.card
    return f"{card.paper}. {card.homepage}. Licence: {card.licence}. Splits: {card.splits} Groups: {card.groups}"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _splits_of(sections: list[Section]) -> dict[str, tuple[str, ...]]:
    return {section.name: section.splits for section in sections}


@dataclass(frozen=True)
class ReadSource:
    """Reads a section's items of one split; picklable: each process opens the source once.

    Attributes:
        source: its name.
        folder: where it lies.
        options: as JSON.
        splits: the splits that a section's items may be of, by the section's name.
    """

    source: str
    folder: str
    options: str
    splits: dict[str, tuple[str, ...]]

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The records and rejects of the task, in the publisher's order.

        Raises:
            InputError: an item is of a split that its section does not know: it would be lost.
        """
        source = _opened(self.source, self.folder, self.options)
        shard = Shard.parse(task.source)
        allowed = self.splits[shard.name]
        seen: set[str] = set()
        for item in source.items(Section(shard.name, task.start, task.stop, allowed, shard.offset)):
            if item.split not in allowed:
                raise InputError(f"{shard.name}: {item.key} is of split {item.split!r}; planned were: {', '.join(allowed)}")
            if item.split != task.split:
                continue
            found = record_or_reject(item.build, item.key)
            # One place that comes twice is one record too many, not the end of a long run.
            twice = isinstance(found, Record) and found.id in seen
            yield repeated(item.key) if twice else found
            if isinstance(found, Record):
                seen.add(found.id)


@functools.lru_cache(maxsize=2)
def _opened(name: str, folder: str, options: str) -> Source[Any]:
    cls = find_source(name)
    return cls(Path(folder), load(cls.Options, json.loads(options)))
