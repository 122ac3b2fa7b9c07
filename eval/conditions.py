"""How a question is put: plainly, with black images, without images, or with similar cases before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from eosin.eval.metrics.normalise import normalise
from eosin.eval.pictures import black_like
from eosin.evidence import Citation, with_evidence
from eosin.models.protocols import Chat
from eosin.records import Conversation, Message, Part


def question_of(record: Conversation, instructions: Mapping[str, str]) -> Chat:
    """The record up to its first answer. Options that its text does not name are listed under it; the task's instruction ends it."""
    turns = []
    for message in record.messages:
        if message.role == "assistant":
            break
        turns.append(message)
    chat = Chat(tuple(turns), record.images)
    lines = []
    if record.task == "mcq" and not _names_all(chat, record.options):
        lines += [f"{chr(ord('A') + number)}. {option}" for number, option in enumerate(record.options)]
    if record.task in instructions:
        lines.append(instructions[record.task])
    return _change_text(chat, -1, lambda text: "\n".join([text, *lines])) if lines else chat


def _names_all(chat: Chat, options: Sequence[str]) -> bool:
    asked = normalise(text_of(chat))
    return all(normalise(option) in asked for option in options)


def text_of(chat: Chat) -> str:
    """The text of the last user turn."""
    return next((message.text for message in reversed(chat.messages) if message.role == "user"), "")


def _change_text(chat: Chat, which: int, change: Callable[[str], str]) -> Chat:
    """The chat with one text part of its last user turn changed: the first (0) or the last (-1); one is added where there is none."""
    messages = list(chat.messages)
    turn = max((place for place, message in enumerate(messages) if message.role == "user"), default=None)
    if turn is None:
        return replace(chat, messages=(*messages, Message("user", (Part("text", change("")),))))
    parts = list(messages[turn].content)
    texts = [place for place, part in enumerate(parts) if part.type == "text"]
    if texts:
        parts[texts[which]] = Part("text", change(parts[texts[which]].text or ""))
    else:
        parts.append(Part("text", change("")))
    messages[turn] = Message("user", tuple(parts))
    return replace(chat, messages=tuple(messages))


def blind(chat: Chat) -> Chat:
    """The chat with a black image of the same size for each image.

    Raises:
        ImageError: the header of an image cannot be read.
    """
    return replace(chat, images=tuple(black_like(image) for image in chat.images))


def without_images(chat: Chat) -> Chat:
    """The chat's text alone."""
    return Chat(tuple(Message(turn.role, tuple(part for part in turn.content if part.type != "image")) for turn in chat.messages))


def with_cases(chat: Chat, citations: Sequence[Citation]) -> Chat:
    """The chat with cases before its question, in the same place where training and serving write them."""
    return _change_text(chat, 0, lambda text: with_evidence(text, citations))
