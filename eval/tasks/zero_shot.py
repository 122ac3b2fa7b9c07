"""Zero-shot classification: the class whose prompts lie nearest to the image (Radford et al. 2021, 3.1).

Every prompt of a class (templates times names) is embedded; their mean, scaled to unit length, is the class's weight. What is recorded is
the logits: cosine times the model's logit scale. A protocol that draws prompts (MI-Zero, KEEP) classifies every image once a draw: the
class of each draw lies in `extra`, the reply is the class most draws gave, and the scores are each class's share of the draws.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.artefacts.plan import canonical_json
from eosin.commands import Inputs
from eosin.config import load, settings_of
from eosin.errors import ConfigError, EosinError, InputError
from eosin.eval.asking import ask_each, refuse_dead_backend
from eosin.eval.colour_matching import ColourReference, check_reference, colour_reference, match_colours
from eosin.eval.config import ZeroShotConfig
from eosin.eval.corruptions import corrupt
from eosin.eval.pictures import black_like, thumbnail
from eosin.eval.prompts import ClassSet, Wording, find_class_set, read_conch, refuse_one_class, worded, worded_as
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.eval.tasks.names import COLOUR_MATCHED, Corruption, corrupted
from eosin.labels import LabelSet, find_label_set, load_label_set
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import Floats, ensemble
from eosin.pipeline import Step
from eosin.progress import say
from eosin.records import LabelledImage, Prediction

# Batches that are handed to the embedder together.
_BATCHES_AHEAD = 8
# The logits of an image, [draws x classes], and the hash of what was sent.
Answer = tuple[NDArray[np.float64], str]


def zero_shot_step(config: ZeroShotConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it asks.

    Raises:
        InputError: no image has a label, or a label is none of the classes.
        ConfigError: label set or prompts do not fit.
    """
    data = inputs.artefacts["data"]
    classes = find_class_set(config.class_names) if config.class_names else None
    selection = select(_candidates(data, config, classes), config.limit, config.seed)
    wording = _wording(data, config)
    refuse_one_class(wording)
    renamed = _checked_labels(data, config, selection, wording)
    conditions = _conditions(config)
    tasks = [task for condition in conditions for task in selection.tasks(condition, config.split, config.shard_size)]
    if len(conditions) == 1:
        tasks = selection.tasks("data", config.split, config.shard_size)
    reference = inputs.artefacts.get("colour_reference")
    if reference:
        check_reference(data, config.split, reference, config.reference_split)
    facts = {
        "title": "Predictions: zero-shot classification",
        "classes": list(wording.classes),
        "questions": selection.facts(),
        "domains": list(config.in_domain),
        **_worded_facts(wording, renamed),
    }
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tuple(tasks), facts)
    folder = inputs.artefacts["model"].path if config.model else inputs.folders["folder"]
    spec = EmbedderSpec(str(folder), device=config.device, batch_size=config.batch_size)
    produce = ZeroShot(config, data, selection, wording, spec, reference)
    return Step("zero-shot", plan, produce, inputs.paths, produce.results), len(selection.rows) * len(conditions)


def _conditions(config: ZeroShotConfig) -> tuple[str, ...]:
    spoilt = (corrupted(name, severity) for name in config.corruptions for severity in config.severities)
    return (config.condition, *((COLOUR_MATCHED,) if config.colour_reference else ()), *spoilt)


def _candidates(data: Artefact, config: ZeroShotConfig, classes: ClassSet | None) -> Iterator[Candidate]:
    unasked = frozenset(classes.left_out) if classes else frozenset()
    for number, row in enumerate(read_columns(data, config.split, ["id", "group", "label"])):
        label = config.rename.get(row["label"], row["label"])
        reason = "without a label" if not label else "of a class the protocol leaves out" if label in unasked else None
        yield Candidate(number, row["id"], row["group"], "zero_shot", reason)


def _wording(data: Artefact, config: ZeroShotConfig) -> Wording:
    if config.prompts.endswith(".json"):
        return read_conch(Path(config.prompts))
    return worded_as(config.prompts, config.class_names) if config.class_names else worded(config.prompts, _labels(data, config))


def _worded_facts(wording: Wording, renamed: dict[str, str]) -> dict[str, Any]:
    """What a plan says of the prompts; other truths are another protocol, though the prompts are the same."""
    facts = wording.facts()
    if renamed:
        facts["protocol"]["id"] += f" renamed {hashlib.sha256(canonical_json(renamed)).hexdigest()[:8]}"
    return facts


def _checked_labels(data: Artefact, config: ZeroShotConfig, selection: Selection, wording: Wording) -> dict[str, str]:
    """The labels of the asked images that are renamed, with their new names; classes without an image are named.

    Raises:
        ConfigError: the class names are those of another data set: said before the model is loaded.
    """
    asked = set(selection.rows)
    labels = {row["label"] for number, row in enumerate(read_columns(data, config.split, ["label"])) if number in asked}
    found = {config.rename.get(label, label) for label in labels}
    if strange := sorted(found - set(wording.classes)):
        raise ConfigError(
            f"the images have the labels {', '.join(sorted(found))}, but the classes are {', '.join(wording.classes)}: "
            f"{', '.join(strange)} is none of them. These are the class names of another data set, or rename.LABEL=CLASS is missing"
        )
    if empty := [name for name in wording.classes if name not in found]:
        say(f"zero-shot: no image of {', '.join(empty)}; the model may still answer with it")
    return {label: config.rename[label] for label in sorted(labels) if config.rename.get(label, label) != label}


def _labels(data: Artefact, config: ZeroShotConfig) -> LabelSet:
    """The classes in words: those the recipe names, else those the data carry, else the shipped set that fits."""
    if config.labels and not data.classes:
        return find_label_set(config.labels)
    classes = data.classes or tuple(sorted({row["label"] for row in read_columns(data, config.split, ["label"]) if row["label"]}))
    if not config.labels and "label_set" in data.plan.facts:
        return load(LabelSet, data.plan.facts["label_set"]).select(classes)
    return load_label_set(config.labels or "auto", classes)


@dataclass(frozen=True)
class ZeroShot:
    """Classifies a task's images; the model is loaded at the first one."""

    config: ZeroShotConfig
    data: Artefact
    selection: Selection
    wording: Wording
    spec: EmbedderSpec
    reference: Artefact | None = None

    @cached_property
    def _colours(self) -> ColourReference:
        if self.reference is None:
            raise ConfigError(f"condition {COLOUR_MATCHED} needs colour_reference=ARTEFACT")
        return colour_reference(self.reference, self.config.reference_split)

    def results(self) -> dict[str, Any]:
        """For the manifest: the colours that images were matched to."""
        return {"colour_reference": self._colours.facts()} if self.reference else {}

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self.spec)

    @cached_property
    def _weights(self) -> Floats:
        """float32 [draws x classes, dim]"""
        return class_weights(self._embedder, [texts for draw in self.wording.draws for texts in draw.values()])

    @cached_property
    def _prompt_hash(self) -> str:
        return self.wording.hash

    @cached_property
    def _pictured(self) -> frozenset[str]:
        return self.selection.pictured(self.config.pictures)

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction an image, in order.

        Raises:
            Unsupported: the model has no text tower.
        """
        table = RecordTable(self.data, LabelledImage, task.split, cached_groups=2)
        weights = self._weights
        condition = self.config.condition if task.source == "data" else task.source
        rows = self.selection.rows[task.start : task.stop]
        answers: list[object] = []
        # Several batches at once: the embedder decodes one while the tower is at work on the one before. Altered images are large.
        together = self.config.batch_size * (_BATCHES_AHEAD if condition == "plain" else 1)
        for start in range(0, len(rows), together):
            records = [table[row] for row in rows[start : start + together]]
            found = ask_each(lambda some: self._logits(some, condition, weights), records, self.config.batch_size)
            answers += found
            yield from (self._prediction(record, logits, condition) for record, logits in zip(records, found, strict=True))
        refuse_dead_backend(answers)

    def _logits(self, records: Sequence[LabelledImage], condition: str, weights: Floats) -> list[Answer]:
        """What each image got: logits [draws x classes], and the hash of what was sent."""
        altered = self._alteration(condition)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(lambda record: altered(record.image), records))
        vectors = self._embedder.embed_images(images)
        logits = self._embedder.logit_scale * (vectors @ weights.T).astype(np.float64)
        return list(zip(logits, map(image_hash, images), strict=True))

    def _alteration(self, condition: str) -> Callable[[bytes], bytes]:
        """What is done to an image before it is sent."""
        if condition == "plain":
            return lambda image: image
        if condition == "blind":
            return black_like
        if condition == COLOUR_MATCHED:
            colours = self._colours
            return lambda image: match_colours(image, colours)
        name, _, severity = condition.partition(":")
        return lambda image: corrupt(image, cast(Corruption, name), int(severity))

    def _prediction(self, record: LabelledImage, answer: Answer | EosinError, condition: str) -> Prediction:
        classes = self.wording.classes
        label = self.config.rename.get(str(record.label), str(record.label))
        extra: dict[str, Any] = {"error": str(answer)} if isinstance(answer, EosinError) else {}
        reply, scores, draws = ("", (), []) if isinstance(answer, EosinError) else _decided(answer[0], classes)
        extra.update({"draws": draws} if draws else {})
        if self.config.domain:
            extra["domain"] = "in" if _domain(record, self.config.domain) in self.config.in_domain else "out"
        if record.id in self._pictured and condition == self.config.condition and (picture := thumbnail(record.image)):
            extra["thumbnail"] = picture
        return Prediction(
            id=record.id if condition == self.config.condition else f"{record.id}#{condition}",
            source=record.source,
            licence=record.licence,
            group=record.group,
            split=record.split,
            slide=record.slide,
            mpp=record.mpp,
            extra=extra,
            question=record.id,
            benchmark=self.data.digest,
            condition=condition,
            task="zero_shot",
            answer=label,
            options=classes,
            reply=reply,
            finish_reason="error" if isinstance(answer, EosinError) else "argmax",
            prompt_hash=self._prompt_hash,
            image_hashes=() if isinstance(answer, EosinError) else (answer[1],),
            model=self._embedder.fingerprint,
            scores=scores,
            topic=label,
        )


def _decided(logits: NDArray[np.float64], classes: Sequence[str]) -> tuple[str, tuple[float, ...], list[int]]:
    """Reply, scores, and each draw's class; of one draw alone the scores are its logits, and no draws are told."""
    if len(logits) == len(classes):
        return classes[int(np.argmax(logits))], tuple(round(float(value), 6) for value in logits), []
    draws = logits.reshape(-1, len(classes)).argmax(axis=1)
    shares = np.bincount(draws, minlength=len(classes)) / len(draws)
    return classes[int(np.argmax(shares))], tuple(round(float(value), 6) for value in shares), [int(place) for place in draws]


def _domain(record: LabelledImage, key: str) -> str:
    """The record's value of `source`, `slide` or a key of `extra`.

    Raises:
        InputError: it has none.
    """
    value = getattr(record, key) if key in ("source", "slide") else record.extra.get(key)
    if value is None:
        raise InputError(
            f"{record.id}: domain={key}, but the record has no such value; its extra holds {', '.join(record.extra) or 'nothing'}"
        )
    return str(value)


def class_weights(embedder: Embedder, prompts: Sequence[Sequence[str]]) -> Floats:
    """One unit weight a class from its prompts: float32 [classes, dim]."""
    vectors = embedder.embed_texts([text for texts in prompts for text in texts])
    ends = np.cumsum([len(texts) for texts in prompts])
    return ensemble(np.split(vectors, ends[:-1]))


def image_hash(image: bytes) -> str:
    """sha256 of an encoded image."""
    return hashlib.sha256(image).hexdigest()
