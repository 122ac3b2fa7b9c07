"""Captions and conversations written through Eosin's own gateway, on a real port."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from eosin.artefacts import open_artefact
from eosin.errors import ConfigError
from eosin.models.protocols import Capabilities, Chat, Delta, Reply, Sampling, Usage
from eosin.models.wire import wire_messages
from eosin.records import Conversation, ImageText
from eosin.serve.app import Access, create_app
from eosin.serve.backends.in_process import InProcessBackend
from eosin.serve.chat import ChatService

Build = Callable[..., Path]
KEY = "s3cret-key"


class Scribe:
    """A chat model that answers what the request's schema asks for, word by word."""

    fingerprint = "scribe"
    capabilities = Capabilities()

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.answer = answer
        self.chats: list[Chat] = []

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        return [Reply("".join(delta.text for delta in self.stream(chat, sampling)), "stop", Usage(7, 3)) for chat in batch]

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        self.chats.append(chat)
        text = json.dumps(self.answer({"messages": wire_messages(chat, plain=True)}))
        for start in range(0, len(text), 40):
            yield Delta(text[start : start + 40])
        yield Delta("", "stop", Usage(7, 3))

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        return [0.0 for _ in options]


@contextmanager
def serving(model: Scribe, waiting: int) -> Iterator[str]:
    """The gateway over the model on a free port; gives its base address."""
    backend = InProcessBackend(lambda: model, waiting)
    app = create_app(ChatService("scribe", backend), Access(KEY))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    listening = socket.create_server(("127.0.0.1", 0))

    async def run() -> None:
        await backend.start()
        try:
            await server.serve([listening])
        finally:
            await backend.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(15)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("EOSIN_TEST_KEY", KEY)
    # Our gateway says to come back in five seconds.
    monkeypatch.setattr("eosin.models.http_chat._LONGEST_RETRY_AFTER", 0.1)
    return {"model": "scribe", "api_key_env": "EOSIN_TEST_KEY", "concurrency": 6, "tries": 30, "timeout": 60.0}


@pytest.mark.parametrize("stream", [False, True])
def test_captions_come_through_our_own_gateway(
    stream: bool, build: Build, recipe: Any, captioned: Any, kit: Any, writer: dict[str, Any]
) -> None:
    model = Scribe(kit.good_answer)
    with serving(model, 32) as url:
        out = build(recipe("write_captions", {**writer, "url": url, "stream": stream}, images=str(captioned(5))))
    records = list(open_artefact(out / "image_text").records(ImageText))
    assert [record.extra["edits"]["applied"] for record in records] == [1] * 5
    assert sorted(len(chat.images) for chat in model.chats) == [0] * 5 + [1] * 10


def test_a_gateway_that_is_full_is_asked_again_and_loses_nothing(
    build: Build, recipe: Any, captioned: Any, kit: Any, writer: dict[str, Any]
) -> None:
    def slowly(body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.02)
        return dict(kit.good_answer(body))

    model = Scribe(slowly)
    with serving(model, 2) as url:
        out = build(recipe("write_instructions", {**writer, "url": url}, images=str(captioned(3)), forms={"open": 1.0, "mcq": 1.0}))
    artefact = open_artefact(out / "conversations")
    assert artefact.manifest["counts"] == {"in": 6, "out": 6, "rejected": {}}
    assert len(list(artefact.records(Conversation))) == len(model.chats) == 6


def test_another_models_name_is_told_with_the_one_that_is_served(
    build: Build, recipe: Any, captioned: Any, kit: Any, writer: dict[str, Any]
) -> None:
    with serving(Scribe(kit.good_answer), 32) as url, pytest.raises(ConfigError, match="this server has 'scribe'"):
        build(recipe("write_captions", {**writer, "url": url, "model": "another"}, images=str(captioned(1))))
