"""The gateway in front of a server that fails in the ways real ones do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from eosin.errors import BackendError, ConfigError
from eosin.serve.app import Access, create_app
from eosin.serve.backends.upstream import Endpoint, UpstreamBackend
from eosin.serve.chat import ChatService
from eosin.serve.evidence import EvidenceSource

HTTP = httpx.Client(verify=False, timeout=20)


@pytest.fixture
def url(kit: Any, upstream: Any) -> Iterator[str]:
    """A gateway that calls its model `front`; the server behind calls it `behind`."""
    backend = UpstreamBackend(Endpoint(upstream.url, "behind", "inner-key"), stall=0.5)
    service = ChatService("front", backend, EvidenceSource(kit.ColourEmbedder(), kit.ColourIndex()))
    with kit.serving(create_app(service, Access()), backend) as address:
        yield address


def post(url: str, body: dict[str, Any]) -> httpx.Response:
    return HTTP.post(f"{url}/v1/chat/completions", json=body | {"model": "front"})


def test_what_goes_on_is_checked_and_what_is_ours_stays_here(url: str, kit: Any, upstream: Any) -> None:
    async def answer(request: web.Request, state: Any) -> web.Response:
        assert request.headers["Authorization"] == "Bearer inner-key"
        return web.json_response(kit.completion_body("tumour"))

    upstream.answer = answer
    more = {
        "eosin": {"evidence": {"k": 1}},
        "max_completion_tokens": 5,
        "user": "me",
        "response_format": {"type": "json_object"},
        "seed": 3,
    }
    reply = post(url, kit.ask("what?", kit.picture((0, 200, 0)), **more)).json()
    assert reply["model"] == "front"
    assert reply["choices"][0]["message"]["content"] == "tumour"
    assert reply["choices"][0]["message"]["eosin"]["citations"][0]["label"] == "green"
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    sent = upstream.bodies[0]
    (message,) = sent.pop("messages")
    parameters = {
        "model": "behind",
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 3,
        "response_format": {"type": "json_object"},
    }
    assert sent == parameters
    assert message["content"][0]["image_url"]["url"] == kit.data_url(kit.picture((0, 200, 0)))
    assert message["content"][1]["text"].startswith("Similar cases from the archive:\n[1] green")


def test_a_stream_passes_through_word_by_word(url: str, kit: Any, upstream: Any) -> None:
    released = asyncio.Event()

    async def words() -> AsyncIterator[str]:
        yield kit.chunk_event("one")
        await released.wait()
        yield kit.chunk_event(" two")
        yield kit.chunk_event(finish="length")
        yield json.dumps({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}})
        yield "[DONE]"

    upstream.answer = lambda request, state: kit.send_events(request, words())
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)
    stream = client.chat.completions.create(**(kit.ask("q") | {"model": "front"}), stream=True, stream_options={"include_usage": True})
    seen = []
    for chunk in stream:
        seen.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content == "one":
            upstream.loop.call_soon_threadsafe(released.set)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen if chunk.choices) == "one two"
    assert [chunk.choices[0].finish_reason for chunk in seen if chunk.choices][-1] == "length"
    assert seen[-1].usage is not None
    assert seen[-1].usage.total_tokens == 6


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (lambda: web.json_response({"error": {"message": "prompt is too long"}}, status=400), 400, "prompt is too long"),
        (lambda: web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "7"}), 503, "slow down"),
        (lambda: web.Response(text="oops", status=500), 502, "HTTP 500"),
        (lambda: web.json_response({"error": {"message": "bad key"}}, status=401), 502, "HTTP 401"),
        (lambda: web.Response(text="<html>"), 502, "not JSON"),
        (lambda: web.json_response({"choices": []}), 502, "one choice"),
        (lambda: web.json_response({"choices": [{"message": {"content": "cut"}}]}), 502, "cut off"),
        (lambda: web.json_response({"error": {"message": "engine died"}}), 502, "engine died"),
    ],
    ids=["400", "429", "500", "401", "html", "no choice", "no finish", "error in a 200"],
)
def test_a_failure_behind_has_a_status_and_words(url: str, kit: Any, upstream: Any, answer: Any, status: int, words: str) -> None:
    async def failing(request: web.Request, state: Any) -> web.Response:
        return answer()

    upstream.answer = failing
    for stream in (False, True):
        if stream and words in ("not JSON", "one choice", "cut off", "engine died"):
            continue
        response = post(url, kit.ask("q", stream=stream))
        assert response.status_code == status
        assert words in response.json()["error"]["message"]
    if status == 503:
        assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_hangs_is_given_up(url: str, kit: Any, upstream: Any, stream: bool) -> None:
    async def hang(request: web.Request, state: Any) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    upstream.answer = hang
    response = post(url, kit.ask("q", stream=stream))
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "backend_timeout"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["cut"], "cut off"),
        (["cut", "[DONE]"], "cut off"),
        (["cut", '{"error": {"message": "engine died"}}'], "engine died"),
        (["cut", "{bad"], "not JSON"),
        (["cut", "stall"], "sent nothing"),
    ],
    ids=["dropped", "done without finish", "error event", "bad json", "stall"],
)
def test_a_stream_that_breaks_off_ends_with_an_error_event(url: str, kit: Any, upstream: Any, events: list[str], words: str) -> None:
    async def broken() -> AsyncIterator[str]:
        for event in events:
            if event == "stall":
                await asyncio.sleep(5)
            yield kit.chunk_event("cut") if event == "cut" else event

    upstream.answer = lambda request, state: kit.send_events(request, broken())
    lines = post(url, kit.ask("q", stream=True)).text.strip().split("\n\n")
    assert json.loads(lines[1].removeprefix("data: "))["choices"][0]["delta"]["content"] == "cut"
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert words in error["message"]
    assert error["type"] == "backend_error"
    assert not any('"finish_reason":"stop"' in line for line in lines)


def test_a_client_that_leaves_cancels_the_request_behind(url: str, kit: Any, upstream: Any) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield kit.chunk_event("more ")
            await asyncio.sleep(0.01)

    upstream.answer = lambda request, state: kit.send_events(request, endless())
    with HTTP.stream("POST", f"{url}/v1/chat/completions", json=kit.ask("q", stream=True) | {"model": "front"}) as response:
        assert next(response.iter_text())
    assert upstream.left.wait(5)


def start(endpoint: Endpoint) -> None:
    async def run() -> None:
        backend = UpstreamBackend(endpoint)
        await backend.start()
        await backend.stop()

    asyncio.run(run())


def test_joining_checks_the_server_first(upstream: Any, kit: Any) -> None:
    start(Endpoint(upstream.url, "behind"))
    with pytest.raises(ConfigError, match="it offers: behind"):
        start(Endpoint(upstream.url, "another"))
    with pytest.raises(BackendError, match="does not answer"):
        start(Endpoint(f"http://127.0.0.1:{kit.free_port()}/v1", "behind"))
    with pytest.raises(BackendError, match="lists no models"):
        start(Endpoint(upstream.url.removesuffix("/v1"), "behind"))
    upstream.key = "secret"
    with pytest.raises(ConfigError, match="--backend-key-env"):
        start(Endpoint(upstream.url, "behind"))
    start(Endpoint(upstream.url, "behind", "secret"))


def test_the_key_is_not_shown(upstream: Any) -> None:
    assert "secret" not in repr(Endpoint(upstream.url, "behind", "secret"))
