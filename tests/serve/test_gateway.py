"""The gateway over HTTP, asked by OpenAI's own client: replies, streams, evidence, and what is refused and how."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import openai
import pytest

from eosin.errors import InputError
from eosin.serve import middleware
from eosin.serve.app import Access, create_app
from eosin.serve.backends.in_process import InProcessBackend
from eosin.serve.chat import ChatService
from eosin.serve.conversation import Limits
from eosin.serve.evidence import EvidenceSource

HTTP = httpx.Client(verify=False, timeout=20)
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


@dataclass
class Running:
    """A gateway under test."""

    url: str
    model: Any

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=20)

    def post(self, body: Any, **more: Any) -> httpx.Response:
        return HTTP.post(f"{self.url}/v1/chat/completions", **({"json": body} | more))


def running(kit: Any, *, pause: float = 0.0, evidence: bool = True, access: Access | None = None, waiting: int = 32) -> Any:
    model = kit.EchoModel(pause)
    backend = InProcessBackend(lambda: model, waiting)
    source = EvidenceSource(kit.ColourEmbedder(), kit.ColourIndex()) if evidence else None
    service = ChatService("tiny", backend, source, Limits(max_images=2))
    return model, kit.serving(create_app(service, access or Access()), backend)


@pytest.fixture(scope="module")
def shared(kit: Any) -> Iterator[Running]:
    model, server = running(kit)
    with server as url:
        yield Running(url, model)


@pytest.fixture
def gateway(shared: Running) -> Running:
    shared.model.forget()
    return shared


@pytest.fixture
def slow(kit: Any) -> Iterator[Running]:
    model, server = running(kit, pause=0.1)
    with server as url:
        yield Running(url, model)


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


def test_an_openai_client_gets_a_reply_about_its_images(gateway: Running, kit: Any) -> None:
    body = kit.ask("which one is darker?", kit.picture((90, 90, 90)), kit.picture((30, 30, 30)), max_tokens=9)
    reply = gateway.client.chat.completions.create(**body)
    assert reply.choices[0].message.content == "You asked: which one is darker? Images: [90, 30]"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert reply.model == "tiny"
    assert gateway.model.sampling[0].max_tokens == 9
    assert gateway.model.sampling[0].temperature == 0.0


def test_a_stream_gives_the_same_words_as_a_plain_reply(gateway: Running, kit: Any) -> None:
    body = kit.ask("what tissue?", kit.picture(RED))
    plain = gateway.client.chat.completions.create(**body).choices[0].message.content
    chunks = list(gateway.client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == plain
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(gateway: Running, kit: Any) -> None:
    lines = gateway.post(kit.ask("hello", stream=True)).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_evidence_is_cited_and_stands_before_the_question(gateway: Running, kit: Any) -> None:
    body = kit.ask("what is it?", kit.picture(GREEN), eosin={"evidence": {"k": 2}})
    message = gateway.post(body).json()["choices"][0]["message"]
    citations = message["eosin"]["citations"]
    assert [citation["id"] for citation in citations] == ["toy/green", "toy/red"]
    assert set(citations[0]) == {"id", "score", "source", "licence", "group", "label", "caption", "thumbnail"}
    assert citations[0]["score"] == pytest.approx(1.0)
    assert citations[0]["thumbnail"].startswith("data:image/png;base64,")
    asked = gateway.model.chats[0].messages[-1].text
    assert asked.startswith("Similar cases from the archive:\n[1] green: a green tile\n[2] red: a red tile\n\n")
    assert asked.endswith("what is it?")


def test_the_last_image_decides_the_evidence_and_the_text_does_without_an_image(gateway: Running, kit: Any) -> None:
    two = kit.ask("compare", kit.picture(RED), kit.picture(BLUE), eosin={"evidence": {"k": 1}})
    words = kit.ask("green glands", eosin={"evidence": {"k": 1}})
    found = [gateway.post(body).json()["choices"][0]["message"]["eosin"]["citations"][0]["label"] for body in (two, words)]
    assert found == ["blue", "green"]


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_carries_the_citations_in_its_last_chunk(gateway: Running, kit: Any, usage: bool) -> None:
    body = kit.ask("what?", kit.picture(BLUE), eosin={"evidence": {}}, stream=True, stream_options={"include_usage": usage})
    events = [line.removeprefix("data: ") for line in gateway.post(body).text.split("\n\n")[:-1]]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    last = chunks[-1]["choices"][0]
    assert [case["label"] for case in last["delta"]["eosin"]["citations"]] == ["blue", "red", "green"]
    assert last["message"] == last["delta"]
    assert ("usage" in chunks[-1]) == usage
    assert all("eosin" not in chunk["choices"][0]["delta"] for chunk in chunks[:-1])


def test_plain_clients_see_no_trace_of_evidence(gateway: Running, kit: Any) -> None:
    assert "eosin" not in gateway.post(kit.ask("what?", kit.picture(RED))).json()["choices"][0]["message"]


def test_evidence_without_an_index_says_how_to_get_one(kit: Any) -> None:
    _, server = running(kit, evidence=False)
    with server as url:
        response = Running(url, None).post(kit.ask("what?", eosin={"evidence": {"k": 1}}))
    assert response.status_code == 400
    assert "--index" in error_of(response)["message"]


def test_a_question_without_an_image_is_answered_from_its_text(gateway: Running, kit: Any) -> None:
    assert gateway.post(kit.ask("what is necrosis?")).json()["choices"][0]["message"]["content"].endswith("Images: []")


def test_logprobs_are_given_when_asked_for(gateway: Running, kit: Any) -> None:
    reply = gateway.client.chat.completions.create(**kit.ask("yes?"), logprobs=True, top_logprobs=2)
    content = reply.choices[0].logprobs
    assert content is not None
    assert content.content is not None
    assert {top.token: top.logprob for top in content.content[0].top_logprobs} == {"yes": -0.5, "no": -1.0}


def test_the_model_is_listed_and_health_is_told(gateway: Running) -> None:
    assert [model.id for model in gateway.client.models.list()] == ["tiny"]
    assert gateway.client.models.retrieve("tiny").owned_by == "eosin"
    assert HTTP.get(f"{gateway.url}/healthz").json() == {
        "status": "ok",
        "model": "tiny",
        "backend": "transformers",
        "waiting": 0,
        "evidence": True,
    }
    assert HTTP.get(f"{gateway.url}/").headers["location"] == "/ui"


def image_url(url: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what?"}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}]}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        (image_url("http://169.254.169.254/latest/meta-data"), "nothing is fetched; got a http: address", "unsupported_image_url"),
        (image_url("https://example.org/tile.png"), "nothing is fetched", "unsupported_image_url"),
        (image_url("file:///etc/passwd"), "nothing is fetched; got a file: address", "unsupported_image_url"),
        (image_url("a pink tile with glands"), "got text that is no address", "unsupported_image_url"),
        (image_url("data:image/png,abc"), "data:image/png;base64", "invalid_image_url"),
        (image_url("data:image/png;base64,&&&&"), "not base64", "invalid_base64"),
        (image_url("data:image/png;base64,aGVsbG8gd29ybGQ="), "unknown_format", "image_unknown_format"),
        (image_url("data:image/png;base64,"), "empty", "image_empty"),
        (image_url(7), "messages.0.content.0.image_url.url", "invalid_value"),
        ({"model": "tiny", "messages": []}, "messages", "invalid_value"),
        ({"model": "tiny"}, "messages: Field required", "invalid_value"),
        (user(""), "asks nothing", None),
        (user(5), "messages.0.content", "invalid_value"),
        (user([{"type": "video_url", "text": "x"}]), "messages.0.content.0", "invalid_value"),
        (user("what is in <image>?"), "attach images as image_url", "invalid_value"),
        (user("q", temperature=3.0), "temperature", "invalid_value"),
        (user("q", temperature=True), "temperature", "invalid_value"),
        (user("q", max_tokens=0), "max_tokens", "invalid_value"),
        (user("q", n=2), "n is not supported", "unsupported_parameter"),
        (user("q", tools=[{"type": "function"}]), "calls no tools", "unsupported_parameter"),
        (user("q", guided_json={}), "response_format", "unsupported_parameter"),
        (user("q", frequency_penalty=1.0), "frequency_penalty is not supported", "unsupported_parameter"),
        (user("q", colour="red"), "colour is not supported", "unsupported_parameter"),
        (user("q", eosin={"evidence": {"k": 0}}), "eosin.evidence.k", "invalid_value"),
        (user("q", eosin={"citations": 1}), "eosin.citations", "invalid_value"),
        ({"model": "tiny", "messages": [{"role": "assistant", "content": "hi"}]}, "must be the user's", None),
        ({"model": "tiny", "messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role", "invalid_value"),
    ],
)
def test_a_bad_request_is_refused_with_the_place_and_the_reason(gateway: Running, body: Any, words: str, code: str | None) -> None:
    response = gateway.post(body)
    error = error_of(response)
    assert response.status_code == 400, error
    assert words in error["message"]
    assert error["code"] == code
    assert error["type"] == "invalid_request_error"
    assert gateway.model.chats == []


def test_fields_that_change_nothing_are_taken(gateway: Running, kit: Any) -> None:
    harmless = {"user": "me", "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "response_format": {"type": "text"}, "stop": None}
    assert gateway.post(kit.ask("q", **harmless)).status_code == 200


def test_too_many_images_and_images_outside_the_users_turns_are_refused(gateway: Running, kit: Any) -> None:
    tile = kit.picture(RED)
    many = error_of(gateway.post(kit.ask("q", tile, tile, tile)))
    assert many["param"] == "messages.0.content.2.image_url"
    assert "at most 2 images" in many["message"]
    misplaced = {"messages": [{"role": "system", "content": [kit.image_part(tile)]}, {"role": "user", "content": "q"}]}
    assert "images stand in user messages" in error_of(gateway.post(misplaced))["message"]


def test_a_truncated_image_is_refused_by_name(gateway: Running, kit: Any) -> None:
    assert error_of(gateway.post(kit.ask("q", kit.picture(RED, (64, 64), "JPEG")[:-40])))["code"] == "image_truncated"


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"text"', b"\xff\xfe", b'{"temperature": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(gateway: Running, content: bytes) -> None:
    response = gateway.post(None, json=None, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_json"


def test_another_content_type_is_refused_so_that_no_foreign_page_can_post_a_form(gateway: Running) -> None:
    response = gateway.post(None, json=None, content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    error_of(response)


def test_unknown_models_paths_and_methods_get_errors_of_the_same_form(gateway: Running, kit: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has 'tiny'"):
        gateway.client.chat.completions.create(**(kit.ask("q") | {"model": "gpt-5"}))
    for response, status in [(HTTP.get(f"{gateway.url}/v1/nothing"), 404), (HTTP.get(f"{gateway.url}/v1/chat/completions"), 405)]:
        assert response.status_code == status
        error_of(response)


def test_a_model_that_refuses_a_chat_gives_400_and_one_that_breaks_502(gateway: Running, kit: Any) -> None:
    gateway.model.failure = InputError("the chat has 900 tokens; the model takes 512")
    assert (gateway.post(kit.ask("q")).status_code, error_of(gateway.post(kit.ask("q")))["message"]) == (400, str(gateway.model.failure))
    gateway.model.failure = RuntimeError("out of memory")
    broken = gateway.post(kit.ask("q"))
    assert broken.status_code == 502
    assert "out of memory" in error_of(broken)["message"]
    gateway.model.failure = None
    assert gateway.post(kit.ask("q")).status_code == 200


def test_an_error_in_the_middle_of_a_stream_reaches_the_openai_client(gateway: Running, kit: Any) -> None:
    gateway.model.failure = RuntimeError("out of memory")
    words: list[str | None] = []
    chunks = gateway.client.chat.completions.create(**kit.ask("q"), stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        words.extend(chunk.choices[0].delta.content for chunk in chunks)
    assert words == ["", "You", " asked:"]
    assert "[DONE]" not in gateway.post(kit.ask("q", stream=True)).text


def test_twenty_requests_at_once_get_each_its_own_answer(gateway: Running, kit: Any) -> None:
    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(20)))

    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        body = kit.ask(f"question {number}", kit.picture((number, number, number)))
        if number % 2:
            return str((await client.chat.completions.create(**body)).choices[0].message.content)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in await client.chat.completions.create(**body, stream=True)])

    assert asyncio.run(all_of_them()) == [f"You asked: question {number} Images: [{number}]" for number in range(20)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_generation(slow: Running, kit: Any, stream: bool) -> None:
    body = kit.ask("word " * 200, stream=stream)
    with httpx.Client(timeout=0.5) as client:
        if stream:
            with client.stream("POST", f"{slow.url}/v1/chat/completions", json=body) as response:
                assert next(response.iter_text())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{slow.url}/v1/chat/completions", json=body)
    assert slow.model.cancelled.wait(5)
    assert slow.model.words < 50


def test_a_request_that_waits_is_dropped_when_its_client_leaves(slow: Running, kit: Any) -> None:
    first = threading.Thread(target=slow.post, args=(kit.ask("one two three four five six"),))
    first.start()
    time.sleep(0.2)
    with pytest.raises(httpx.ReadTimeout):
        HTTP.post(f"{slow.url}/v1/chat/completions", json=kit.ask("never asked"), timeout=0.2)
    first.join()
    assert slow.post(kit.ask("next")).status_code == 200
    assert [chat.messages[-1].text for chat in slow.model.chats] == ["one two three four five six", "next"]


def test_a_full_queue_answers_503_and_says_when_to_come_back(kit: Any) -> None:
    model, server = running(kit, waiting=2)
    model.gate.clear()
    with server as url:
        gateway = Running(url, model)
        threads = [threading.Thread(target=gateway.post, args=(kit.ask("q"),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while HTTP.get(f"{url}/healthz").json()["waiting"] < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        response = gateway.post(kit.ask("one too many"))
        model.gate.set()
        for thread in threads:
            thread.join()
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert error_of(response)["code"] == "overloaded"
        assert gateway.post(kit.ask("later")).status_code == 200


def test_a_body_of_50_mb_is_refused_announced_or_not(gateway: Running) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 2**20

    for content in (b" " * (50 * 2**20), chunks()):
        response = gateway.post(None, json=None, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 413
        assert "25 MB" in error_of(response)["message"]
    assert HTTP.get(f"{gateway.url}/healthz").status_code == 200


def test_a_body_without_end_is_not_read_for_ever(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "DISCARD_SECONDS", 0.5)
    _, server = running(kit, access=Access(max_body_bytes=2**16))
    with server as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
            connection.sendall(head.encode() + b" " * 1000)
            assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode())
            assert connection.recv(2**16).startswith(b"HTTP/1.1 413 ")


def test_the_key_guards_the_api_and_health_stays_open(kit: Any) -> None:
    _, server = running(kit, access=Access(key="s3cret"))
    with server as url:
        body, path = kit.ask("q"), f"{url}/v1/chat/completions"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic czNjcmV0"}):
            response = HTTP.post(path, json=body, headers=headers)
            assert response.status_code == 401
            assert error_of(response)["code"] == "invalid_api_key"
        assert HTTP.post(path, json=body, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert HTTP.get(f"{url}/v1/models").status_code == 401
        assert HTTP.get(f"{url}/healthz").status_code == 200


def test_a_foreign_host_name_is_refused_where_the_names_are_known(kit: Any) -> None:
    _, server = running(kit, access=Access(hosts=frozenset({"127.0.0.1", "localhost"})))
    with server as url:
        assert HTTP.get(f"{url}/healthz").status_code == 200
        assert HTTP.get(f"{url}/healthz", headers={"Host": "localhost:1234"}).status_code == 200
        refused = HTTP.get(f"{url}/v1/models", headers={"Host": "rebound.example.org"})
    assert refused.status_code == 403
    assert error_of(refused)["code"] == "unknown_host"


def test_answers_carry_headers_that_keep_browsers_careful(gateway: Running) -> None:
    headers = HTTP.get(f"{gateway.url}/v1/models").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_broken_request_leaves_the_server_standing(gateway: Running) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert HTTP.get(f"{gateway.url}/healthz").status_code == 200
