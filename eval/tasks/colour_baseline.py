"""The colour baseline: logistic regression on mean and standard deviation of R, G and B.

Six numbers cannot see structure. Classes are learnt from the training split's labels; questions are learnt form by form, for each from its
own training answers. A score that this reaches proves nothing about a model that looks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ImageError, InputError, MissingDependency
from eosin.eval.colour_matching import ColourReference, check_reference, colour_reference, match_colours
from eosin.eval.config import ColourConfig
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.eval.tasks.names import COLOUR_MATCHED, COLOUR_MODEL
from eosin.eval.tasks.vqa import conversation_candidates, gold_answer, prediction_of
from eosin.images import decode_image
from eosin.numerics import colour_statistics
from eosin.pipeline import Step
from eosin.progress import say, track
from eosin.records import Conversation, LabelledImage, Prediction

Features = NDArray[np.float64]
_LABEL = "label"


def colour_step(config: ColourConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it answers.

    Raises:
        InputError: there is nothing to ask.
        ArtefactError: no records of one of the splits.
    """
    selections: dict[str, Selection] = {}
    if "data" in inputs.artefacts:
        rows = enumerate(read_columns(inputs.artefacts["data"], config.split, ["id", "group", "label"]))
        labelled = (Candidate(n, row["id"], row["group"], "zero_shot", None if row["label"] else "without a label") for n, row in rows)
        selections["data"] = select(labelled, None, config.seed)
    if "conversations" in inputs.artefacts:
        asked = conversation_candidates(inputs.artefacts["conversations"], config.split, config.tasks)
        selections["conversations"] = select(asked, config.limit_per_task, config.seed)
    tasks = [task for name, found in selections.items() for task in found.tasks(name, config.split, config.shard_size)]
    reference = inputs.artefacts.get("colour_reference")
    if reference:
        check_reference(inputs.artefacts["data"], config.split, reference, config.reference_split)
        tasks += selections["data"].tasks(COLOUR_MATCHED, config.split, config.shard_size)
    facts = {
        "title": "Predictions: colour baseline",
        "description": "Logistic regression on mean and standard deviation of R, G and B.",
        "questions": {name: found.facts() for name, found in selections.items()},
    }
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tuple(tasks), facts)
    baseline = ColourBaseline(config, inputs.artefacts, selections)
    count = sum(len(found.rows) for found in selections.values()) + (len(selections["data"].rows) if reference else 0)
    return Step("colour baseline", plan, baseline, inputs.paths, baseline.results), count


class Colours:
    """Colour statistics of encoded images, each image decoded once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Features] = {}

    def of(self, image: bytes) -> Features:
        """Six numbers.

        Raises:
            ImageError: the image cannot be decoded.
        """
        key = hashlib.sha256(image).digest()
        if key not in self._known:
            self._known[key] = colour_statistics(decode_image(image))
        return self._known[key]


class ColourClassifier:
    """Standardised logistic regression; of one class, that class; `majority` is the most frequent class.

    Args:
        features: float64 [n, 6].
        labels: the class of each, n of them.

    Raises:
        MissingDependency: scikit-learn is not installed.
    """

    def __init__(self, features: Features, labels: Sequence[str]) -> None:
        try:
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ModuleNotFoundError as error:
            raise MissingDependency("scikit-learn", "eval") from error
        counts = Counter(labels)
        self.classes = tuple(sorted(counts))
        self.majority = min(counts, key=lambda name: (-counts[name], name))
        self._model = None
        if len(self.classes) > 1:
            self._model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            self._model.fit(features, list(labels))

    def log_probabilities(self, features: Features) -> NDArray[np.float64]:
        """One number a class for six numbers."""
        if self._model is None:
            return np.zeros(1)
        return np.asarray(self._model.predict_log_proba(features[None])[0], dtype=np.float64)

    def answer(self, features: Features, allowed: Iterable[str] = ()) -> str:
        """The likeliest class, or the likeliest of those `allowed` that were ever an answer."""
        ranked = [self.classes[place] for place in np.argsort(-self.log_probabilities(features), kind="stable")]
        among = set(allowed)
        found: str = next((name for name in ranked if name in among), ranked[0])
        return found


def form_of(record: Conversation) -> str:
    """What is asked, apart from how it is worded: the form, and for yes/no questions the value asked for; else the question's own text."""
    form = record.extra.get("form")
    if form is None or (record.task == "closed" and "asked" not in record.extra):
        text = next((message.text for message in record.messages if message.role == "user"), "")
        return f"{record.task}\n{text}"
    return f"{record.task}\n{form}\n{record.extra.get('asked', '')}"


@dataclass(frozen=True)
class Learnt:
    """What a training split gave.

    Attributes:
        classifiers: one for each form and task of the questions, or one for the labels.
        undecodable: distinct images that could not be decoded, and were left out.
    """

    classifiers: dict[str, ColourClassifier]
    undecodable: int


@dataclass(frozen=True)
class ColourBaseline:
    """Answers a task's questions; learns from the training split at the first one."""

    config: ColourConfig
    artefacts: dict[str, Artefact]
    selections: dict[str, Selection]

    @cached_property
    def _colours(self) -> Colours:
        return Colours()

    @cached_property
    def _of_labels(self) -> Learnt:
        found = (((_LABEL,), record.image, record.label) for record in self._training("data", LabelledImage) if record.label)
        learnt = self._learn("data", found)
        if not learnt.classifiers:
            raise InputError(f"the colour baseline finds no labelled image of split {self.config.train_split!r} that can be decoded")
        return learnt

    @cached_property
    def _of_forms(self) -> Learnt:
        """A classifier for each form, and one for each task, for forms that training did not ask."""
        asked = (
            ((form_of(record), record.task), record.images[0], gold_answer(record))
            for record in track(self._training("conversations", Conversation), "colour baseline: training questions")
            if record.task in self.config.tasks and record.images and sum(turn.role == "assistant" for turn in record.messages) <= 1
        )
        return self._learn("conversations", asked)

    def _training(self, name: str, kind: Any) -> Iterator[Any]:
        return self.artefacts[name].records(kind, self.config.train_split)

    def _learn(self, name: str, examples: Iterable[tuple[Iterable[str], bytes, str]]) -> Learnt:
        """A classifier for each name in the examples: (names, image, answer); six numbers of each image stay in memory, not the image."""
        answers: dict[str, list[tuple[Features, str]]] = {}
        undecodable: set[bytes] = set()
        for forms, image, answer in examples:
            try:
                features = self._colours.of(image)
            except ImageError:
                undecodable.add(hashlib.sha256(image).digest())
                continue
            for form in forms:
                answers.setdefault(form, []).append((features, answer))
        if undecodable:
            say(f"colour baseline: training images of {name} that cannot be decoded and are left out: {len(undecodable)}")
        classifiers = {
            form: ColourClassifier(np.stack([features for features, _ in found]), [answer for _, answer in found])
            for form, found in track(answers.items(), "colour baseline: forms")
        }
        return Learnt(classifiers, len(undecodable))

    def results(self) -> dict[str, Any]:
        """How many distinct training images could not be decoded, by input; learns first where no question of this run asked for it."""
        learnt = {"data": lambda: self._of_labels, "conversations": lambda: self._of_forms}
        left_out = {name: learnt[name]().undecodable for name in self.selections}
        return {"undecodable_training_images": left_out, **({"colour_reference": self._reference.facts()} if self._matched else {})}

    @property
    def _matched(self) -> bool:
        return "colour_reference" in self.artefacts

    @cached_property
    def _reference(self) -> ColourReference:
        return colour_reference(self.artefacts["colour_reference"], self.config.reference_split)

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction a question, in order."""
        name = "data" if task.source == COLOUR_MATCHED else task.source
        rows = self.selections[name].rows[task.start : task.stop]
        artefact = self.artefacts[name]
        if name == "data":
            images = RecordTable(artefact, LabelledImage, task.split, cached_groups=2)
            yield from (self._classify(images[row], artefact.digest, matched=task.source == COLOUR_MATCHED) for row in rows)
        else:
            talks = RecordTable(artefact, Conversation, task.split, cached_groups=2)
            yield from (self._reply(talks[row], artefact.digest) for row in rows)

    def _classify(self, record: LabelledImage, benchmark: str, *, matched: bool) -> Prediction:
        classifier = self._of_labels.classifiers[_LABEL]
        common = {name: getattr(record, name) for name in ("source", "licence", "group", "split", "slide", "mpp")}
        empty = Prediction(
            **common,
            id=f"{record.id}#{COLOUR_MATCHED}" if matched else record.id,
            question=record.id,
            benchmark=benchmark,
            condition=COLOUR_MATCHED if matched else "plain",
            task="zero_shot",
            answer=str(record.label),
            options=classifier.classes,
            reply="",
            finish_reason="error",
            prompt_hash="",
            model=COLOUR_MODEL,
            topic=record.label,
        )
        try:
            features = self._colours.of(match_colours(record.image, self._reference) if matched else record.image)
        except ImageError as error:
            return replace(empty, extra={"error": str(error)})
        scores = tuple(round(float(value), 6) for value in classifier.log_probabilities(features))
        return replace(empty, reply=classifier.answer(features), finish_reason="argmax", scores=scores)

    def _reply(self, record: Conversation, benchmark: str) -> Prediction:
        empty = replace(prediction_of(record, benchmark), model=COLOUR_MODEL)
        form = form_of(record)
        learnt = self._of_forms.classifiers
        classifier = learnt.get(form) or learnt.get(record.task)
        if classifier is None:
            raise InputError(
                f"the training split has no {record.task} question whose image can be decoded: leave {record.task} out of tasks"
            )
        try:
            features = self._colours.of(record.images[0]) if record.images else None
        except ImageError as error:
            return replace(empty, extra={"error": str(error)})
        if form not in learnt or features is None:
            return replace(empty, reply=classifier.majority, finish_reason="argmax", extra={"learnt": "majority"})
        return replace(empty, reply=classifier.answer(features, record.options), finish_reason="argmax", extra={"learnt": "form"})
