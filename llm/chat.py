"""`eosin llm chat`: a model in the terminal, one question or a conversation."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eosin.errors import InputError
from eosin.images import decode_image, read_image_file
from eosin.models.protocols import Chat, ChatModel, Sampling
from eosin.models.specs import ChatSpec, load_chat
from eosin.progress import say
from eosin.records import Message, Part


@dataclass(frozen=True)
class ChatSettings:
    """Which model, where, and how long it may answer."""

    model: str
    device: str
    max_tokens: int


def chat(settings: ChatSettings, images: Sequence[Path], question: str | None) -> None:
    """Answer one question, or every line of standard input as a turn of one conversation; images belong to the first turn.

    Raises:
        InputError: the question is empty, or an image is missing.
        ImageError: an image cannot be decoded.
    """
    pictures = tuple(read_image_file(path) for path in images)
    for picture in pictures:
        # Told now, not after minutes of loading.
        decode_image(picture)
    if question is not None and not question.strip():
        raise InputError("the question is empty")
    model = load_chat(ChatSpec(settings.model, device=settings.device))
    sampling = Sampling(settings.max_tokens)
    messages: list[Message] = []
    for line in [question] if question is not None else _lines():
        pictured = [] if messages else [Part("image") for _ in pictures]
        messages.append(Message("user", (*pictured, Part("text", line))))
        reply = answer(model, Chat(tuple(messages), pictures), sampling)
        messages.append(Message("assistant", (Part("text", reply),)))


def answer(model: ChatModel, question: Chat, sampling: Sampling) -> str:
    """The reply, written to standard output as it grows."""
    pieces = []
    for delta in model.stream(question, sampling):
        pieces.append(delta.text)
        sys.stdout.write(delta.text)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(pieces)


def _lines() -> Iterator[str]:
    """Questions from standard input; empty lines are passed over, the end of input or `exit` ends."""
    if sys.stdin.isatty():
        say("Ask; an empty line is passed over, Ctrl-D ends.")
    for line in sys.stdin:
        if line.strip() == "exit":
            return
        if line.strip():
            yield line.strip()
