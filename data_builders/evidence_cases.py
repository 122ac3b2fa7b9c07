"""`evidence`: a share of the training conversations again, with retrieved cases before the question.

A model that has seen cases in training reads them when an index serves them. Some of the cases are drawn at random instead of by
likeness: a model that copies the first case is wrong there, so it learns to look at the image as well.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.nearest import nearest_cases, random_cases, vectors_of
from eosin.data_builders.subjects import read_rows, stable_number
from eosin.errors import ConfigError
from eosin.evidence import Citation, with_evidence
from eosin.pipeline import Step, chunked
from eosin.records import Conversation, Message, Part, Record, Reject

CONVERSATIONS_A_SHARD = 2048


@dataclass(frozen=True)
class EvidenceConfig:
    """Which conversations get evidence, and which evidence.

    Attributes:
        conversations: of which the training split is taken; each names its image in `extra["image_id"]`.
        embeddings: of those images, by the same ids.
        seed: of every draw.
        share: of the conversations that come again with evidence.
        misleading: of those, the share with random cases in place of similar ones.
        k: cases a question.
        tasks: the kinds of task that get evidence; empty for all.
    """

    builder: Literal["evidence"] = "evidence"
    conversations: str = input_path("conversations")
    embeddings: str = input_path("embeddings")
    seed: int = 0
    share: float = 0.3
    misleading: float = 0.25
    k: int = 4
    tasks: tuple[str, ...] = ("open", "closed", "mcq")

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not 0 <= self.misleading <= 1:
            raise ConfigError(f"share must lie in (0, 1], misleading in [0, 1]; got {self.share} and {self.misleading}")
        if not 1 <= self.k <= 64:
            raise ConfigError(f"k is {self.k}; 1 to 64 cases are allowed")


def evidence_steps(config: EvidenceConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder.

    Raises:
        ArtefactError: an input is missing, or of another kind, or the conversations have no training split.
    """
    inputs = open_inputs(config)
    conversations = inputs.artefacts["conversations"]
    conversations.shards("train")
    tasks = chunked("conversations", "train", conversations.manifest["splits"]["train"], CONVERSATIONS_A_SHARD)
    settings = {key: value for key, value in settings_of(config).items() if key != "builder"}
    facts = {key: conversations.plan.facts[key] for key in ("classes", "label_set") if key in conversations.plan.facts}
    facts["title"] = f"{conversations.plan.facts.get('title', 'conversations')}, with evidence"
    plan = Plan("conversations", "build", settings, inputs.refs, tuple(tasks), facts)
    yield Step("conversations", plan, AddEvidence(conversations, inputs.artefacts["embeddings"], config), inputs.paths)


@dataclass(frozen=True)
class AddEvidence:
    """Puts evidence before the questions of a task's conversations; picklable."""

    conversations: Artefact
    embeddings: Artefact
    config: EvidenceConfig

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The chosen conversations in their order; rejects for those whose image has no embedding."""
        chosen = self._chosen(task)
        vectors = vectors_of(self.embeddings, {image_id for _, _, image_id in chosen.values()})
        cases = self._cases([number for number, (_, _, image_id) in chosen.items() if image_id in vectors], chosen, vectors)
        table = RecordTable(self.conversations, Conversation, task.split, cached_groups=2)
        for number, (name, _, image_id) in chosen.items():
            if number in cases:
                yield _with_cases(table[number], *cases[number])
            else:
                yield Reject(name, "no_embedding", f"the embeddings hold no record {image_id!r}")

    def _chosen(self, task: Task) -> dict[int, tuple[str, str, str]]:
        """Number -> (id, group, image id) of the conversations that come again; a hash of the id decides."""
        found = {}
        rows = read_rows(self.conversations, task.split, task.start, task.stop, ["id", "group", "task", "extra"])
        for number, row in enumerate(rows, task.start):
            wanted = not self.config.tasks or row["task"] in self.config.tasks
            if wanted and self._draw("share", row["id"]) < self.config.share:
                found[number] = (row["id"], row["group"], str(json.loads(row["extra"]).get("image_id", "")))
        return found

    def _cases(
        self, asked: list[int], chosen: dict[int, tuple[str, str, str]], vectors: dict[str, np.ndarray]
    ) -> dict[int, tuple[list[Citation], str]]:
        """Number -> (cases, how they were found)."""
        names = {number: chosen[number][0] for number in asked}
        drawn = [number for number in asked if self._draw("misleading", names[number]) < self.config.misleading]
        similar = [number for number in asked if number not in set(drawn)]
        found: dict[int, tuple[list[Citation], str]] = {}
        if similar:
            queries = np.stack([vectors[chosen[number][2]] for number in similar])
            for number, cases in zip(
                similar, nearest_cases(self.embeddings, queries, [chosen[n][1] for n in similar], self.config.k), strict=True
            ):
                found[number] = (cases, "similar")
        seeds = [stable_number(self.config.seed, "cases", names[number]) for number in drawn]
        for number, cases in zip(drawn, random_cases(self.embeddings, seeds, [chosen[n][1] for n in drawn], self.config.k), strict=True):
            found[number] = (cases, "random")
        return found

    def _draw(self, *words: str) -> float:
        """A number in [0, 1) that depends on the seed and the words alone."""
        return stable_number(self.config.seed, *words) / 2**63


def _with_cases(record: Conversation, cases: list[Citation], found_by: str) -> Conversation:
    """The conversation with its evidence before the first question, under an id of its own."""
    first = next(place for place, message in enumerate(record.messages) if message.role == "user")
    messages = list(record.messages)
    messages[first] = _cited(messages[first], cases)
    extra = {**record.extra, "evidence": [case.id for case in cases], "evidence_by": found_by}
    return dataclasses.replace(record, id=f"{record.id}/evidence", messages=tuple(messages), extra=extra)


def _cited(message: Message, cases: list[Citation]) -> Message:
    """The message with the evidence in its first text part."""
    content = list(message.content)
    place = next((place for place, part in enumerate(content) if part.type == "text"), None)
    if place is None:
        return Message(message.role, (*content, Part("text", with_evidence("", cases))))
    content[place] = Part("text", with_evidence(content[place].text or "", cases))
    return Message(message.role, tuple(content))
