"""`split`: the same records in new splits, by group, for every kind of data.

With `draw: hash` a group's split is a function of the seed and its name alone: records that are added later move no group, and images,
captions and conversations of one patient land in the same split although they are split apart from one another. Classes reach their
shares but for chance. With `draw: quota` each class is cut at its shares; `earlier` keeps what was split before.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import Inputs, open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.exports.samples import tasks_of
from eosin.data_builders.group_split import Shares, fold_groups, hashed_fold, hashed_split, split_groups
from eosin.data_builders.subjects import read_rows, stable_number
from eosin.errors import ConfigError, InputError
from eosin.pipeline import Step
from eosin.progress import say
from eosin.records import RECORD_TYPES, SCHEMAS, SPLITS, Record

KINDS = ("labelled_images", "image_text", "conversations", "slides", "tiles", "embeddings")
RECORDS_A_TASK = 4096
_STRATA = {"labelled_images": "label", "image_text": "organ", "slides": "labels", "embeddings": "label", "conversations": "task"}
_CARRIED_FACTS = ("classes", "label_set", "groups_unknown")


@dataclass(frozen=True)
class SplitConfig:
    """How records are split.

    Attributes:
        data: of any kind.
        earlier: an artefact whose groups keep their splits; of any kind.
        shares: of the groups.
        seed: of the hash.
        draw: `hash`: by the group's name alone; `quota`: each class at its shares.
        by: the classes: `auto` (label, organ or task, as the kind has it), a column, `extra.KEY`, or empty for none.
        keep: splits of the input that stay as they are, such as an official test split; with `quota` they count for the shares, with
            `hash` the other groups are drawn for the other splits.
        folds: so many artefacts, in each another fold of the groups outside test as val; 0 for none.
        unknown_groups: what happens where the publisher tells no groups, so that one patient may be in several splits: `refuse`, or
            `accept`.
    """

    builder: Literal["split"] = "split"
    data: str = input_path(*KINDS)
    earlier: str = input_path(*KINDS, required=False)
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    draw: Literal["hash", "quota"] = "hash"
    by: str = "auto"
    keep: tuple[str, ...] = ()
    folds: int = 0
    unknown_groups: Literal["refuse", "accept"] = "refuse"

    def __post_init__(self) -> None:
        wrong = sorted(set(self.keep) - {"train", "val", "test"})
        if wrong:
            raise ConfigError(f"keep names {', '.join(wrong)}; allowed: train, val, test")
        if self.folds == 1 or self.folds < 0:
            raise ConfigError(f"folds is {self.folds}; 0 for none, or at least 2")
        if self.folds and (self.shares.val or "val" in self.keep or self.earlier):
            raise ConfigError("folds make the val split: set shares.val to 0, and leave val out of keep, and earlier out")


def split_steps(config: SplitConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder, or one for each fold: artefacts of the input's kind.

    Raises:
        InputError: the publisher tells no groups, or a group is in two splits that stay as they are, be it one of `earlier`.
        ConfigError: `by` names no column of the kind.
    """
    inputs = open_inputs(config)
    data = inputs.artefacts["data"]
    unknown = data.plan.facts.get("groups_unknown")
    if unknown and config.unknown_groups == "refuse":
        raise InputError(
            f"{data.path} cannot be split by group: {unknown}. Give the groups where it is built, or accept that images of one patient may "
            "lie in several splits with unknown_groups=accept"
        )
    _check_by(config.by, data.kind)
    assignment = _assignment(config, inputs)
    for fold in range(config.folds) if config.folds else (None,):
        yield _step(config, inputs, dataclasses.replace(assignment, fold=fold))


@dataclass(frozen=True)
class Assignment:
    """Group -> split.

    Attributes:
        shares: of the draw by hash.
        seed: of the hash.
        settled: groups whose split is known; with `quota` all of them.
        folds: 0 for none.
        fold: the one that is val; None for none.
        fold_of: with `quota` the fold of each group; empty where the hash tells.
    """

    shares: Shares
    seed: int
    settled: Mapping[str, str]
    folds: int = 0
    fold: int | None = None
    fold_of: Mapping[str, int] = field(default_factory=dict)

    def split(self, group: str) -> str:
        """The group's split."""
        found = self.settled.get(group) or hashed_split(group, self.shares, self.seed)
        if self.fold is None or found != "train":
            return found
        number = self.fold_of.get(group)
        return "val" if (hashed_fold(group, self.folds, self.seed) if number is None else number) == self.fold else "train"


def _assignment(config: SplitConfig, inputs: Inputs) -> Assignment:
    data = inputs.artefacts["data"]
    settled = dict(_settled(inputs.artefacts["earlier"], ("train", "val", "test"))) if "earlier" in inputs.artefacts else {}
    kept = _settled(data, config.keep)
    torn = next((group for group, split in kept.items() if settled.get(group, split) != split), None)
    if torn is not None:
        raise InputError(
            f"group {torn} is in {settled[torn]} of earlier and in {kept[torn]} of data, which keep leaves as it is: "
            f"leave {kept[torn]} out of keep, or leave earlier out"
        )
    settled |= kept
    if config.draw == "hash":
        return Assignment(_without(config.shares, config.keep), config.seed, settled, config.folds)
    found = split_groups(_members(data, config.by), config.shares, config.seed, settled)
    train = ((group, stratum) for group, stratum in _members(data, config.by) if found[group] == "train")
    folds = fold_groups(train, config.folds, config.seed) if config.folds else {}
    return Assignment(config.shares, config.seed, found, config.folds, None, folds)


def _settled(artefact: Artefact, splits: tuple[str, ...]) -> dict[str, str]:
    """The groups of some splits.

    Raises:
        InputError: a group is in two of them.
    """
    found: dict[str, str] = {}
    for split, count in artefact.manifest["splits"].items():
        if split not in splits:
            continue
        for row in read_rows(artefact, split, 0, count, ["group"]):
            first = found.setdefault(row["group"], split)
            if first != split:
                raise InputError(
                    f"{artefact.path}: group {row['group']} is in {first} and in {split}; only one of the two can stay as it is"
                )
    return found


def _without(shares: Shares, keep: tuple[str, ...]) -> Shares:
    """The shares of the splits that are drawn, in proportion."""
    left = {name: 0.0 if name in keep else share for name, share in dataclasses.asdict(shares).items()}
    total = sum(left.values())
    if "train" in keep or not total:
        raise ConfigError("keep holds train: there is nothing to draw for the others; draw=quota fills them up to their shares")
    return Shares(**{name: share / total for name, share in left.items()})


def _check_by(by: str, kind: str) -> None:
    if by not in ("", "auto") and not by.startswith("extra.") and by not in SCHEMAS[kind].names:
        raise ConfigError(f"by is {by!r}; allowed: auto, a column of {kind} ({', '.join(SCHEMAS[kind].names)}), extra.KEY, or nothing")


def _members(data: Artefact, by: str) -> Iterator[tuple[str, str]]:
    """(group, class) of every record; pixels are not read."""
    name = _STRATA.get(data.kind, "") if by == "auto" else by
    column, _, key = name.partition(".")
    columns = ["group", *([column] if column and column != "group" else [])]
    for split, count in data.manifest["splits"].items():
        for row in read_rows(data, split, 0, count, columns):
            value = row[column] if column else ""
            if key:
                value = json.loads(value).get(key)
            yield row["group"], "+".join(sorted(map(str, value))) if isinstance(value, list) else "" if value is None else str(value)


def _step(config: SplitConfig, inputs: Inputs, assignment: Assignment) -> Step:
    data = inputs.artefacts["data"]
    told = _counts(data, config.by, assignment)
    wanted = [split for split, share in dataclasses.asdict(config.shares).items() if share]
    for split in wanted:
        if split not in told:
            say(f"warning: {split} has no record at all: there are few groups")
            continue
        lacking = sorted({name for counts in told.values() for name in counts["classes"]} - told[split]["classes"].keys() - {""})
        if lacking:
            say(f"warning: {split} has no record of {', '.join(lacking)}; more groups, or draw=quota, would give it some")
    facts = {key: data.plan.facts[key] for key in _CARRIED_FACTS if key in data.plan.facts}
    facts |= {"title": data.plan.facts.get("title", data.kind), "split_counts": told}
    name = data.kind
    if assignment.fold is not None:
        name = f"{data.kind}-fold{assignment.fold}"
        facts["fold"] = assignment.fold
    pieces = tasks_of(data, (), RECORDS_A_TASK)
    tasks = tuple(dataclasses.replace(piece, source=piece.split, split=split) for split in SPLITS if split in told for piece in pieces)
    settings = {key: value for key, value in settings_of(config).items() if key != "builder"}
    return Step(name, Plan(data.kind, "build", settings, inputs.refs, tasks, facts), Resplit(data, assignment), inputs.paths)


def _counts(data: Artefact, by: str, assignment: Assignment) -> dict[str, dict[str, Any]]:
    """Records, groups and records a class of each split."""
    records: dict[str, Counter[str]] = {}
    # Eight bytes a group, not its name: what is held grows with the groups, little.
    groups: dict[str, set[int]] = {}
    for group, stratum in _members(data, by):
        split = assignment.split(group)
        records.setdefault(split, Counter())[stratum] += 1
        groups.setdefault(split, set()).add(stable_number(group))
    return {
        split: {"records": records[split].total(), "groups": len(groups[split]), "classes": dict(sorted(records[split].items()))}
        for split in SPLITS
        if split in records
    }


@dataclass(frozen=True)
class Resplit:
    """The records of a piece of the input that belong to the task's split; picklable. `Task.source` is the split they come from."""

    data: Artefact
    assignment: Assignment

    def __call__(self, task: Task) -> Iterator[Record]:
        """Those records, in their order."""
        table: RecordTable[Any] = RecordTable(self.data, RECORD_TYPES[self.data.kind], task.source, cached_groups=1)
        for number, row in enumerate(read_rows(self.data, task.source, task.start, task.stop, ["group"]), task.start):
            if self.assignment.split(row["group"]) == task.split:
                yield dataclasses.replace(table[number], split=task.split)
