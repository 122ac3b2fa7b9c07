"""Conversations through a model's own chat template, cut into what the model reads and what it must write.

A prompt at inference is tokenised on its own and the reply follows token by token; so training and scoring tokenise the same
pieces apart and join them. Tokenising the whole text at once could merge across that border, into tokens no prompt can end in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from eosin.errors import InputError
from eosin.records import Message

Render = Callable[[list[dict[str, Any]], bool], str]


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation; `reply` where the assistant writes it."""

    text: str
    reply: bool


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them: content as a list of parts, images without their pixels.

    Raises:
        InputError: a slide part; chat templates have none.
    """
    found = []
    for message in messages:
        parts: list[dict[str, str]] = []
        for part in message.content:
            if part.type == "slide":
                raise InputError("a slide part stands in a chat; this model takes text and images")
            parts.append({"type": "text", "text": part.text or ""} if part.type == "text" else {"type": "image"})
        found.append({"role": message.role, "content": parts})
    return found


def renderer(processor: Any) -> Render:
    """The chat template of a Hugging Face processor or tokenizer, as a function of messages and of `add_generation_prompt`.

    Raises:
        InputError: it has no chat template.
    """
    if not getattr(processor, "chat_template", None):
        raise InputError("the model has no chat template (chat_template.jinja); a chat cannot be written for it")

    def render(messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        try:
            return str(processor.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False))
        except TemplateError as error:
            raise InputError(f"the model's chat template refuses this chat: {error}") from error

    return render


def prompt_text(render: Render, messages: Sequence[Message]) -> str:
    """What the model reads before it answers `messages`.

    Raises:
        InputError: see `renderer`; or the last message is the assistant's.
    """
    if not messages:
        raise InputError("a chat without messages cannot be answered")
    if messages[-1].role == "assistant":
        raise InputError("the last message of a chat is the assistant's; nothing is left to answer")
    return render(template_messages(messages), True)


def segments(render: Render, messages: Sequence[Message]) -> list[Segment]:
    """The rendered conversation in pieces, replies apart; joined they are the template's own text.

    Raises:
        InputError: the template rewrites earlier turns when later ones come, so that no prompt is a prefix of the whole.
    """
    turns = template_messages(messages)
    pieces: list[Segment] = []
    written = ""
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt, whole = render(turns[:number], True), render(turns[: number + 1], False)
        if not prompt.startswith(written) or not whole.startswith(prompt):
            raise InputError("the chat template rewrites earlier turns, so the reply's place in the conversation is not defined")
        pieces += [Segment(prompt[len(written) :], False), Segment(whole[len(prompt) :], True)]
        written = whole
    if turns and turns[-1]["role"] != "assistant":
        rest = render(turns, False)
        if not rest.startswith(written):
            raise InputError("the chat template rewrites earlier turns, so the reply's place in the conversation is not defined")
        pieces.append(Segment(rest[len(written) :], False))
    return pieces


def wants_special_tokens(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer must still add its own begin token to a rendered chat: not where the template wrote it.

    The rule of `ProcessorMixin.apply_chat_template`, so that ids equal those of Hugging Face's own call.
    """
    begin = tokenizer.bos_token
    return not (begin is not None and text.startswith(begin))


def reply_length(ids: Sequence[int], end_ids: frozenset[int]) -> int:
    """How many of a reply's tokens the model must write: up to and with the first end token; the template adds the rest.

    Raises:
        InputError: there is no end token; a model trained on this would never stop.
    """
    for number, token in enumerate(ids):
        if token in end_ids:
            return number + 1
    raise InputError("the chat template ends a reply without an end token; a model trained on it would never stop")
