"""Turns as LLaVA (Liu et al. 2023) and its many followers write them, as messages.

Read as the same: `conversations`, its misspelling `conversatons`, `messages`; `from`/`value` and `role`/`content`; human and user; gpt and
assistant; text and lists of parts; `<image>` first, last, in the middle, or left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.data_builders.questions import LETTERS
from eosin.data_builders.sources.reading.options import gold_option, inline_options, option_texts, yes_or_no
from eosin.data_builders.sources.source import Refused
from eosin.records import Message, Part

IMAGE_TOKEN = "<image>"
IMAGE = Part("image")
CHOOSE = "Answer with the letter."
_TURN_KEYS = ("conversations", "conversatons", "conversation", "messages")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TOKEN = re.compile(re.escape(IMAGE_TOKEN))


@dataclass(frozen=True)
class Gold:
    """What a conversation asks for: the fields `task`, `answer` and `options` of a `Conversation`."""

    task: str
    answer: str | None
    options: tuple[str, ...] = ()


def turns_of(record: Mapping[str, Any], shown: Sequence[Part]) -> tuple[Message, ...]:
    """The messages of one LLaVA record.

    Args:
        record: the JSON object.
        shown: image or slide parts that its `<image>` tokens stand for, in order. Where no token is written, they open the first question.

    Raises:
        Refused: `no_turns`, `unknown_role`; `wrong_turns`: a question without words and images, an answer without words, or a turn of
            another form; `turn_order`: user and assistant do not take turns, or the last word is not the assistant's; `image_count`: as
            many tokens as images are wanted, or none.
    """
    turns = next((record[key] for key in _TURN_KEYS if record.get(key)), None)
    if not isinstance(turns, list):
        raise Refused("no_turns", f"none of the keys {', '.join(_TURN_KEYS)} holds a list of turns; there are: {', '.join(record)}")
    messages = [Message(*_turn(turn)) for turn in turns]
    tokens = sum(part.type == "image" for message in messages for part in message.content)
    if tokens not in (0, len(shown)):
        raise Refused("image_count", f"{tokens} image tokens but {len(shown)} images")
    waiting = list(shown)
    placed = []
    for message in messages:
        if not tokens and message.role == "user" and waiting:
            message = Message("user", (*waiting, *message.content))
            waiting = []
        content = tuple(waiting.pop(0) if tokens and part.type == "image" else part for part in message.content)
        placed.append(Message(message.role, content))
    _check_order([message.role for message in placed if message.role != "system"])
    for number, message in enumerate(messages):
        # LLaVA's pretraining asks with the image alone.
        alone = message.role == "user" and message.content
        if not message.text.strip() and not alone:
            raise Refused("wrong_turns", f"turn {number + 1}, of {message.role}, has no words")
    return tuple(placed)


def gold_of(messages: Sequence[Message]) -> Gold:
    """The task of a conversation by its last answer: closed where that is yes or no, mcq where the question lists options and the answer is
    one of them, caption where images alone are the question, else open. A conversation of several questions is open."""
    said = [message.text for message in messages if message.role == "assistant"]
    asked = [message.text for message in messages if message.role == "user"]
    if len(asked) != 1:
        return Gold("open", said[-1])
    if not asked[0].strip():
        return Gold("caption", said[0])
    options = inline_options(asked[0])
    if options:
        try:
            return Gold("mcq", gold_option(said[0], options), options)
        except Refused:
            # Free text may hold a list and no choice.
            return Gold("open", said[0])
    word = yes_or_no(said[0])
    return Gold("closed", word) if word else Gold("open", said[0])


def question_messages(question: str, reply: str | None, shown: Sequence[Part] = (IMAGE,)) -> tuple[Message, ...]:
    """One question about images or slides, and its answer where there is one.

    Raises:
        Refused: `no_question`, `no_answer`: it is empty.
    """
    if not question.strip():
        raise Refused("no_question", "the question is empty")
    messages = (Message("user", (*shown, Part("text", question.strip()))),)
    if reply is None:
        return messages
    if not reply.strip():
        raise Refused("no_answer", f"the answer to {question!r} is empty")
    return (*messages, Message("assistant", (Part("text", reply.strip()),)))


def asked(question: str, answer: str | None, shown: Sequence[Part] = (IMAGE,)) -> dict[str, Any]:
    """The fields `messages`, `task`, `answer` of a question without options: closed where the answer is yes or no.

    Raises:
        Refused: see `question_messages`.
    """
    messages = question_messages(question, answer, shown)
    word = yes_or_no(answer or "")
    return {"messages": messages, "task": "closed" if word else "open", "answer": word or (answer.strip() if answer else None)}


def chosen(question: str, options: Sequence[str], answer: str, shown: Sequence[Part] = (IMAGE,)) -> dict[str, Any]:
    """The fields of a multiple choice question whose options stand apart: they are listed below the question, and the reply is the letter.

    Raises:
        Refused: see `option_texts`, `gold_option`, `question_messages`.
    """
    texts = option_texts(options)
    gold = gold_option(answer, texts)
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False)]
    if not question.strip():
        raise Refused("no_question", "the question is empty")
    text = "\n".join([question.strip(), *lines, CHOOSE])
    return {
        "messages": question_messages(text, LETTERS[texts.index(gold)], shown),
        "task": "mcq",
        "answer": gold,
        "options": texts,
    }


def _turn(turn: Any) -> tuple[str, tuple[Part, ...]]:
    if not isinstance(turn, Mapping):
        raise Refused("wrong_turns", f"a turn is {turn!r}; from/value or role/content are wanted")
    name = str(turn.get("from", turn.get("role", ""))).strip().lower()
    if name not in _ROLES:
        raise Refused("unknown_role", f"a turn is by {name!r}; known are: {', '.join(_ROLES)}")
    content = turn.get("value", turn.get("content"))
    pieces = content if isinstance(content, list) else [content]
    return _ROLES[name], tuple(part for piece in pieces for part in _parts(piece))


def _parts(piece: Any) -> list[Part]:
    """A text, cut at its image tokens, or one part of OpenAI's or Qwen's form."""
    if isinstance(piece, Mapping):
        if piece.get("type") in ("image", "image_url"):
            return [IMAGE]
        piece = piece.get("text")
    if not isinstance(piece, str):
        raise Refused("wrong_turns", f"a turn holds {piece!r}; text or a list of text and image parts is wanted")
    parts: list[Part] = []
    for number, text in enumerate(_TOKEN.split(piece)):
        if number:
            parts.append(IMAGE)
        if text.strip():
            parts.append(Part("text", text.strip()))
    return parts


def _check_order(roles: list[str]) -> None:
    if len(roles) < 2 or len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        raise Refused(
            "turn_order", f"user and assistant take turns, and the assistant has the last word; here: {', '.join(roles) or 'nobody'}"
        )
