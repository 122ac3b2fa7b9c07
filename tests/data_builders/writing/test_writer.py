"""The writer against a server that misbehaves."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from eosin.data_builders.writing.crew import DOWN_AFTER, work_through
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.replies import Refused
from eosin.data_builders.writing.writer import Stopped, Unanswered
from eosin.errors import BackendError, ConfigError, InputError
from eosin.records import Reject

Make = Callable[..., Any]


def answers_of(made: Any) -> Callable[[str], int]:
    """How many answers a caption of a name took."""
    return lambda name: int(made.caption(name).answers)


def first(count: int, trouble: Callable[[Any, dict[str, Any]], None]) -> Callable[[Any, dict[str, Any]], bool]:
    """The trouble for the first `count` requests."""
    left = [count]
    lock = threading.Lock()

    def act(handler: Any, body: dict[str, Any]) -> bool:
        with lock:
            left[0] -= 1
            mine = left[0] >= 0
        if mine:
            trouble(handler, body)
        return mine

    return act


def naming(name: str, trouble: Callable[[Any, dict[str, Any]], None]) -> Callable[[Any, dict[str, Any]], bool]:
    """The trouble for every request about `name`."""

    def act(handler: Any, body: dict[str, Any]) -> bool:
        mine = f"Caption {name}." in json.dumps(body)
        if mine:
            trouble(handler, body)
        return mine

    return act


def replying(status: int, data: bytes = b"{}", **headers: str) -> Callable[[Any, dict[str, Any]], None]:
    return lambda handler, body: handler.reply(status, data, **headers)


def hang(handler: Any, body: dict[str, Any]) -> None:
    time.sleep(0.6)


def cut_body(handler: Any, body: dict[str, Any]) -> None:
    """A 200 that promises more than it sends."""
    handler.send_response(200)
    handler.send_header("content-length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def cut_stream(handler: Any, body: dict[str, Any]) -> None:
    handler.events({"choices": [{"index": 0, "delta": {"content": '{"capt'}, "finish_reason": None}]})


def drop(handler: Any, body: dict[str, Any]) -> None:
    handler.close_connection = True


PASSING = {
    "429": replying(429, Retry_After="0"),
    "500": replying(500, b"oops"),
    "503": replying(503),
    "html in a 200": replying(200, b"<html>busy</html>", content_type="text/html"),
    "no json in a 200": replying(200, b'{"choices": [', content_type="application/json"),
    "an error in a 200": replying(200, b'{"error": {"message": "overloaded"}}'),
    "no choice": replying(200, b'{"choices": []}'),
    "no text": replying(200, b'{"choices": [{"message": "text", "finish_reason": "stop"}]}'),
    "a cut body": cut_body,
    "a dropped connection": drop,
    "a hang": hang,
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_failure_is_tried_again_and_answered_once(name: str, writer: Make, server: Any) -> None:
    server.troubles = [first(2, PASSING[name])]
    made = writer(timeout=0.3 if name == "a hang" else 5.0)
    assert "caption" in made.caption("x").value
    assert len(server.bodies) == 3
    assert made.journal.spent(made.config.fingerprint).requests == 1


@pytest.mark.parametrize("trouble", [cut_stream, cut_body, replying(200, b"data: {bad\n\n", content_type="text/event-stream")])
def test_a_stream_that_breaks_off_is_tried_again(trouble: Any, writer: Make, server: Any) -> None:
    server.troubles = [first(2, trouble)]
    made = writer(stream=True)
    assert made.caption("x").value["caption"].startswith("Crowded")
    assert len(server.bodies) == 3
    assert made.journal.spent(made.config.fingerprint).tokens == 120


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str, writer: Make, server: Any) -> None:
    moments: list[float] = []

    def busy(handler: Any, body: dict[str, Any]) -> None:
        moments.append(time.monotonic())
        handler.reply(429, b"{}", Retry_After="1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True))

    server.troubles = [first(1, busy)]
    writer(first_wait=0.0).caption("x")
    assert time.monotonic() - moments[0] >= 0.9


BAD_ANSWERS = {
    "not_json": lambda handler, body: handler.complete("Here you are: {}", body),
    "not_in_schema": lambda handler, body: handler.complete('{"caption": 3}', body),
    "cut_off": lambda handler, body: handler.complete('{"caption": "Crow', body, finish="length"),
    "filtered": lambda handler, body: handler.complete("", body, finish="content_filter"),
    "not_text": lambda handler, body: handler.complete('{"caption": "\ud800"}', body),
}


@pytest.mark.parametrize("reason", BAD_ANSWERS)
def test_an_answer_that_is_no_good_goes_back_with_the_reason(reason: str, writer: Make, server: Any, kit: Any) -> None:
    server.troubles = [first(1, BAD_ANSWERS[reason])]
    written = writer().caption("x")
    assert written.answers == 2
    assert [message["role"] for message in server.bodies[1]["messages"]] == ["user", "assistant", "user"]
    assert "was refused" in kit.texts_of(server.bodies[1], "user")[1]


@pytest.mark.parametrize("reason", BAD_ANSWERS)
def test_after_the_last_answer_the_reason_is_the_last_one(reason: str, writer: Make, server: Any) -> None:
    server.troubles = [first(99, BAD_ANSWERS[reason])]
    with pytest.raises(Refused) as caught:
        writer(answers=2).caption("x")
    assert caught.value.reason == reason
    assert len(server.bodies) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_end_of_the_servers_own_is_named_and_paid_for_once(stream: bool, writer: Make, server: Any) -> None:
    server.troubles = [first(99, lambda handler, body: handler.complete('{"caption": "x"}', body, finish="weird"))]
    for _ in range(2):
        with pytest.raises(Refused, match="'weird'") as caught:
            writer(stream=stream).caption("x")
        assert caught.value.reason == "unknown_finish"
    assert len(server.bodies) == 1


@pytest.mark.parametrize("count", ["-5", "1" + "0" * 25, "2e30"])
def test_counts_that_cannot_be_true_are_no_reply_and_reach_no_journal(count: str, writer: Make, server: Any) -> None:
    choice = b'{"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}], "usage": '
    server.troubles = [first(2, replying(200, choice + b'{"prompt_tokens": %s, "completion_tokens": 1}}' % count.encode()))]
    made = writer()
    assert "caption" in made.caption("x").value
    assert made.journal.spent(made.config.fingerprint).tokens == 120


def test_a_check_refuses_like_the_schema(writer: Make, server: Any) -> None:
    seen: list[str] = []

    def check(value: dict[str, Any]) -> None:
        seen.append(value["caption"])
        if len(seen) == 1:
            raise Refused("dull", "Not dull, please")

    assert writer().caption("x", check=check).answers == 2
    assert seen[0] != seen[1]


def test_a_rerun_sends_nothing_and_gives_the_same(writer: Make, server: Any) -> None:
    server.troubles = [first(1, BAD_ANSWERS["not_json"])]
    before = writer().caption("x")
    sent = len(server.bodies)
    assert writer(url="http://127.0.0.1:9/v1", concurrency=1, tries=1).caption("x") == before
    assert len(server.bodies) == sent == 2


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"revision": "2"}, {"temperature": 0.5}, {"constrain": "json_object"}, {"fields": {"x": 1}}]
)
def test_what_decides_the_text_is_asked_anew(change: dict[str, Any], writer: Make, server: Any) -> None:
    writer().caption("x")
    writer(**change).caption("x")
    assert len(server.bodies) == 2


def test_equal_requests_at_the_same_time_are_sent_once(writer: Make, server: Any) -> None:
    server.pause = 0.1
    made = writer()
    found = work_through(made, list(range(6)), lambda _: made.caption("x").value["caption"], str)
    assert len(set(map(str, found))) == 1
    assert len(server.bodies) == 1


def test_no_more_requests_are_under_way_than_allowed_and_results_keep_their_order(writer: Make, server: Any) -> None:
    server.pause = 0.05
    made = writer(concurrency=3)
    found = work_through(made, list("abcdefghij"), lambda name: (name, made.caption(name)), str)
    assert [outcome[0] for outcome in found if isinstance(outcome, tuple)] == list("abcdefghij")
    assert 2 <= server.most <= 3


def test_the_schema_is_sent_where_the_server_can_hold_to_it(writer: Make, server: Any, kit: Any) -> None:
    writer(constrain="json_schema").caption("x")
    writer(constrain="json_object", fields={"top_k": 1}).caption("x")
    writer().caption("x")
    formats = [body.get("response_format") for body in server.bodies]
    assert formats[0]["json_schema"]["schema"] == kit.PROMPT.schema
    assert formats[1:] == [{"type": "json_object"}, None]
    assert server.bodies[1]["top_k"] == 1


def test_a_request_that_always_fails_is_given_up_where_the_server_answers_a_greeting(writer: Make, server: Any, kit: Any) -> None:
    server.troubles = [naming("bad", replying(500, b"crash"))]
    server.answer = lambda body: kit.good_answer(body) if kit.MARK in kit.texts_of(body, "user")[0] else {}
    made = writer(tries=2)
    found = work_through(made, ["a", "bad", "c", "d"], answers_of(made), str)
    assert found[0] == found[2] == found[3] == 1
    assert isinstance(found[1], Reject)
    assert (found[1].key, found[1].reason) == ("bad", "no_answer")
    assert made.journal.spent(made.config.fingerprint).requests == 4
    assert server.bodies[-1]["max_tokens"] == 1
    sent = len(server.bodies)
    again = writer(tries=2)
    assert work_through(again, ["a", "bad"], answers_of(again), str) == found[:2]
    assert len(server.bodies) == sent
    server.troubles = []
    anew = writer(ask_again=True)
    assert work_through(anew, ["a", "bad"], answers_of(anew), str) == [1, 1]
    assert len(server.bodies) == sent + 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_not_taken_for_a_bad_request(status: int, writer: Make, server: Any) -> None:
    server.troubles = [naming("b", replying(status, b"{}", Retry_After="0"))]
    for _ in range(4):
        made = writer(tries=2)
        with pytest.raises(BackendError, match=r"lower writer\.concurrency"):
            work_through(made, ["a", "b"], answers_of(made), str)
    server.troubles = []
    assert work_through(made, ["a", "b"], answers_of(made), str) == [1, 1]


def test_a_byte_now_and_then_is_a_hang_too(writer: Make, server: Any) -> None:
    def drip(handler: Any, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "500")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    server.troubles = [first(1, drip)]
    start = time.monotonic()
    assert writer(timeout=0.3).caption("x").answers == 1
    assert time.monotonic() - start < 1.5


def test_a_stream_of_comments_is_a_hang_too(writer: Make, server: Any) -> None:
    def murmur(handler: Any, body: dict[str, Any]) -> None:
        handler.events()
        for _ in range(40):
            handler.wfile.write(b": still here\n\n")
            time.sleep(0.05)

    server.troubles = [first(1, murmur)]
    start = time.monotonic()
    assert writer(timeout=0.3, stream=True).caption("x").answers == 1
    assert time.monotonic() - start < 1.5


def test_a_run_that_is_stopped_does_not_sit_out_the_wait_between_tries(writer: Make, server: Any) -> None:
    server.troubles = [naming("slow", replying(503, b"{}", Retry_After="300")), naming("wrong", replying(401))]
    made = writer()
    start = time.monotonic()
    with pytest.raises(ConfigError, match="HTTP 401"):
        work_through(made, ["slow", "wrong"], answers_of(made), str)
    assert time.monotonic() - start < 5
    with pytest.raises(Stopped):
        made.caption("later")


def test_a_failure_that_passes_between_the_rounds_loses_nothing(writer: Make, server: Any) -> None:
    server.troubles = [first(2, replying(500))]
    made = writer(tries=1, concurrency=1)
    assert work_through(made, ["a", "b", "c"], answers_of(made), str) == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_server_that_is_down_stops_the_run_and_gives_nothing_up(count: int, writer: Make, server: Any) -> None:
    server.troubles = [first(999, replying(503))]
    made, names = writer(tries=1, concurrency=2), [f"n{number}" for number in range(count)]
    with pytest.raises(BackendError, match="is the server up"):
        work_through(made, names, lambda name: made.caption(name), str)
    assert len(server.bodies) <= 2 * DOWN_AFTER
    server.troubles = []
    assert all(not isinstance(found, Reject) for found in work_through(made, names, lambda name: made.caption(name), str))


def test_a_lone_request_is_given_up_after_three_runs_so_that_it_cannot_bar_the_way(writer: Make, server: Any) -> None:
    server.troubles = [first(999, replying(500))]
    for _ in range(2):
        made = writer(tries=1)
        with pytest.raises(BackendError):
            work_through(made, ["x"], answers_of(made), str)
    made = writer(tries=1)
    (found,) = work_through(made, ["x"], answers_of(made), str)
    assert isinstance(found, Reject)
    assert found.reason == "no_answer"


def test_a_refused_request_is_a_reject_but_not_where_all_are_refused(writer: Make, server: Any) -> None:
    refuse = replying(400, b'{"error": {"message": "too many pixels"}}')
    server.troubles = [first(1, refuse)]
    with pytest.raises(InputError, match="too many pixels"):
        writer().caption("a")
    writer().caption("b")
    server.troubles = [naming("c", refuse)]
    for _ in range(2):
        with pytest.raises(Refused, match="too many pixels") as caught:
            writer().caption("c")
        assert caught.value.reason == "refused_by_server"
    assert len(server.bodies) == 3


def test_a_wrong_key_ends_the_run_at_once_and_is_not_repeated(writer: Make, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOSIN_TEST_KEY", "s3cret-key")
    server.troubles = [first(999, replying(401, b'{"error": {"message": "wrong key: s3cret-key"}}'))]
    with pytest.raises(ConfigError, match=r"wrong key: \(key\)"):
        writer(api_key_env="EOSIN_TEST_KEY").caption("x")
    assert len(server.bodies) == 1


def test_a_key_in_the_words_of_a_failing_server_goes_no_further(writer: Make, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOSIN_TEST_KEY", "s3cret-key")
    server.troubles = [first(999, replying(200, b"<p>s3cret-key</p>"))]
    made = writer(api_key_env="EOSIN_TEST_KEY", tries=2)
    with pytest.raises(Unanswered) as caught:
        made.caption("x")
    assert "s3cret-key" not in str(caught.value)
    assert b"s3cret-key" not in b"".join(path.read_bytes() for path in made.journal.path.parent.glob("answers*"))


def test_the_key_reaches_the_server_and_no_log(writer: Make, server: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("EOSIN_TEST_KEY", "s3cret-key")
    with caplog.at_level(logging.DEBUG):
        writer(api_key_env="EOSIN_TEST_KEY").caption("x")
    assert server.keys == ["Bearer s3cret-key"]
    assert "s3cret-key" not in caplog.text


@pytest.mark.parametrize("url", ["http://me:pass@host/v1", "http://host/v1?api-key=x"])
def test_an_address_with_a_secret_in_it_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env"):
        WriterConfig(model="m", url=url)


@pytest.mark.parametrize("name", ["api_key", "Authorization", "api-key"])
def test_a_key_among_the_fields_is_refused_for_it_would_stand_in_the_plan(name: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env"):
        WriterConfig(model="m", fields={name: "s3cret"})


def test_a_writer_without_a_model_says_what_to_add(writer: Make) -> None:
    with pytest.raises(ConfigError, match=r"writer\.model=NAME"):
        writer(model="")
