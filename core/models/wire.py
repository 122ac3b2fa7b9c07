"""How a chat is written for an OpenAI-compatible server: messages with data URLs, sampling parameters, finish reasons.

Follows the Chat Completions API (platform.openai.com/docs/api-reference/chat); `HttpChat` and the gateway both write it here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from eosin.errors import BackendError, Unsupported
from eosin.images import to_plain
from eosin.models.protocols import Chat, FinishReason, Sampling, TokenLogprob, Usage
from eosin.records import Message

# No model reads or writes so many in one reply; what is larger is no count, and would not fit into a journal.
MOST_TOKENS = 10**9
_LONGEST_WORD = 60
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


def data_url(plain: bytes) -> str:
    """A JPEG or PNG as a data URL."""
    kind = "jpeg" if plain.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(plain).decode('ascii')}"


def wire_messages(chat: Chat, *, plain: bool = False) -> list[dict[str, Any]]:
    """The messages as the API takes them; a message without images is plain text.

    Images are sent so that every server decodes them to the same pixels (`to_plain`); `plain` says that they already are.

    Raises:
        ImageError: an image cannot be decoded.
        Unsupported: a slide part, which the API has no form for.
    """
    images = iter(chat.images if plain else map(to_plain, chat.images))
    return [{"role": message.role, "content": _content(message, images)} for message in chat.messages]


def _content(message: Message, images: Iterator[bytes]) -> str | list[dict[str, Any]]:
    if all(part.type == "text" for part in message.content):
        return message.text
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if part.type == "image":
            parts.append({"type": "image_url", "image_url": {"url": data_url(next(images))}})
        elif part.type == "text":
            parts.append({"type": "text", "text": part.text or ""})
        else:
            raise Unsupported(f"a {part.type} part cannot be sent to an OpenAI-compatible server; allowed: text, image")
    return parts


def wire_sampling(sampling: Sampling) -> dict[str, Any]:
    """Sampling as the API's parameters; those at their default that a server may not know are left out."""
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logprobs:
        fields |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return fields


def finish_reason_of(value: object) -> FinishReason:
    """The server's finish reason in Eosin's words; a content filter and unknown ones are `error`.

    Raises:
        BackendError: there is none, so the reply was cut off.
    """
    if not isinstance(value, str) or not value:
        raise BackendError("the server's reply has no finish_reason: it was cut off")
    return _FINISH.get(value, "error")


def finish_word_of(value: str) -> str:
    """The server's own finish reason, as far as it can be stored anywhere: ASCII, 60 letters at most."""
    return ascii(value)[1:-1][:_LONGEST_WORD]


def usage_of(value: object) -> Usage | None:
    """The server's token counts, whole numbers however they are written (1000.0), or None where it does not count.

    Raises:
        BackendError: a count is negative, or more than `MOST_TOKENS`.
    """
    if not isinstance(value, Mapping):
        return None
    prompt, completion = _whole(value.get("prompt_tokens")), _whole(value.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    if not (0 <= prompt <= MOST_TOKENS and 0 <= completion <= MOST_TOKENS):
        raise BackendError(f"the server's token counts cannot be true: one is below 0, or above {MOST_TOKENS}")
    return Usage(prompt, completion)


def _whole(value: object) -> int | None:
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def logprobs_of(choice: Mapping[str, Any]) -> tuple[TokenLogprob, ...] | None:
    """The choice's log-probabilities, or None where the server gave none.

    Raises:
        BackendError: they are not of the API's form.
    """
    try:
        content = (choice.get("logprobs") or {}).get("content")
        return (
            None
            if content is None
            else tuple(
                TokenLogprob(
                    item["token"], float(item["logprob"]), {top["token"]: float(top["logprob"]) for top in item.get("top_logprobs") or ()}
                )
                for item in content
            )
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise BackendError(f"the server's logprobs are not of the OpenAI form ({error!r})") from error
