"""HttpChat against a server that does what real ones do wrong."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eosin.errors import BackendError, ConfigError, ImageError, InputError, Unsupported
from eosin.images import decode_image, encode_png
from eosin.models.http_chat import HttpChat, Retry
from eosin.models.protocols import Chat, Sampling
from eosin.models.specs import ChatSpec, load_chat
from eosin.models.sse import SseParser
from eosin.records import Message, Part

GREEDY = Sampling(max_tokens=8)
Behaviour = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th request by the n-th behaviour, the last one from then on."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.keys.append(self.headers.get("authorization"))
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
        try:
            self.server.behaviours[min(number, len(self.server.behaviours) - 1)](self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.server.cancelled.set()
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, *events: str) -> None:
        """Send events one by one and close the connection."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.behaviours: list[Behaviour] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.under_way = self.most = 0
        self.cancelled = threading.Event()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def chat_model(server: Server, **changes: Any) -> HttpChat:
    spec = ChatSpec("tiny", "http", f"http://127.0.0.1:{server.server_port}/v1", **{"timeout": 5.0, **changes})
    return HttpChat(spec, Retry(attempts=3, first_wait=0.01))


def question(text: str, *images: bytes) -> Chat:
    return Chat((Message("user", (*(Part("image") for _ in images), Part("text", text))),), images)


def completion(text: str | None, finish: str | None = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish, **more}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}).encode()


def delta(text: str = "", finish: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}, ensure_ascii=False)


def echo(handler: Handler, body: dict[str, Any]) -> None:
    content = body["messages"][-1]["content"]
    handler.reply(200, completion(content if isinstance(content, str) else content[-1]["text"]))


def answering(status: int, body: bytes, **headers: str) -> Behaviour:
    return lambda handler, _: handler.reply(status, body, **headers)


def streaming(*events: str) -> Behaviour:
    return lambda handler, _: handler.events(*events)


def test_replies_come_in_the_order_of_the_chats_while_requests_run_at_once(server: Server) -> None:
    def slow_first(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(0.3 if body["messages"][-1]["content"] == "0" else 0.1)
        echo(handler, body)

    server.behaviours = [slow_first]
    replies = chat_model(server, batch_size=4).generate([question(str(number)) for number in range(8)], GREEDY)
    assert [reply.text for reply in replies] == [str(number) for number in range(8)]
    assert replies[0].usage.prompt_tokens == 7
    assert replies[0].finish_reason == "stop"
    assert 2 <= server.most <= 4


def test_images_are_sent_as_data_urls_with_the_decoders_pixels(server: Server) -> None:
    picture = Image.fromarray(np.arange(8 * 8 * 4, dtype=np.uint8).reshape(8, 8, 4), "RGBA")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    server.behaviours = [echo]
    chat_model(server).generate([question("what is it?", buffer.getvalue())], GREEDY)
    image, text = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    kind, _, payload = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(payload)))), decode_image(buffer.getvalue()))


def test_a_broken_image_is_refused_before_anything_is_sent(server: Server) -> None:
    server.behaviours = [echo]
    with pytest.raises(ImageError):
        chat_model(server).generate([question("what?", b"no image at all")], GREEDY)
    assert server.bodies == []


def test_sampling_is_sent(server: Server) -> None:
    server.behaviours = [echo]
    chat_model(server).generate([question("q")], Sampling(max_tokens=3, temperature=0.5, top_p=0.9, seed=4, stop=("END",), logprobs=2))
    sent = {key: value for key, value in server.bodies[0].items() if key != "messages"}
    assert sent == {
        "model": "tiny",
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 4,
        "stop": ["END"],
        "logprobs": True,
        "top_logprobs": 2,
    }


def test_logprobs_are_returned(server: Server) -> None:
    tokens = [{"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]}]
    server.behaviours = [answering(200, completion("yes", logprobs={"content": tokens}))]
    (reply,) = chat_model(server).generate([question("q")], Sampling(logprobs=2))
    assert reply.logprobs is not None
    assert reply.logprobs[0].token == "yes"
    assert dict(reply.logprobs[0].top) == {"yes": -0.1, "no": -2.5}


@pytest.mark.parametrize("failure", [answering(429, b"{}", Retry_After="0"), answering(500, b"oops"), answering(503, b"{}")])
def test_a_passing_failure_is_tried_again(server: Server, failure: Behaviour) -> None:
    server.behaviours = [failure, failure, echo]
    (reply,) = chat_model(server).generate([question("q")], GREEDY)
    assert reply.text == "q"
    assert len(server.bodies) == 3


def test_a_lasting_failure_ends_after_the_allowed_attempts_with_the_servers_words(server: Server) -> None:
    server.behaviours = [answering(500, b'{"error": {"message": "out of memory"}}')]
    with pytest.raises(BackendError, match=r"3 times.*out of memory"):
        chat_model(server).generate([question("q")], GREEDY)
    assert len(server.bodies) == 3


def test_a_server_that_hangs_times_out(server: Server) -> None:
    server.behaviours = [lambda handler, body: time.sleep(1.0)]
    with pytest.raises(BackendError, match=r"no answer within 0\.1 s"):
        chat_model(server, timeout=0.1).generate([question("q")], GREEDY)


def test_no_server_is_a_backend_error() -> None:
    spec = ChatSpec("tiny", "http", "http://127.0.0.1:9/v1")
    with pytest.raises(BackendError, match="no connection"):
        HttpChat(spec, Retry(attempts=1)).generate([question("q")], GREEDY)


@pytest.mark.parametrize(("status", "error"), [(400, InputError), (413, InputError), (401, ConfigError), (404, ConfigError)])
def test_what_the_user_can_mend_is_not_tried_again(server: Server, status: int, error: type[Exception]) -> None:
    server.behaviours = [answering(status, b'{"error": {"message": "too long"}}')]
    with pytest.raises(error, match="too long"):
        chat_model(server).generate([question("q")], GREEDY)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"choices": []}',
        b'{"error": {"message": "inside a 200"}}',
        completion("cut", finish=None),
        b'{"choices":' + b"[" * 100_000,
        b'{"choices":' + b"1" * 5000 + b"}",
        completion("x").replace(b'"role": "assistant"', b'"tool_calls": 5'),
        completion("x").replace(b'"role": "assistant"', b'"tool_calls": ["f"]'),
        completion("x").replace(b": 7", b": -7"),
        completion("x").replace(b": 7", b": 1" + b"0" * 400),
        completion("x").replace(b": 7", b": 2e30"),
    ],
    ids=[
        "html",
        "list",
        "no choice",
        "error in a 200",
        "no finish_reason",
        "deep",
        "huge number",
        "no tool calls",
        "words for calls",
        "negative usage",
        "huge usage",
        "large usage",
    ],
)
def test_a_200_that_is_no_whole_reply_is_a_backend_error(server: Server, body: bytes) -> None:
    server.behaviours = [answering(200, body)]
    with pytest.raises(BackendError):
        chat_model(server).generate([question("q")], GREEDY)


def test_an_error_page_of_brackets_is_a_backend_error(server: Server) -> None:
    server.behaviours = [answering(418, b"[" * 100_000)]
    with pytest.raises(BackendError, match="HTTP 418"):
        chat_model(server).generate([question("q")], GREEDY)


def test_counts_that_are_written_as_whole_floats_are_counts(server: Server) -> None:
    server.behaviours = [answering(200, completion("x").replace(b": 7", b": 1e3"))]
    (reply,) = chat_model(server).generate([question("q")], GREEDY)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (1000, 2)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_servers_own_word_for_the_end_stands_beside_ours(server: Server, streamed: bool) -> None:
    last = delta(finish="eos?").replace("?", "\\ud800")
    server.behaviours = [streaming(delta("x"), last)] if streamed else [answering(200, completion("x", "eos\ud800"))]
    spec = ChatSpec("tiny", "http", f"http://127.0.0.1:{server.server_port}/v1", timeout=5.0)
    (reply,) = HttpChat(spec, Retry(1), streamed=streamed).generate([question("q")], GREEDY)
    assert (reply.finish_reason, reply.ended) == ("error", "eos\\ud800")


def test_a_stream_gives_deltas_and_ends_with_finish_reason_and_usage(server: Server) -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    server.behaviours = [streaming(delta("Tum\u2028or"), delta(" cells"), delta(finish="length"), usage, "[DONE]")]
    deltas = list(chat_model(server).stream(question("q"), GREEDY))
    assert [item.text for item in deltas] == ["Tum\u2028or", " cells", ""]
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 3
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


def test_a_stream_without_done_is_whole_when_it_has_a_finish_reason(server: Server) -> None:
    server.behaviours = [streaming(delta("yes"), delta(finish="stop"))]
    assert "".join(item.text for item in chat_model(server).stream(question("q"), GREEDY)) == "yes"


@pytest.mark.parametrize(
    "events",
    [
        [delta("cut")],
        [delta("cut"), "[DONE]"],
        [delta("cut"), '{"error": {"message": "engine died"}}'],
        [delta("cut"), '{"object": "error", "message": "flat"}'],
        [delta("cut"), "{bad"],
        [delta("cut"), "[" * 100_000],
        [delta("cut"), '{"choices": 5}'],
        [delta("cut"), '{"choices": [{"delta": "text"}]}'],
        [delta("cut"), '{"choices": [{"delta": {"content": 5}}]}'],
    ],
    ids=["dropped", "done without finish", "error object", "flat error", "bad json", "deep", "no choices", "no delta", "no text"],
)
def test_a_stream_that_breaks_off_is_a_backend_error_after_what_came(server: Server, events: list[str]) -> None:
    server.behaviours = [streaming(*events)]
    stream = chat_model(server).stream(question("q"), GREEDY)
    assert next(stream).text == "cut"
    with pytest.raises(BackendError):
        list(stream)


def test_a_stream_that_stalls_times_out(server: Server) -> None:
    def stall(handler: Handler, body: dict[str, Any]) -> None:
        handler.events(delta("first"))
        time.sleep(1.0)

    server.behaviours = [stall]
    with pytest.raises(BackendError, match="middle of a reply"):
        list(chat_model(server, timeout=0.2).stream(question("q"), GREEDY))


def test_closing_a_stream_closes_the_connection(server: Server) -> None:
    def endless(handler: Handler, body: dict[str, Any]) -> None:
        for _ in range(2000):
            handler.events(delta("more" * 100))
            time.sleep(0.002)

    server.behaviours = [endless]
    stream = chat_model(server).stream(question("q"), GREEDY)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert server.cancelled.wait(5)


def test_the_key_comes_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.behaviours = [echo]
    monkeypatch.setenv("EOSIN_TEST_KEY", "s3cret")
    chat_model(server, api_key_env="EOSIN_TEST_KEY").generate([question("q")], GREEDY)
    assert server.keys == ["Bearer s3cret"]
    monkeypatch.delenv("EOSIN_TEST_KEY")
    with pytest.raises(ConfigError, match="EOSIN_TEST_KEY"):
        chat_model(server, api_key_env="EOSIN_TEST_KEY")


def test_a_proxy_is_not_asked_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.behaviours = [echo]
    assert chat_model(server).generate([question("q")], GREEDY)[0].text == "q"


def test_scores_are_refused_clearly(server: Server) -> None:
    model = chat_model(server)
    assert not model.capabilities.scoring
    with pytest.raises(Unsupported, match="log-likelihoods"):
        model.score(question("q"), ["yes", "no"])


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "http:///v1"])
def test_an_address_that_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="url is"):
        load_chat(ChatSpec("tiny", "http", url))


def test_the_fingerprint_tells_models_and_servers_apart() -> None:
    specs = [ChatSpec("a", "http", "http://h/v1"), ChatSpec("b", "http", "http://h/v1"), ChatSpec("a", "http", "http://i/v1")]
    prints = [HttpChat(spec).fingerprint for spec in specs]
    assert len(set(prints)) == 3
    assert HttpChat(specs[0]).fingerprint == prints[0]


def test_pixels_of_a_plain_image_travel_unchanged(server: Server) -> None:
    png = encode_png(np.full((4, 4, 3), 7, np.uint8))
    server.behaviours = [echo]
    chat_model(server).generate([question("q", png)], GREEDY)
    url = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == png


@pytest.mark.parametrize("cut", range(1, 12))
def test_events_are_the_same_wherever_the_network_cuts_them(cut: int) -> None:
    stream = b": ping\r\n\r\nevent: x\ndata: one\r\n\r\ndata:two\ndata: lines\n\nid: 3\n\ndata: \xe2\x80\xa8\r\r"
    parser = SseParser()
    events = [event for start in range(0, len(stream), cut) for event in parser.feed(stream[start : start + cut])]
    events += parser.feed(b"\n")
    assert events == ["one", "two\nlines", "\u2028"]
