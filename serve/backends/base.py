"""The one interface of all backends: a prompt in, a completion or its pieces out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from eosin.models.protocols import Chat, FinishReason, Sampling, Usage


@dataclass(frozen=True)
class Prompt:
    """What a backend answers.

    Attributes:
        chat: with images that are plain (see `eosin.images.to_plain`).
        sampling: how the reply is drawn.
        extra: further fields of the API that the backend knows, by `Backend.passed_on`.
    """

    chat: Chat
    sampling: Sampling
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """A whole reply; `logprobs` as the API writes them."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Piece:
    """A piece of a reply as it grows. The last one has the finish reason and, where the backend counts, the usage."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    logprobs: Mapping[str, Any] | None = None


class Backend(Protocol):
    """What answers behind the gateway. All methods are called from one event loop.

    Attributes:
        kind: `transformers`, `vllm` or `url`.
        passed_on: the fields of `eosin.serve.protocol.PASSED_ON` that it knows.
        waiting: requests under way and waiting.
    """

    @property
    def kind(self) -> str: ...
    @property
    def passed_on(self) -> frozenset[str]: ...
    @property
    def waiting(self) -> int: ...

    @property
    def problem(self) -> str | None:
        """Why it cannot answer now, or None when it can."""
        ...

    async def start(self) -> None:
        """Be ready to answer when this returns.

        Raises:
            EosinError: it will never be ready.
        """
        ...

    async def stop(self) -> None:
        """Give everything back; safe to call at any time."""
        ...

    async def complete(self, prompt: Prompt) -> Completion:
        """A whole reply; cancelling this call cancels the work behind it.

        Raises:
            ApiError: busy, or what the server behind says is wrong.
            EosinError: see `eosin.models.protocols.ChatModel.generate`.
        """
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """A reply as it grows; closing the iterator cancels the work behind it.

        Raises:
            ApiError, EosinError: see `complete`; also in the middle of a reply.
        """
        ...
