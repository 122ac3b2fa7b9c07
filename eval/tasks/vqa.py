"""Questions from conversations, put to a chat model under one condition.

A conversation is one question: its turns before the first answer. Conversations of several answers are left out and counted: their later
questions build on answers that the model did not give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import EosinError, InputError
from eosin.eval.asking import ask_each, refuse_dead_backend
from eosin.eval.conditions import blind, question_of, text_of, with_cases, without_images
from eosin.eval.config import VqaConfig
from eosin.eval.pictures import thumbnail
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.evidence import Citation
from eosin.models.protocols import Chat, ChatModel, Embedder, Reply
from eosin.models.specs import ChatSpec, EmbedderSpec, load_chat, load_embedder
from eosin.pipeline import Step
from eosin.records import Conversation, Prediction

if TYPE_CHECKING:
    from eosin.retrieval.case_index import CaseIndex


def vqa_step(config: VqaConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it asks.

    Raises:
        InputError: there is nothing to ask.
    """
    data = inputs.artefacts["data"]
    selection = select(conversation_candidates(data, config.split, config.tasks), config.limit_per_task, config.seed)
    facts = {"title": f"Predictions: questions, {config.condition}", "questions": selection.facts()}
    tasks = tuple(selection.tasks("data", config.split, config.shard_size))
    plan = Plan("predictions", "eval run", _settings(config), inputs.refs, tasks, facts)
    archive = None
    if config.condition == "evidence":
        archive = Archive(str(inputs.artefacts["index"].path), EmbedderSpec(str(inputs.artefacts["embedder"].path), device=config.device))
    return Step(f"questions, {config.condition}", plan, Vqa(config, data, selection, _spec(config, inputs), archive), inputs.paths), len(
        selection.rows
    )


def _settings(config: VqaConfig) -> dict[str, Any]:
    """What decides the outcome: of an endpoint, the model's name there, not where it listens."""
    settings = settings_of(config)
    if config.endpoint is not None:
        settings["endpoint"] = {"model": config.endpoint.model}
    return settings


def _spec(config: VqaConfig, inputs: Inputs) -> ChatSpec:
    if config.endpoint is not None:
        served = config.endpoint
        return ChatSpec(
            served.model, "http", url=served.url, api_key_env=served.api_key_env, batch_size=config.batch_size, timeout=served.timeout
        )
    folder = inputs.artefacts["model"].path if config.model else inputs.folders["folder"]
    return ChatSpec(str(folder), device=config.device, dtype=config.dtype, batch_size=config.batch_size)


def conversation_candidates(data: Artefact, split: str, tasks: Sequence[str]) -> Iterator[Candidate]:
    """The conversations of a split as candidates; those of other tasks are not, those that cannot be scored say why."""
    for number, row in enumerate(read_columns(data, split, ["id", "group", "task", "answer", "messages"])):
        if row["task"] not in tasks:
            continue
        roles = [message["role"] for message in row["messages"]]
        reason = None
        if roles.count("assistant") > 1:
            reason = "of several turns"
        elif row["answer"] is None and "assistant" not in roles:
            reason = "without a gold answer"
        yield Candidate(number, row["id"], row["group"], row["task"], reason)


def gold_answer(record: Conversation) -> str:
    """The record's answer, else the text of its assistant turn."""
    if record.answer is not None:
        return record.answer
    return next(message.text for message in record.messages if message.role == "assistant")


@dataclass(frozen=True)
class Archive:
    """Cases for evidence; opened at the first search, by the embedder that made the index."""

    index: str
    embedder: EmbedderSpec

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self.embedder)

    @cached_property
    def _index(self) -> CaseIndex:
        # Only evidence needs FAISS.
        from eosin.retrieval.case_index import CaseIndex

        return CaseIndex.open(self.index, fingerprint=self._embedder.fingerprint)

    def cases(self, record: Conversation, k: int) -> list[Citation]:
        """Cases similar to the record's first image, none of its own group or image.

        Raises:
            ImageError: the image cannot be decoded.
            ArtefactError: another embedder made the index.
        """
        if not record.images:
            return []
        own = {record.id, str(record.extra.get("image_id", record.id))}
        return self._index.search(self._embedder.embed_images(record.images[:1]), k, exclude_groups={record.group}, exclude_ids=own)[0]


@dataclass(frozen=True)
class _Asked:
    """A question as it was sent."""

    record: Conversation
    text: str
    chat: Chat
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True)
class Vqa:
    """Asks a task's questions; the model is loaded at the first one."""

    config: VqaConfig
    data: Artefact
    selection: Selection
    spec: ChatSpec
    archive: Archive | None

    @cached_property
    def _model(self) -> ChatModel:
        return load_chat(self.spec)

    @cached_property
    def _pictured(self) -> frozenset[str]:
        return self.selection.pictured(self.config.pictures)

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction a question, in order.

        Raises:
            BackendError: the model's server failed on every question of this slice.
        """
        table = RecordTable(self.data, Conversation, task.split, cached_groups=2)
        rows = self.selection.rows[task.start : task.stop]
        answers: list[object] = []
        for start in range(0, len(rows), self.config.batch_size):
            asked = [self._put(table[row]) for row in rows[start : start + self.config.batch_size]]
            ready = [item for item in asked if isinstance(item, _Asked)]
            replies = iter(ask_each(lambda batch: self._model.generate([item.chat for item in batch], self.config.sampling), ready))
            for row, item in zip(rows[start:], asked, strict=False):
                answer = next(replies) if isinstance(item, _Asked) else item
                answers.append(answer)
                shown = item if isinstance(item, _Asked) else _Asked(table[row], "", Chat(()))
                yield self._prediction(shown, answer)
        refuse_dead_backend(answers)

    def _put(self, record: Conversation) -> _Asked | InputError:
        """The question under the run's condition, or why it cannot be put."""
        chat = question_of(record, self.config.instructions)
        text = text_of(chat)
        try:
            if self.config.condition == "blind":
                return _Asked(record, text, blind(chat))
            if self.config.condition == "no_image":
                return _Asked(record, text, without_images(chat))
            if self.archive is not None:
                citations = self.archive.cases(record, self.config.evidence_k)
                return _Asked(record, text, with_cases(chat, citations), tuple(citations))
        except InputError as error:
            return error
        return _Asked(record, text, chat)

    def _prediction(self, asked: _Asked, answer: Reply | EosinError) -> Prediction:
        record = asked.record
        failed = isinstance(answer, EosinError)
        extra: dict[str, Any] = {"question": asked.text}
        if isinstance(answer, EosinError):
            extra["error"] = str(answer)
        else:
            extra["tokens"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]
        if asked.citations:
            extra["evidence"] = [[citation.id, round(citation.score, 6)] for citation in asked.citations]
        if record.id in self._pictured and record.images and (picture := thumbnail(record.images[0])):
            extra["thumbnail"] = picture
        return replace(
            prediction_of(record, self.data.digest),
            extra=extra,
            condition=self.config.condition,
            reply="" if isinstance(answer, EosinError) else answer.text,
            finish_reason="error" if failed else getattr(answer, "finish_reason", "error"),
            prompt_hash=asked.chat.prompt_hash,
            image_hashes=asked.chat.image_hashes,
            model=self._model.fingerprint,
        )


def prediction_of(record: Conversation, benchmark: str) -> Prediction:
    """A conversation's question as a prediction that lacks its answer."""
    topic = record.extra.get("form")
    return Prediction(
        id=record.id,
        source=record.source,
        licence=record.licence,
        group=record.group,
        split=record.split,
        slide=record.slide,
        mpp=record.mpp,
        question=record.id,
        benchmark=benchmark,
        condition="plain",
        task=record.task,
        answer=gold_answer(record),
        options=record.options,
        reply="",
        finish_reason="error",
        prompt_hash="",
        model="",
        topic=None if topic is None else str(topic),
    )
