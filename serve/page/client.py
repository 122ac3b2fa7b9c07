"""The page's way to the API: the same HTTP requests that any other client sends."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from eosin.errors import BackendError
from eosin.models.sse import DONE, SseParser, error_words, json_event


@dataclass(frozen=True)
class Answer:
    """An answer so far; `citations` come with its end."""

    text: str
    citations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class ApiClient:
    """Asks a gateway.

    Attributes:
        url: its address, without a path.
        key: the API key, where it wants one.
    """

    url: str
    key: str | None = None

    async def ask(self, question: str, image: bytes | None, k: int | None) -> AsyncGenerator[Answer, None]:
        """The answer as it grows; closing the generator cancels the request.

        Args:
            question: the text.
            image: encoded, or None for a question without one.
            k: similar cases to show the model, or None for none.

        Raises:
            BackendError: in the API's own words, what went wrong.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(f"{self.url}/v1/chat/completions", json=_body(question, image, k), headers=headers) as response,
            ):
                if response.status != 200:
                    raise BackendError(error_words(await response.text(errors="replace")))
                async for answer in _answers(response):
                    yield answer
        except aiohttp.ClientError as error:
            raise BackendError(f"the connection to the server broke ({type(error).__name__})") from error


def _body(question: str, image: bytes | None, k: int | None) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if image is not None:
        url = f"data:application/octet-stream;base64,{base64.b64encode(image).decode('ascii')}"
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    more = {} if k is None else {"eosin": {"evidence": {"k": k}}}
    return {"messages": [{"role": "user", "content": content}], "stream": True, **more}


async def _answers(response: aiohttp.ClientResponse) -> AsyncGenerator[Answer, None]:
    parser, text, whole = SseParser(), "", False
    async for chunk in response.content.iter_any():
        for data in parser.feed(chunk):
            if data == DONE:
                continue
            for choice in json_event(data).get("choices", ()):
                whole = whole or choice.get("finish_reason") is not None
                delta = choice["delta"]
                text += delta.get("content") or ""
                yield Answer(text, tuple(delta.get("eosin", {}).get("citations", ())))
    if not whole:
        raise BackendError("the answer was cut off")
