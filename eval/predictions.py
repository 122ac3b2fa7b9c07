"""Predictions read back as columns: one table for each task, model, condition and benchmark."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.artefacts.parquet import read_parquet
from eosin.config import load
from eosin.errors import InputError
from eosin.eval.groups import group_key

_COLUMNS = [
    "question",
    "source",
    "group",
    "benchmark",
    "condition",
    "task",
    "answer",
    "options",
    "reply",
    "finish_reason",
    "model",
    "topic",
    "scores",
]


@dataclass(frozen=True, order=True)
class RunKey:
    """What a score is a score of.

    Attributes:
        task: what was asked.
        model: a fingerprint.
        condition: how it was asked.
        benchmark: the digest of the questions.
        protocol: by which rules: prompts and class names, or the settings of a probe; empty where a task has one way.
    """

    task: str
    model: str
    condition: str
    benchmark: str
    protocol: str = ""


@dataclass(frozen=True)
class Rules:
    """What a protocol fixes beside the prompts.

    Attributes:
        id: its name, version and content in short; empty for none.
        metric: the score it quotes; empty for the task's own.
        aggregate: how its draws become one number; empty where there is one draw.
        title: for readers.
        scores: `logits`, of which a softmax makes probabilities, or `plain`: shares, distances and the like, ranked as they stand.
    """

    id: str = ""
    metric: str = ""
    aggregate: str = ""
    title: str = ""
    scores: Literal["logits", "plain"] = "logits"


@dataclass(frozen=True)
class Rows:
    """The predictions of one run, column by column, sorted by question; `group` as `group_key` names it."""

    question: tuple[str, ...]
    group: tuple[str, ...]
    answer: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    reply: tuple[str, ...]
    finish_reason: tuple[str, ...]
    topic: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...] = ()
    draws: tuple[tuple[int, ...], ...] = ()
    domain: tuple[str, ...] = ()
    rules: Rules = Rules()
    task: str = ""

    def taken(self, places: Iterable[int]) -> Rows:
        """The questions at `places`, in that order."""
        chosen = list(places)
        columns = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("rules", "task")}
        taken: dict[str, Any] = {name: tuple(column[place] for place in chosen) for name, column in columns.items() if column}
        return replace(self, **taken)

    def __len__(self) -> int:
        return len(self.question)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Where the model gave no answer because of an error."""
        return np.array([reason == "error" for reason in self.finish_reason], dtype=bool)


@dataclass(frozen=True)
class Shown:
    """What a report shows of a question: its text and a small picture (data URL)."""

    text: str
    thumbnail: str


def read_runs(artefacts: Iterable[Artefact]) -> dict[RunKey, Rows]:
    """All runs in the artefacts, sorted by key; images and extras are not read.

    Raises:
        InputError: there are none, or one question was answered twice in one run.
    """
    tables = [_read(artefact, shard) for artefact in artefacts for shard in artefact.shards()]
    if not tables:
        raise InputError("the predictions are empty: there is nothing to score")
    names = [*_COLUMNS, "rules", "draws", "domain"]
    values = {name: [value for table in tables for value in table[name]] for name in names}
    members: dict[RunKey, list[int]] = {}
    keys = zip(values["task"], values["model"], values["condition"], values["benchmark"], values["rules"], strict=True)
    for row, (task, model, condition, benchmark, rules) in enumerate(keys):
        members.setdefault(RunKey(task, model, condition, benchmark, rules.id), []).append(row)
    return {key: _rows(key, values, members[key]) for key in sorted(members)}


def rules_of(artefact: Artefact) -> Rules:
    """The protocol that a predictions artefact was made by."""
    return load(Rules, artefact.plan.facts.get("protocol", {}))


def _read(artefact: Artefact, shard: Path) -> dict[str, list[Any]]:
    """A shard's columns, and of `extra` what scoring needs, where the plan says that it is there."""
    rules, domains = rules_of(artefact), bool(artefact.plan.facts.get("domains"))
    more = ["extra"] if rules.aggregate or domains else []
    table = read_parquet(shard, [*_COLUMNS, *more])
    values: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in _COLUMNS}
    extras = [json.loads(extra) for extra in table.column("extra").to_pylist()] if more else [{}] * len(table)
    values["draws"] = [tuple(extra.get("draws", ())) for extra in extras]
    values["domain"] = [extra.get("domain", "") for extra in extras]
    values["rules"] = [rules] * len(table)
    return values


def _rows(key: RunKey, values: dict[str, list[Any]], members: list[int]) -> Rows:
    questions: list[str] = values["question"]
    members = sorted(members, key=lambda row: questions[row])
    for before, after in itertools.pairwise(members):
        if questions[before] == questions[after]:
            raise InputError(
                f"{questions[after]!r} was answered twice by model {key.model}, {key.task}, condition {key.condition}: "
                "name each predictions artefact once, and only one run of each condition"
            )

    def column(name: str) -> tuple[Any, ...]:
        return tuple(values[name][row] for row in members)

    return Rows(
        question=column("question"),
        group=tuple(map(group_key, column("source"), column("group"))),
        answer=column("answer"),
        options=tuple(tuple(options or ()) for options in column("options")),
        reply=column("reply"),
        finish_reason=column("finish_reason"),
        topic=tuple(topic or "" for topic in column("topic")),
        scores=tuple(tuple(scores or ()) for scores in column("scores")),
        draws=column("draws"),
        domain=column("domain"),
        rules=values["rules"][members[0]],
        task=key.task,
    )


def model_names(artefacts: Iterable[Artefact]) -> dict[str, str]:
    """Fingerprint -> the name its recipe gave the model, where it gave one."""
    names: dict[str, str] = {}
    for artefact in artefacts:
        name = artefact.plan.settings.get("name")
        for shard in artefact.shards() if name else ():
            for model in pc.unique(read_parquet(shard, ["model"]).column("model")).to_pylist():
                names.setdefault(model, str(name))
    return names


def read_shown(artefacts: Iterable[Artefact]) -> dict[str, Shown]:
    """Question id -> what a report can show of it; only the questions whose picture was kept."""
    shown: dict[str, Shown] = {}
    for artefact in artefacts:
        for shard in artefact.shards():
            table = read_parquet(shard, ["question", "extra"])
            for question, extra in zip(table.column("question").to_pylist(), table.column("extra").to_pylist(), strict=True):
                if question not in shown and '"thumbnail"' in extra:
                    facts = json.loads(extra)
                    shown[question] = Shown(str(facts.get("question", "")), str(facts["thumbnail"]))
    return shown
