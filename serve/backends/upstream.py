"""An OpenAI-compatible server behind the gateway: checked requests go through, its failures come back as clear errors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from eosin.errors import BackendError, ConfigError, EosinError
from eosin.models.protocols import Usage
from eosin.models.sse import DONE, SseParser, error_words, json_event
from eosin.models.wire import finish_reason_of, usage_of, wire_messages, wire_sampling
from eosin.serve.backends.base import Completion, Piece, Prompt
from eosin.serve.errors import ApiError, backend_timeout, bad_gateway, busy
from eosin.serve.protocol import PASSED_ON


@dataclass(frozen=True)
class Endpoint:
    """A server.

    Attributes:
        url: its base, ending in /v1.
        model: the model's name there.
        key: its API key; never shown.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)


class UpstreamBackend:
    """`Backend` over HTTP.

    Args:
        endpoint: the server.
        stall: seconds without a byte after which a request is given up.
    """

    kind = "url"
    passed_on = PASSED_ON

    def __init__(self, endpoint: Endpoint, stall: float = 300.0) -> None:
        self._endpoint = endpoint
        self._stall = stall
        self._session: aiohttp.ClientSession | None = None
        self.waiting = 0

    @property
    def problem(self) -> str | None:
        """Why it cannot answer now; a server that is not ours is asked by each request only."""
        return None if self._session is not None else "not started"

    async def start(self) -> None:
        """Connect, and check that the server offers the model.

        Raises:
            BackendError: it does not answer as such a server does.
            ConfigError: it offers other models, or refuses the key.
        """
        self.connect()
        try:
            await self._check_model()
        except EosinError:
            await self.stop()
            raise

    def connect(self) -> None:
        """Open the session; called within the event loop."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._stall)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0), trust_env=False)

    async def stop(self) -> None:
        """Close all connections; what is under way at the server is cancelled by that."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def complete(self, prompt: Prompt) -> Completion:
        """A whole reply."""
        async with self._post(self._body(prompt)) as response:
            value = json_event(await response.text())
        choices = value.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise BackendError("the server's reply does not hold one choice")
        choice = choices[0]
        text = (choice.get("message") or {}).get("content") or ""
        return Completion(
            text, finish_reason_of(choice.get("finish_reason")), usage_of(value.get("usage")) or Usage(0, 0), choice.get("logprobs")
        )

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """A reply as it grows.

        Raises:
            BackendError: besides what `complete` raises, the stream ended without finish reason.
        """
        body = self._body(prompt) | {"stream": True, "stream_options": {"include_usage": True}}
        last = Piece("")
        async with self._post(body) as response:
            async for event in _events(response):
                piece = _piece(event)
                last = Piece("", piece.finish_reason or last.finish_reason, piece.usage or last.usage)
                if piece.text or piece.logprobs:
                    yield Piece(piece.text, logprobs=piece.logprobs)
        if last.finish_reason is None:
            raise BackendError("the server's stream ended without finish_reason: the reply was cut off")
        yield last

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        messages = wire_messages(prompt.chat, plain=True)
        return {"model": self._endpoint.model, "messages": messages, **wire_sampling(prompt.sampling), **prompt.extra}

    def _ready(self) -> tuple[aiohttp.ClientSession, Endpoint]:
        if self._session is None:
            raise busy("the server is stopping")
        return self._session, self._endpoint

    @asynccontextmanager
    async def _post(self, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        session, endpoint = self._ready()
        with self._failures():
            async with session.post(f"{endpoint.url}/chat/completions", json=body, headers=_headers(endpoint)) as response:
                if response.status != 200:
                    raise _refusal(response.status, error_words(await response.text(errors="replace")), response.headers)
                yield response

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """What goes wrong between here and the server, as errors of the API; the request counts as waiting meanwhile."""
        self.waiting += 1
        try:
            yield
        except TimeoutError as error:
            raise backend_timeout(f"the model's server sent nothing for {self._stall:g} s; the request was given up") from error
        except (aiohttp.ClientError, UnicodeDecodeError) as error:
            raise bad_gateway(f"the connection to the model's server broke ({type(error).__name__})") from error
        finally:
            self.waiting -= 1

    async def _check_model(self) -> None:
        session, endpoint = self._ready()
        offered = await self._offered(session, endpoint)
        if endpoint.model not in offered:
            names = ", ".join(sorted(offered)) or "no model"
            raise ConfigError(f"{endpoint.url} does not offer {endpoint.model!r}; it offers: {names}. Give that name as MODEL")

    async def _offered(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> set[str]:
        """The names of the models at the server."""
        hint = "is an OpenAI-compatible server running there?"
        try:
            async with session.get(f"{endpoint.url}/models", headers=_headers(endpoint), timeout=aiohttp.ClientTimeout(10)) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BackendError(f"{endpoint.url} does not answer ({type(error).__name__}: {error}); {hint}") from error
        if response.status in (401, 403):
            raise ConfigError(f"{endpoint.url} refuses the API key; name the variable that holds it with --backend-key-env")
        try:
            return {str(model["id"]) for model in json.loads(text)["data"]}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise BackendError(f"{endpoint.url}/models answers HTTP {response.status} and lists no models; {hint}") from error


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


def _refusal(status: int, words: str, headers: Mapping[str, str]) -> ApiError:
    """An error of the server behind, as the client should see it: only what the client can mend keeps its status."""
    if status in (400, 413, 422):
        return ApiError(400, words, code="refused_by_backend")
    if status in (429, 503):
        wait = headers.get("Retry-After", "2")
        return busy(f"the model's server is busy: {words}", int(wait) if wait.isdecimal() else 2)
    return bad_gateway(f"the model's server answered HTTP {status}: {words}")


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    parser = SseParser()
    async for chunk in response.content.iter_any():
        for data in parser.feed(chunk):
            if data == DONE:
                return
            yield json_event(data)


def _piece(event: Mapping[str, Any]) -> Piece:
    usage = usage_of(event.get("usage"))
    choices = event.get("choices")
    if not choices:
        return Piece("", usage=usage)
    choice = choices[0]
    finish = choice.get("finish_reason")
    text = (choice.get("delta") or {}).get("content") or ""
    return Piece(text, finish_reason_of(finish) if finish else None, usage, choice.get("logprobs"))
