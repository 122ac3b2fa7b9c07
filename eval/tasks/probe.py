"""Probes: a classifier learnt on frozen vectors of one split, asked on another.

The whole training split, or few shots of each class drawn with several seeds. Groups that are in two splits are refused: a probe that has
seen the patient is not asked about tissue. What was learnt from which cost stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import InputError
from eosin.eval.encoder_config import ProbeConfig
from eosin.eval.groups import group_key
from eosin.eval.probes import PROBES, Fitted, Part, Settings, few
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.eval.tasks.protocol import protocol_facts
from eosin.eval.vectors import Vectors, benchmark_of, model_of, read_vectors, refuse_shared_groups
from eosin.pipeline import Step
from eosin.records import Prediction


def probe_step(config: ProbeConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it asks.

    Raises:
        InputError: no vector has a label, or a group is in two splits.
        ArtefactError: a split has no records.
    """
    data = inputs.artefacts["data"]
    model_of(data)
    splits = [split for split in (config.train_split, config.val_split, config.split) if split]
    rows = {split: list(read_columns(data, split, ["id", "source", "group", "label"])) for split in splits}
    refuse_shared_groups({split: {group_key(row["source"], row["group"]) for row in found} for split, found in rows.items()})
    classes = _classes(rows, config)
    candidates = (
        Candidate(number, row["id"], row["group"], "probe", None if row["label"] else "without a label")
        for number, row in enumerate(row for row in rows[config.split])
    )
    selection = select(candidates, None, config.seed)
    shots = f"{config.shots} shots, {config.seeds} seeds" if config.shots else "all"
    facts = {
        "title": f"Predictions: {config.method} probe",
        "classes": list(classes),
        "questions": selection.facts(),
        **protocol_facts(
            f"{config.method} {shots}", config, "mean" if config.shots else "", scores="logits" if config.method == "logistic" else "plain"
        ),
    }
    tasks = tuple(selection.tasks("data", config.split, config.shard_size))
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tasks, facts)
    probing = Probing(config, data, selection, classes)
    return Step("probe", plan, probing, inputs.paths, probing.results), len(selection.rows)


def _classes(rows: dict[str, list[dict[str, Any]]], config: ProbeConfig) -> tuple[str, ...]:
    """The classes of the training split; one that only another split has cannot be learnt.

    Raises:
        InputError: there are not two, or another split has further ones.
    """
    labels = {split: {row["label"] for row in found if row["label"]} for split, found in rows.items()}
    known = labels[config.train_split]
    for split, found in labels.items():
        if strange := sorted(found - known):
            raise InputError(f"split {split!r} has labels that {config.train_split!r} lacks: {', '.join(strange)}; they cannot be learnt")
    if len(known) < 2:
        raise InputError(f"split {config.train_split!r} has {len(known)} classes; a probe needs two at least")
    return tuple(sorted(known))


@dataclass(frozen=True)
class Probing:
    """Answers a task's questions; learns at the first one."""

    config: ProbeConfig
    data: Artefact
    selection: Selection
    classes: tuple[str, ...]

    def _part(self, split: str) -> Part:
        return self._labelled(read_vectors(self.data, split))

    def _labelled(self, found: Vectors) -> Part:
        place = {name: number for number, name in enumerate(self.classes)}
        return Part(found.vectors, np.array([place[row["label"]] for row in found.facts], dtype=np.int64))

    @cached_property
    def _fitted(self) -> list[Fitted]:
        """One probe, or one for each draw of the shots."""
        config = self.config
        train = self._part(config.train_split)
        val = self._part(config.val_split) if config.val_split and config.method == "logistic" else None
        settings = Settings(config.costs, config.neighbours, len(self.classes))
        if not config.shots:
            return [PROBES[config.method](train, val, settings)]
        found = []
        for seed in range(config.seed, config.seed + config.seeds):
            chosen = few(train.labels, config.shots, seed, len(self.classes))
            found.append(PROBES[config.method](Part(train.vectors[chosen], train.labels[chosen]), val, settings))
        return found

    @cached_property
    def _asked(self) -> Vectors:
        return read_vectors(self.data, self.config.split)

    def results(self) -> dict[str, Any]:
        """What was chosen, for the manifest."""
        return {"probe": [fitted.notes for fitted in self._fitted]}

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction a vector, in order."""
        # The labelled rows in their order: the selection holds the same ones.
        rows = self._asked.facts[task.start : task.stop]
        vectors = self._asked.vectors[task.start : task.stop]
        scores = np.stack([fitted.probe(vectors) for fitted in self._fitted])
        shown = self._fitted[0].shown(scores[0])
        for number, row in enumerate(rows):
            yield self._prediction(row, scores[:, number].argmax(axis=1), shown[number])

    def _prediction(self, row: dict[str, Any], draws: NDArray[np.int64], scores: NDArray[np.float64]) -> Prediction:
        """Of one probe its scores, of several each class's share of their answers."""
        shares = np.bincount(draws, minlength=len(self.classes)) / len(draws)
        shown = scores if len(draws) == 1 else shares
        return Prediction(
            **{name: row[name] for name in ("id", "source", "licence", "group", "split", "slide", "mpp")},
            extra={"draws": [int(place) for place in draws]} if self.config.shots else {},
            question=row["id"],
            benchmark=benchmark_of(self.data),
            condition="plain",
            task="probe",
            answer=row["label"],
            options=self.classes,
            reply=self.classes[int(np.argmax(shares))],
            finish_reason="argmax",
            prompt_hash="",
            model=model_of(self.data),
            scores=tuple(round(float(value), 9) for value in shown),
            topic=row["label"],
        )
