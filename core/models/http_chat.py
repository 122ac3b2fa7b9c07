"""A chat model behind an OpenAI-compatible server: vLLM, Eosin's own gateway, a vendor's endpoint.

What such servers get wrong is not passed on: a reply without finish reason was cut off, a stream may end without an
error, a 200 may hold an error object. Each of these is a `BackendError`.

A key goes over the wire as it is: use https for any server that is not on this machine. A server on this machine is
spoken to directly, whatever proxy the environment names.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from eosin.errors import BackendError, ConfigError, EosinError, InputError, MissingDependency, Overloaded, Unsupported
from eosin.models.protocols import Capabilities, Chat, Delta, FinishReason, Reply, Sampling, Usage, fingerprint_of
from eosin.models.specs import ChatSpec
from eosin.models.sse import DONE, SseParser, error_words, json_event
from eosin.models.wire import finish_reason_of, finish_word_of, logprobs_of, usage_of, wire_messages, wire_sampling

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({400, 413, 415, 422})
_MISCONFIGURED = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404, 405})
# These ask for patience alone, and so does a 503 that says when to come again.
_BUSY = frozenset({429, 529})
_LONGEST_WAIT = 60.0
# A server that names its own time is believed, but a run does not sleep through the night.
_LONGEST_RETRY_AFTER = 600.0
_LONGEST_BODY = 32 * 2**20
# Requests that were refused together must not come back together.
_SPREAD = 0.25
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Retry:
    """When a request is tried again: after 408, 409, 429, 5xx, a broken connection, a timeout, or a 200 that holds no whole reply.

    A stream that the caller has seen a part of is not tried again.

    Attributes:
        attempts: requests in all.
        first_wait: seconds before the second attempt; doubled each time, unless the server says `Retry-After`.
    """

    attempts: int = 5
    first_wait: float = 1.0


class _Again(Exception):
    """A failure that another attempt may mend; `busy` where the server only asks for patience."""

    def __init__(self, message: str, wait: float | None = None, *, busy: bool = False) -> None:
        super().__init__(message)
        self.wait, self.busy = wait, busy


class HttpChat:
    """`ChatModel` over HTTP; `spec.batch_size` requests are under way at once.

    Args:
        spec: with `url`, the server's base such as http://127.0.0.1:8000/v1, and `model`, the name at the server.
        retry: when to try again.
        fields: more fields of every request body, such as `response_format` or a server's own.
        streamed: whole replies are sent as a stream as well, so that time limits count between tokens, not over the reply.
        pause: waits so many seconds between two attempts; what it raises ends the request. `time.sleep` where it is left out.

    Raises:
        ConfigError: `url` is not http(s), or the variable `api_key_env` is not set.
        MissingDependency: httpx is not installed.
    """

    def __init__(
        self,
        spec: ChatSpec,
        retry: Retry | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
        streamed: bool = False,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise MissingDependency("httpx", "serve") from error
        address = urlsplit(spec.url or "")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"url is {spec.url!r}; it must be the server's base, such as http://127.0.0.1:8000/v1")
        self._spec = spec
        self._retry = retry or Retry()
        self._fields, self._streamed, self._pause = dict(fields or {}), streamed, pause or time.sleep
        headers = _headers(spec.api_key_env)
        self._key = headers.get("Authorization", "").removeprefix("Bearer ")
        self._url = f"{(spec.url or '').rstrip('/')}/chat/completions"
        self._fingerprint = fingerprint_of([], implementation="http", url=spec.url, model=spec.model)
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(spec.timeout, connect=min(10.0, spec.timeout), pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=spec.batch_size),
            trust_env=address.hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the API offers; whether the model behind it sees images shows at the first request."""
        return Capabilities(images=True, logprobs=True)

    @property
    def fingerprint(self) -> str:
        """Of the server's address and the model's name: the weights behind them cannot be seen from here."""
        return self._fingerprint

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        """A reply to each chat, in order. Usage is 0 and 0 where the server does not count.

        Raises:
            ImageError: an image cannot be decoded.
            InputError: the server refused a chat, for instance as longer than the model's context.
            ConfigError: the server knows no such model or key.
            BackendError: the server failed on every attempt, or broke the protocol.
            Overloaded: it answered the last attempt with 429, or with 503 and `Retry-After`.
            Unsupported: a slide part.
        """
        if len(batch) < 2:
            return [self._reply(chat, sampling) for chat in batch]
        pool = ThreadPoolExecutor(min(self._spec.batch_size, len(batch)), thread_name_prefix="http-chat")
        try:
            return list(pool.map(lambda chat: self._reply(chat, sampling), batch))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        """A reply as it grows; closing the iterator closes the connection, which cancels the request at the server.

        Raises:
            ImageError, InputError, ConfigError, BackendError, Unsupported: see `generate`.
        """
        body = self._body(chat, sampling) | _STREAM
        with self._reading(self._persist(lambda: self._attempt(body))) as response:
            yield from _deltas(_events(response, self._spec.timeout))

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        """Not offered by the Chat Completions API.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            "an OpenAI-compatible server gives no log-likelihoods of a reply that it did not write; "
            "use implementation: transformers, or let the model answer"
        )

    def _body(self, chat: Chat, sampling: Sampling) -> dict[str, Any]:
        return {"model": self._spec.model, "messages": wire_messages(chat), **wire_sampling(sampling), **self._fields}

    def _reply(self, chat: Chat, sampling: Sampling) -> Reply:
        body = self._body(chat, sampling) | (_STREAM if self._streamed else {})
        return self._persist(lambda: self._whole(body, sampling))

    def _whole(self, body: dict[str, Any], sampling: Sampling) -> Reply:
        response = self._attempt(body)
        try:
            with self._reading(response):
                return (
                    _collected(_deltas(_events(response, self._spec.timeout)))
                    if self._streamed
                    else _reply_of(json_event(response.text), sampling)
                )
        except BackendError as error:
            raise _Again(str(error)) from error

    @contextmanager
    def _reading(self, response: httpx.Response) -> Iterator[httpx.Response]:
        """A successful response, whose body is read already unless the request streams."""
        import httpx

        try:
            yield response
        except httpx.TimeoutException as error:
            raise BackendError(f"{self._url} sent nothing for {self._spec.timeout:g} s in the middle of a reply") from error
        except httpx.HTTPError as error:
            raise BackendError(f"{self._url} broke off in the middle of a reply ({error})") from error
        finally:
            response.close()

    def _persist(self, act: Callable[[], T]) -> T:
        """What `act` gives, tried again while that may help."""
        wait = self._retry.first_wait
        for attempt in range(1, self._retry.attempts + 1):
            try:
                return act()
            except _Again as again:
                if attempt == self._retry.attempts:
                    kind = Overloaded if again.busy else BackendError
                    raise kind(f"{self._url} failed {attempt} times; the last time: {self._without_key(str(again))}") from again
                seconds = min(wait, _LONGEST_WAIT) if again.wait is None else min(again.wait, _LONGEST_RETRY_AFTER)
                self._pause(seconds * (1 + _SPREAD * random.random()))
                wait *= 2
        raise BackendError(f"no attempt was allowed: retry.attempts is {self._retry.attempts}, at least 1 is needed")

    def _attempt(self, body: dict[str, Any]) -> httpx.Response:
        import httpx

        try:
            response = self._client.send(self._client.build_request("POST", self._url, json=body), stream=True)
        except httpx.TimeoutException as error:
            raise _Again(f"no answer within {self._spec.timeout:g} s") from error
        except httpx.HTTPError as error:
            raise _Again(f"no connection ({error})") from error
        if response.status_code == 200 and body.get("stream"):
            return response
        try:
            whole = self._read(response)
        except httpx.HTTPError as error:
            raise _Again(f"the connection broke while the answer was read ({error})") from error
        finally:
            response.close()
        if whole.status_code != 200:
            raise self._failure(whole)
        return whole

    def _read(self, response: httpx.Response) -> httpx.Response:
        """The response with its body, which must not take longer than `timeout` as a whole: a byte now and then is a hang too."""
        import httpx

        pieces, size, end = [], 0, time.monotonic() + self._spec.timeout
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > _LONGEST_BODY:
                raise _Again(f"an answer of more than {_LONGEST_BODY} bytes")
            if time.monotonic() > end:
                raise _Again(f"an answer that was not whole after {self._spec.timeout:g} s")
        said = {name: response.headers[name] for name in ("content-type", "retry-after") if name in response.headers}
        return httpx.Response(response.status_code, headers=said, content=b"".join(pieces))

    def _without_key(self, words: str) -> str:
        """Some servers answer a wrong key with the key; it must not reach a log."""
        return words.replace(self._key, "(key)") if self._key else words

    def _failure(self, response: httpx.Response) -> Exception:
        status, words = response.status_code, self._without_key(error_words(response.text))
        if status in _RETRIED:
            wait = _seconds(response.headers.get("retry-after"))
            return _Again(f"HTTP {status}: {words}", wait, busy=status in _BUSY or (status == 503 and wait is not None))
        return _final_error(self._url, status, words)


def _headers(api_key_env: str | None) -> dict[str, str]:
    if not api_key_env:
        return {}
    key = os.environ.get(api_key_env)
    if not key:
        raise ConfigError(f"api_key_env names {api_key_env}, but this environment variable is not set: export {api_key_env}=...")
    return {"Authorization": f"Bearer {key}"}


def _final_error(url: str, status: int, words: str) -> EosinError:
    if status in _REFUSED:
        return InputError(f"{url} refused the request (HTTP {status}): {words}")
    if status in _MISCONFIGURED:
        return ConfigError(f"{url} answered HTTP {status}: {words}. Check url, model and api_key_env")
    return BackendError(f"{url} answered HTTP {status}: {words}")


def _seconds(value: str | None) -> float | None:
    """`Retry-After` in seconds; a date (RFC 9110, 10.2.3) counts from now."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time())


def _reply_of(value: dict[str, Any], sampling: Sampling) -> Reply:
    choice, usage = _only_choice(value)
    message = choice.get("message") or {}
    text = message.get("content") if isinstance(message, dict) else message
    if not isinstance(message, dict) or not isinstance(text, str | None):
        raise BackendError(f"the server's reply holds no text where it should: {message!r:.200}")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise BackendError(f"the server's reply holds no tool calls where it should: {calls!r:.200}")
    finish = finish_reason_of(choice.get("finish_reason"))
    return Reply(
        text=text or "",
        finish_reason=finish,
        usage=usage or Usage(0, 0),
        logprobs=logprobs_of(choice) if sampling.logprobs else None,
        tool_calls=tuple(calls),
        ended=finish_word_of(choice["finish_reason"]),
    )


def _collected(deltas: Iterator[Delta]) -> Reply:
    pieces = list(deltas)
    last = pieces[-1]
    if last.finish_reason is None:
        raise BackendError("the server's stream ended without finish_reason: the reply was cut off")
    return Reply("".join(piece.text for piece in pieces), last.finish_reason, last.usage or Usage(0, 0), ended=last.ended)


def _only_choice(value: dict[str, Any]) -> tuple[dict[str, Any], Usage | None]:
    choices = value.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise BackendError(f"one choice was asked for; the server's reply holds {choices!r:.200}")
    return choices[0], usage_of(value.get("usage"))


def _events(response: httpx.Response, patience: float) -> Iterator[dict[str, Any]]:
    """The objects of a server-sent event stream, up to [DONE] or its end; comments alone keep nobody waiting for longer than `patience`."""
    parser, heard = SseParser(), time.monotonic()
    for chunk in response.iter_bytes():
        for data in parser.feed(chunk):
            if data == DONE:
                return
            yield json_event(data)
            heard = time.monotonic()
        if time.monotonic() - heard > patience:
            raise BackendError(f"the server sent nothing but comments for {patience:g} s")


def _deltas(events: Iterator[dict[str, Any]]) -> Iterator[Delta]:
    finish: FinishReason | None = None
    usage: Usage | None = None
    ended = ""
    for event in events:
        usage = usage_of(event.get("usage")) or usage
        for choice, text in _pieces(event):
            if text:
                yield Delta(text)
            if choice.get("finish_reason"):
                finish = finish_reason_of(choice["finish_reason"])
                ended = finish_word_of(choice["finish_reason"])
    if finish is None:
        raise BackendError("the server's stream ended without finish_reason: the reply was cut off")
    yield Delta("", finish, usage, ended)


def _pieces(event: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str | None]]:
    """The choices of an event, each with its text."""
    try:
        found = [(choice, (choice.get("delta") or {}).get("content")) for choice in event.get("choices") or ()]
    except (AttributeError, TypeError) as error:
        raise BackendError(f"an event of the server's stream is not of the OpenAI form ({error})") from error
    if not all(isinstance(text, str | None) for _, text in found):
        raise BackendError(f"an event of the server's stream holds no text where it should: {found!r:.200}")
    return found
