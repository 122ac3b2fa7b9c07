"""A checked request as a `Chat`: data URLs decoded to plain images, parts put in order, evidence written before the question."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eosin.errors import ImageError
from eosin.evidence import Citation, with_evidence
from eosin.images import DEFAULT_LIMITS, ImageLimits, to_plain
from eosin.models.protocols import Chat
from eosin.records import Message, Part
from eosin.serve.errors import ApiError
from eosin.serve.protocol import ApiMessage, ImagePart


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        max_images: over all its messages.
        image: of each image.
    """

    max_images: int = 8
    image: ImageLimits = DEFAULT_LIMITS


def to_chat(messages: Sequence[ApiMessage], limits: Limits) -> Chat:
    """The conversation with its images decoded, checked and plain (see `eosin.images.to_plain`).

    Raises:
        ApiError: 400 that names the part: an image that is no data URL, is refused by the decoder, stands outside the user's
            turns or is one too many; a last turn that is not the user's or asks nothing.
    """
    turns: list[Message] = []
    images: list[bytes] = []
    for number, message in enumerate(messages):
        parts: list[Part] = []
        for position, part in enumerate(_parts(message)):
            if isinstance(part, str):
                parts.append(Part("text", part))
                continue
            where = f"messages.{number}.content.{position}.image_url"
            if message.role != "user":
                raise ApiError(400, f"{where}: images stand in user messages; this one is of role {message.role}", param=where)
            if len(images) == limits.max_images:
                raise ApiError(400, f"{where}: at most {limits.max_images} images a request", code="too_many_images", param=where)
            images.append(_image(part.image_url.url, where, limits.image))
            parts.append(Part("image"))
        turns.append(Message("system" if message.role == "developer" else message.role, tuple(parts)))
    _check_last(turns[-1], len(turns) - 1)
    return Chat(tuple(turns), tuple(images))


def _parts(message: ApiMessage) -> list[str | ImagePart]:
    if isinstance(message.content, str):
        return [message.content]
    return [part if isinstance(part, ImagePart) else part.text for part in message.content]


def _check_last(message: Message, number: int) -> None:
    where = f"messages.{number}"
    if message.role != "user":
        raise ApiError(400, f"{where}: the last message must be the user's; got role {message.role}", param=f"{where}.role")
    if not message.text.strip():
        raise ApiError(400, f"{where}: the last message asks nothing; add a text part with the question", param=f"{where}.content")


def _image(url: str, where: str, limits: ImageLimits) -> bytes:
    head, comma, payload = url.partition(",")
    if not head.startswith("data:"):
        came = f"a {head.split(':', 1)[0]}: address" if ":" in head[:12] else "text that is no address"
        message = f"{where}: only images sent along as data:image/...;base64,... are taken, nothing is fetched; got {came}"
        raise ApiError(400, message, code="unsupported_image_url", param=where)
    if not comma or not head.endswith(";base64"):
        message = f"{where}: a data URL must read data:image/png;base64,<base64>; got {head[:60]!r}"
        raise ApiError(400, message, code="invalid_image_url", param=where)
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"{where}: not base64 ({error})", code="invalid_base64", param=where) from error
    try:
        return to_plain(data, limits=limits)
    except ImageError as error:
        raise ApiError(400, f"{where}: {error}", code=f"image_{error.reason}", param=where) from error


def add_evidence(chat: Chat, citations: Sequence[Citation]) -> Chat:
    """The chat with the cases written before the last question, as training and evaluation write them."""
    *earlier, last = chat.messages
    parts = list(last.content)
    first = next(number for number, part in enumerate(parts) if part.type == "text")
    parts[first] = Part("text", with_evidence(parts[first].text or "", citations))
    return replace(chat, messages=(*earlier, replace(last, content=tuple(parts))))
