"""A gateway on a real port over a model that answers at once, and a server behind it that misbehaves on demand."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import uvicorn
from aiohttp import web
from fastapi import FastAPI
from PIL import Image

from eosin.evidence import Citation
from eosin.models.protocols import Capabilities, Chat, Delta, Reply, Sampling, TokenLogprob, Usage


class EchoModel:
    """Answers with the question and the mean colour of the images, word by word; `pause` seconds between words."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.chats: list[Chat] = []
        self.sampling: list[Sampling] = []
        self.words = 0
        self.under_way = 0
        self.cancelled = threading.Event()
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def forget(self) -> None:
        """Be as new."""
        self.chats.clear()
        self.sampling.clear()
        self.failure = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(logprobs=True)

    @property
    def fingerprint(self) -> str:
        return "echo"

    def answer(self, chat: Chat) -> str:
        colours = [int(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).mean()) for image in chat.images]
        return f"You asked: {chat.messages[-1].text} Images: {colours}"

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        return [self._reply(chat, sampling) for chat in batch]

    def _reply(self, chat: Chat, sampling: Sampling) -> Reply:
        text = "".join(delta.text for delta in self.stream(chat, sampling))
        top = {"yes": -0.5, "no": -1.0}
        return Reply(text, "stop", Usage(len(chat.images), 1), (TokenLogprob("yes", -0.5, top),) if sampling.logprobs else None)

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        self.chats.append(chat)
        self.sampling.append(sampling)
        self.under_way += 1
        if self.under_way > 1:
            raise RuntimeError("two requests at once")
        try:
            self.gate.wait(20)
            words = self.answer(chat).split(" ")
            for number, word in enumerate(words):
                if self.failure is not None and number == 2:
                    raise self.failure
                time.sleep(self.pause)
                self.words += 1
                yield Delta(word if number == 0 else f" {word}")
            yield Delta("", "stop", Usage(7, len(words)))
        except GeneratorExit:
            self.cancelled.set()
            raise
        finally:
            self.under_way -= 1

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        return [0.0 for _ in options]


class ColourEmbedder:
    """Unit vectors of mean colour; texts are found by their first letter."""

    dim = 3
    logit_scale = 1.0
    supports = frozenset({"image", "text"})
    fingerprint = "colour"

    def embed_images(self, images: Sequence[bytes]) -> Any:
        rows = [np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.float32).mean((0, 1)) for image in images]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Any:
        return np.eye(3, dtype=np.float32)[[{"r": 0, "g": 1}.get(text[0].lower(), 2) for text in texts]]

    def embed_pairs(self, images: Sequence[bytes], texts: Sequence[str]) -> Any:
        return self.embed_images(images)


class ColourIndex:
    """A red, a green and a blue case."""

    def search(self, vectors: Any, k: int) -> list[list[Citation]]:
        return [[_case(int(axis), float(row[axis])) for axis in np.argsort(-row, kind="stable")[:k]] for row in vectors]


def _case(axis: int, score: float) -> Citation:
    name = ("red", "green", "blue")[axis]
    colour = tuple(200 * (number == axis) for number in range(3))
    return Citation(f"toy/{name}", score, "toy", "CC0-1.0", f"patient-{axis}", name, f"a {name} tile", data_url(picture(colour)))


def picture(colour: tuple[int, ...], size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour[0], colour[1], colour[2])).save(buffer, kind)
    return buffer.getvalue()


def data_url(image: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def image_part(image: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


def ask(text: str, *images: bytes, **more: Any) -> dict[str, Any]:
    """A request body."""
    return {"model": "tiny", "messages": [{"role": "user", "content": [*map(image_part, images), {"type": "text", "text": text}]}], **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(app: FastAPI, backend: Any, port: int = 0) -> Iterator[str]:
    """The application behind a real uvicorn on a free port; gives its address."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))

    async def run() -> None:
        await backend.start()
        try:
            await server.serve([listening])
        finally:
            await backend.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)


@dataclass
class Misbehaving:
    """An OpenAI-compatible server on its own thread; `answer` decides what it does to each chat completion."""

    url: str = ""
    models: tuple[str, ...] = ("behind",)
    key: str | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    answer: Callable[[web.Request, Misbehaving], Awaitable[web.StreamResponse]] | None = None

    async def handle_models(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": "no"}}, status=401)
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def handle_chat(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        if self.answer is None:
            return web.json_response({"error": {"message": "nothing to answer"}}, status=500)
        try:
            return await self.answer(request, self)
        except (ConnectionResetError, asyncio.CancelledError):
            self.left.set()
            raise


@pytest.fixture(scope="session")
def kit() -> Any:
    """This module's helpers: test files cannot import a conftest."""
    return sys.modules[__name__]


@pytest.fixture
def upstream() -> Iterator[Misbehaving]:
    state = Misbehaving()
    loop = state.loop
    ready = threading.Event()

    async def serve(stop: asyncio.Event) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", state.handle_models)
        app.router.add_post("/v1/chat/completions", state.handle_chat)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        state.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(stop),))
    thread.start()
    assert ready.wait(10)
    yield state
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def completion_body(text: str, finish: str | None = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


def chunk_event(text: str = "", finish: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


async def send_events(request: web.Request, events: Sequence[str] | AsyncIterator[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    if isinstance(events, Sequence):
        for event in events:
            await response.write(f"data: {event}\n\n".encode())
    else:
        async for event in events:
            await response.write(f"data: {event}\n\n".encode())
    return response
