"""Zero-shot classification: the class whose prompts lie nearest to the image (Radford et al. 2021, 3.1).

Every prompt of a class (templates times names) is embedded; their mean, scaled to unit length, is the class's weight. What is recorded is
the logits: cosine times the model's logit scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import Inputs
from eosin.config import load, settings_of
from eosin.errors import EosinError, InputError
from eosin.eval.asking import ask_each, refuse_dead_backend
from eosin.eval.config import ZeroShotConfig
from eosin.eval.pictures import black_like, thumbnail
from eosin.eval.prompts import hash_of, load_prompts, prompts_of
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.labels import LabelSet, load_label_set
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import Floats, ensemble
from eosin.pipeline import Step
from eosin.records import LabelledImage, Prediction


def zero_shot_step(config: ZeroShotConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it asks.

    Raises:
        InputError: no image has a label, or a label is none of the classes.
        ConfigError: label set or prompts do not fit.
    """
    data = inputs.artefacts["data"]
    selection = select(_candidates(data, config.split), config.limit, config.seed)
    labels = _labels(data, config)
    prompts = prompts_of(labels, load_prompts(config.prompts))
    facts = {
        "title": "Predictions: zero-shot classification",
        "classes": list(prompts),
        "questions": selection.facts(),
        "prompts": {label: list(texts) for label, texts in prompts.items()},
    }
    plan = Plan(
        "predictions", "eval run", settings_of(config), inputs.refs, tuple(selection.tasks("data", config.split, config.shard_size)), facts
    )
    folder = inputs.artefacts["model"].path if config.model else inputs.folders["folder"]
    spec = EmbedderSpec(str(folder), device=config.device, batch_size=config.batch_size)
    return Step("zero-shot", plan, ZeroShot(config, data, selection, prompts, spec), inputs.paths), len(selection.rows)


def _candidates(data: Artefact, split: str) -> Iterator[Candidate]:
    for number, row in enumerate(read_columns(data, split, ["id", "group", "label"])):
        yield Candidate(number, row["id"], row["group"], "zero_shot", None if row["label"] else "without a label")


def _labels(data: Artefact, config: ZeroShotConfig) -> LabelSet:
    """The classes in words: those the recipe names, else those the data carry, else the shipped set that fits."""
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
    prompts: dict[str, tuple[str, ...]]
    spec: EmbedderSpec

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self.spec)

    @cached_property
    def _weights(self) -> Floats:
        """float32 [classes, dim]"""
        return class_weights(self._embedder, list(self.prompts.values()))

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
        rows = self.selection.rows[task.start : task.stop]
        answers: list[object] = []
        for start in range(0, len(rows), self.config.batch_size):
            records = [table[row] for row in rows[start : start + self.config.batch_size]]
            found = ask_each(lambda batch: self._logits(batch, weights), records)
            answers += found
            yield from (self._prediction(record, logits) for record, logits in zip(records, found, strict=True))
        refuse_dead_backend(answers)

    def _sent(self, record: LabelledImage) -> bytes:
        return black_like(record.image) if self.config.condition == "blind" else record.image

    def _logits(self, records: Sequence[LabelledImage], weights: Floats) -> list[NDArray[np.float64]]:
        vectors = self._embedder.embed_images([self._sent(record) for record in records])
        return [*(self._embedder.logit_scale * (vectors @ weights.T).astype(np.float64))]

    def _prediction(self, record: LabelledImage, logits: NDArray[np.float64] | EosinError) -> Prediction:
        classes = tuple(self.prompts)
        if record.label not in classes:
            raise InputError(f"{record.id}: its label {record.label!r} is none of the classes {', '.join(classes)}")
        failed = isinstance(logits, EosinError)
        extra: dict[str, Any] = {"error": str(logits)} if failed else {}
        if record.id in self._pictured and (picture := thumbnail(record.image)):
            extra["thumbnail"] = picture
        return Prediction(
            id=record.id,
            source=record.source,
            licence=record.licence,
            group=record.group,
            split=record.split,
            slide=record.slide,
            mpp=record.mpp,
            extra=extra,
            question=record.id,
            benchmark=self.data.digest,
            condition=self.config.condition,
            task="zero_shot",
            answer=record.label,
            options=classes,
            reply="" if isinstance(logits, EosinError) else classes[int(np.argmax(logits))],
            finish_reason="error" if failed else "argmax",
            prompt_hash=hash_of(self.prompts),
            image_hashes=() if failed else (image_hash(self._sent(record)),),
            model=self._embedder.fingerprint,
            scores=() if isinstance(logits, EosinError) else tuple(round(float(value), 6) for value in logits),
            topic=record.label,
        )


def class_weights(embedder: Embedder, prompts: Sequence[Sequence[str]]) -> Floats:
    """One unit weight a class from its prompts: float32 [classes, dim]."""
    vectors = embedder.embed_texts([text for texts in prompts for text in texts])
    ends = np.cumsum([len(texts) for texts in prompts])
    return ensemble(np.split(vectors, ends[:-1]))


def image_hash(image: bytes) -> str:
    """sha256 of an encoded image."""
    return hashlib.sha256(image).hexdigest()
