"""Slide probes: a slide's class or survival from its tiles' frozen vectors, by their mean, over prototypes, or by attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import InputError
from eosin.eval.attention_mil import Attention, Bags, Training, train_attention
from eosin.eval.cox import fit_cox
from eosin.eval.encoder_config import SlideProbeConfig
from eosin.eval.groups import group_key
from eosin.eval.metrics.concordance import concordance
from eosin.eval.probes import Part, balanced, logistic
from eosin.eval.prototypes import find_prototypes, over_prototypes
from eosin.eval.slides import SlideFacts, slide_facts
from eosin.eval.survival import outcome_text, time_and_event
from eosin.eval.tasks.protocol import protocol_facts
from eosin.eval.vectors import SlideReader, benchmark_of, model_of, refuse_shared_groups
from eosin.numerics import Floats
from eosin.pipeline import Step, chunked
from eosin.records import Prediction

# Tiles of a slide [n, d] -> its scores [outputs].
Model = Callable[[Floats], NDArray[np.float64]]


@dataclass(frozen=True)
class Learnt:
    """A model of slides, and what was chosen on the way."""

    model: Model
    notes: dict[str, object]


def slide_probe_step(config: SlideProbeConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many slides it asks.

    Raises:
        InputError: a split has no slides to learn from or ask, a group is in two splits, or a slide's time and event are none.
    """
    data = inputs.artefacts["data"]
    model_of(data)
    parts, left_out = {}, {}
    for split in (config.train_split, config.val_split, config.split):
        if split:
            parts[split], left_out[split] = slide_facts(SlideReader(data), inputs.artefacts["slides"], split, config.target)
    refuse_shared_groups({split: {group_key(slide.source, slide.group) for slide in found} for split, found in parts.items()})
    classes = _classes(config, parts)
    facts = {
        "title": f"Predictions: slide probe, {config.pooling}",
        "classes": list(classes),
        "questions": {"asked": len(parts[config.split]), "left_out": left_out[config.split]},
        **protocol_facts(f"{config.target} {config.pooling}", config),
    }
    tasks = tuple(chunked("slides", config.split, len(parts[config.split]), 64))
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tasks, facts)
    produce = SlideProbing(config, data, {split: tuple(found) for split, found in parts.items()}, classes)
    return Step("slide probe", plan, produce, inputs.paths, produce.results), len(parts[config.split])


def _classes(config: SlideProbeConfig, parts: dict[str, list[SlideFacts]]) -> tuple[str, ...]:
    if config.target == "survival":
        for slide in (slide for found in parts.values() for slide in found):
            _outcome(slide)
        return ()
    known = {str(slide.label) for slide in parts[config.train_split]}
    strange = sorted({str(slide.label) for found in parts.values() for slide in found} - known)
    if strange or len(known) < 2:
        raise InputError(
            f"the training slides have the classes {sorted(known)}, other splits also {strange}: two at least, and all of them, are needed"
        )
    return tuple(sorted(known))


def _outcome(slide: SlideFacts) -> tuple[float, bool]:
    return time_and_event(slide.extra, f"slide {slide.name}")


@dataclass(frozen=True)
class SlideProbing:
    """Answers a task's slides; learns at the first one."""

    config: SlideProbeConfig
    data: Artefact
    slides: dict[str, tuple[SlideFacts, ...]]
    classes: tuple[str, ...]

    @cached_property
    def _reader(self) -> SlideReader:
        return SlideReader(self.data)

    def _tiles(self, slide: SlideFacts) -> Floats:
        """The slide's vectors, or so many of them drawn by its name and the seed."""
        vectors = self._reader.read(slide.name).vectors
        if len(vectors) <= self.config.tiles:
            return vectors
        rng = np.random.default_rng([self.config.seed, *slide.name.encode()])
        return vectors[np.sort(rng.choice(len(vectors), self.config.tiles, replace=False))]

    def _bags(self, split: str) -> Bags:
        slides = self.slides[split]
        place = {name: number for number, name in enumerate(self.classes)}
        labels = np.array([place[str(slide.label)] for slide in slides] if self.classes else [], dtype=np.int64)
        outcomes = [] if self.classes else [_outcome(slide) for slide in slides]
        times = np.array([time for time, _ in outcomes])
        events = np.array([event for _, event in outcomes], dtype=bool)
        return Bags([self._tiles(slide) for slide in slides], labels, times, events)

    @cached_property
    def _learnt(self) -> Learnt:
        config = self.config
        train = self._bags(config.train_split)
        val = self._bags(config.val_split) if config.val_split else None
        if config.pooling == "attention" and val is not None:
            training = Training(config.hidden, config.epochs, config.learning_rate, config.seed)
            kept: Attention = train_attention(train, max(1, len(self.classes)), training, lambda model: _judged(model, val))
            return Learnt(kept, {"epoch": kept.epoch, "validation": round(_judged(kept, val), 6)})
        pool = self._pool(train)
        pooled = np.stack([pool(tiles) for tiles in train.tiles])
        middle = pooled.mean(axis=0)
        if self.classes:
            part = Part(pooled - middle, train.labels)
            held = Part(np.stack([pool(tiles) for tiles in val.tiles]) - middle, val.labels) if val else None
            fitted = logistic(part, held, config.costs, len(self.classes))
            return Learnt(lambda tiles: fitted.probe((pool(tiles) - middle)[None])[0], fitted.notes)
        return _cox(pool, pooled - middle, middle, train, val, config.costs)

    def _pool(self, train: Bags) -> Callable[[Floats], NDArray[np.floating]]:
        if self.config.pooling == "mean":
            return lambda tiles: tiles.mean(axis=0)
        prototypes = find_prototypes(train.tiles, self.config.prototypes, self.config.seed)
        return lambda tiles: over_prototypes(tiles, prototypes)

    def results(self) -> dict[str, Any]:
        """What was chosen, for the manifest."""
        return {"probe": self._learnt.notes}

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction a slide, in order."""
        for slide in self.slides[task.split][task.start : task.stop]:
            yield self._prediction(slide, self._learnt.model(self._tiles(slide)))

    def _prediction(self, slide: SlideFacts, scores: NDArray[np.float64]) -> Prediction:
        return Prediction(
            id=f"{slide.source}/{slide.name}",
            source=slide.source,
            licence=slide.licence,
            group=slide.group,
            split=slide.split,
            slide=slide.name,
            question=slide.name,
            benchmark=benchmark_of(self.data),
            condition="plain",
            task="slide_probe" if self.classes else "survival",
            answer=str(slide.label) if self.classes else outcome_text(*_outcome(slide)),
            options=self.classes,
            reply=self.classes[int(np.argmax(scores))] if self.classes else f"{float(scores[0]):.6f}",
            finish_reason="argmax",
            prompt_hash="",
            model=model_of(self.data),
            scores=tuple(round(float(value), 9) for value in scores),
            topic=str(slide.label) if self.classes else None,
        )


def _judged(model: Model, bags: Bags) -> float:
    """Balanced accuracy, or concordance, on a split; nan counts as the worst."""
    scores = np.stack([model(tiles) for tiles in bags.tiles])
    found = balanced(scores.argmax(axis=1), bags.labels) if len(bags.labels) else concordance(bags.times, bags.events, scores[:, 0]).score
    return found if np.isfinite(found) else -1.0


def _cox(
    pool: Callable[[Floats], NDArray[np.floating]],
    pooled: NDArray[np.floating],
    middle: NDArray[np.floating],
    train: Bags,
    val: Bags | None,
    costs: tuple[float, ...],
) -> Learnt:
    """The Cox model whose cost has the best concordance on the validation split; of equal ones the smallest."""

    def model_of(beta: NDArray[np.float64]) -> Model:
        return lambda tiles: np.array([float((pool(tiles) - middle) @ beta)])

    models = [model_of(fit_cox(pooled, train.times, train.events, cost)) for cost in sorted(costs)]
    if val is None:
        return Learnt(models[0], {"cost": costs[0]})
    scores = [_judged(model, val) for model in models]
    best = int(np.argmax(scores))
    return Learnt(models[best], {"cost": sorted(costs)[best], "validation": [round(score, 6) for score in scores]})
