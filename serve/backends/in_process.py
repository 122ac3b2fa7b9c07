"""A chat model in this process: a few requests at a time on threads of their own, the others wait in a bounded queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from eosin.errors import BackendError, EosinError
from eosin.models.protocols import ChatModel, Delta, TokenLogprob, Usage
from eosin.serve.backends.base import Completion, Piece, Prompt
from eosin.serve.errors import ApiError, busy


class InProcessBackend:
    """`Backend` over any `ChatModel`.

    Args:
        load: makes the model; runs on one of the model's threads.
        max_waiting: requests under way and waiting, after which new ones are refused with 503.
        threads: requests under way at once; more than one only for a model that may be called from several threads.
    """

    kind = "transformers"
    passed_on: frozenset[str] = frozenset()

    def __init__(self, load: Callable[[], ChatModel], max_waiting: int = 32, threads: int = 1) -> None:
        self._load = load
        self._max_waiting = max_waiting
        self.waiting = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="chat-model")
        self._model: ChatModel | None = None

    @property
    def problem(self) -> str | None:
        """Why it cannot answer now."""
        return None if self._model is not None else "the model is not loaded"

    async def start(self) -> None:
        """Load the model."""
        self._model = await asyncio.get_running_loop().run_in_executor(self._threads, self._load)

    async def stop(self) -> None:
        """Refuse what waits; what is under way stops at its next token."""
        self._model = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def complete(self, prompt: Prompt) -> Completion:
        """A whole reply; it is generated as a stream, so that it can be cancelled at every token."""
        if prompt.sampling.logprobs:
            return await self._generate(prompt)
        texts, last = [], Piece("")
        async for piece in self.stream(prompt):
            texts.append(piece.text)
            last = piece
        if last.finish_reason is None:
            raise BackendError("the model's reply ended without a finish reason")
        return Completion("".join(texts), last.finish_reason, last.usage or Usage(0, 0))

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """A reply as it grows."""
        if prompt.sampling.logprobs:
            message = "logprobs are not given in a stream by this backend; ask without stream"
            raise ApiError(400, message, code="unsupported_parameter", param="logprobs")
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Delta | None] = asyncio.Queue()
        cancelled = threading.Event()

        def send(delta: Delta | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, delta)

        with self._admitted() as model:
            job = self._threads.submit(_generate, model, prompt, send, cancelled)
            job.add_done_callback(lambda _: send(None))
            try:
                while (delta := await pieces.get()) is not None:
                    yield Piece(delta.text, delta.finish_reason, delta.usage)
            finally:
                cancelled.set()
                job.cancel()
            _raise_failure(job)

    async def _generate(self, prompt: Prompt) -> Completion:
        with self._admitted() as model:
            job = self._threads.submit(model.generate, [prompt.chat], prompt.sampling)
            await asyncio.wait([asyncio.wrap_future(job)])
            _raise_failure(job)
        (reply,) = job.result()
        return Completion(reply.text, reply.finish_reason, reply.usage, _wire_logprobs(reply.logprobs))

    @contextmanager
    def _admitted(self) -> Iterator[ChatModel]:
        if self._model is None:
            raise busy("the server is stopping")
        if self.waiting >= self._max_waiting:
            raise busy(f"{self.waiting} requests wait already; come back in a moment", seconds=5)
        self.waiting += 1
        try:
            yield self._model
        finally:
            self.waiting -= 1


def _generate(model: ChatModel, prompt: Prompt, send: Callable[[Delta], None], cancelled: threading.Event) -> None:
    if cancelled.is_set():
        return
    deltas = model.stream(prompt.chat, prompt.sampling)
    try:
        for delta in deltas:
            if cancelled.is_set():
                return
            send(delta)
    finally:
        close = getattr(deltas, "close", None)
        if close is not None:
            close()


def _raise_failure(job: Future[Any]) -> None:
    """What went wrong on the model's thread, as one of Eosin's errors."""
    if job.cancelled():
        raise busy("the server is stopping")
    error = job.exception()
    if isinstance(error, EosinError):
        raise error
    if error is not None:
        raise BackendError(f"the model failed: {type(error).__name__}: {error}") from error


def _wire_logprobs(logprobs: tuple[TokenLogprob, ...] | None) -> dict[str, object] | None:
    if logprobs is None:
        return None
    return {
        "content": [
            {
                "token": item.token,
                "logprob": item.logprob,
                "bytes": list(item.token.encode()),
                "top_logprobs": [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in item.top.items()],
            }
            for item in logprobs
        ]
    }
