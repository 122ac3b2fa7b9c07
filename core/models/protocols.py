"""The two protocols through which every stage speaks to a model, and the values they exchange."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from eosin.artefacts.files import sha256_of
from eosin.artefacts.plan import canonical_json
from eosin.images import Pixels
from eosin.numerics import Floats
from eosin.records import Message

FinishReason = Literal["stop", "length", "tool_calls", "error"]


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy, and deterministic on one machine.

    Attributes:
        max_tokens: the reply's longest length, in tokens.
        temperature: 0 for greedy.
        top_p: nucleus.
        seed: for temperatures above 0.
        stop: texts that end the reply and are left out of it.
        logprobs: how many log-probabilities a token to return; 0 for none.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int = 0


@dataclass(frozen=True)
class Chat:
    """What is sent to a chat model: messages, and the encoded images that their image parts name in order."""

    messages: tuple[Message, ...]
    images: tuple[bytes, ...] = ()

    @property
    def prompt_hash(self) -> str:
        """sha256 of all that is sent but the images."""
        turns = [[message.role, [[part.type, part.text] for part in message.content]] for message in self.messages]
        return hashlib.sha256(canonical_json(turns)).hexdigest()

    @property
    def image_hashes(self) -> tuple[str, ...]:
        """sha256 of each encoded image."""
        return tuple(hashlib.sha256(image).hexdigest() for image in self.images)


@dataclass(frozen=True)
class Usage:
    """Tokens of a reply, as the model counts them; image tokens belong to the prompt."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a reply: its text, its log-probability, and the best alternatives at its step."""

    token: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """A finished reply; `ended` is a server's own word for its finish reason."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    ended: str = ""


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed reply; the last one carries the finish reason, a server's own word for it (`ended`) and the usage."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    ended: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a chat model can do. `max_images` is None where any number goes."""

    images: bool = True
    max_images: int | None = None
    logprobs: bool = False
    scoring: bool = False
    tools: bool = False


class Embedder(Protocol):
    """Images and texts as unit vectors in one space.

    Attributes:
        dim: length of a vector.
        logit_scale: the trained temperature's inverse (Radford et al. 2021); 1.0 for a tower without one.
        supports: of `image`, `text`, `pair`.
        fingerprint: of weights and preprocessing; an index refuses another one.
    """

    @property
    def dim(self) -> int: ...
    @property
    def logit_scale(self) -> float: ...
    @property
    def supports(self) -> frozenset[str]: ...
    @property
    def fingerprint(self) -> str: ...

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        """Encoded images as float32 [n, dim], unit rows.

        Raises:
            ImageError: an image cannot be decoded.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Texts as float32 [n, dim], unit rows.

        Raises:
            Unsupported: the model has no text tower.
        """
        ...

    def embed_pairs(self, images: Sequence[bytes], texts: Sequence[str]) -> Floats:
        """Image and text together as float32 [n, dim], unit rows; for two towers, the unit mean of both.

        Raises:
            Unsupported: the model has no text tower.
        """
        ...


class PixelEmbedder(Embedder, Protocol):
    """An embedder in this process, which takes pixels as well: those of a slide were never a file."""

    def embed_pixels(self, images: Sequence[Pixels]) -> Floats:
        """Decoded images, uint8 [height, width, 3], as float32 [n, dim], unit rows."""
        ...


class ChatModel(Protocol):
    """A vision-language model that answers."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def fingerprint(self) -> str: ...

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        """A reply to each chat, in order; deterministic at temperature 0.

        Raises:
            ImageError: an image cannot be decoded.
            InputError: a chat is longer than the model's context.
            BackendError: the server behind it failed.
        """
        ...

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        """A reply as it grows; closing the iterator cancels it."""
        ...

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        """Sum of log-likelihoods of each option as the assistant's whole reply.

        Raises:
            Unsupported: the backend does not give prompt log-probabilities.
        """
        ...


def fingerprint_of(files: Sequence[Path], **facts: object) -> str:
    """Sixteen hex digits over the content of `files` and what else decides the outcome."""
    digest = hashlib.sha256(canonical_json({key: str(value) for key, value in facts.items()}))
    for path in files:
        digest.update(canonical_json([path.name, sha256_of(path)]))
    return digest.hexdigest()[:16]
