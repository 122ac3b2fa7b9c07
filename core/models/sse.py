"""Server-sent events, as chat servers stream them (WHATWG HTML, section 9.2): bytes in, the data of each event out."""

from __future__ import annotations

import json
from typing import Any

from eosin.errors import BackendError

DONE = "[DONE]"
MAX_EVENT_BYTES = 32 * 2**20
# Of JSON: no JSON, or a number of thousands of digits; brackets within brackets without end.
_UNREADABLE = (ValueError, RecursionError)


class SseParser:
    """Cuts a byte stream into events, wherever the network cut it.

    Lines end at CR, LF or CRLF only: the other line breaks of Unicode may stand inside JSON, where `str.splitlines` would cut it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that `chunk` completes; comments, names and ids are dropped.

        Raises:
            BackendError: an event is longer than 32 MiB, or not UTF-8.
        """
        buffered = self._rest + chunk
        # A CR at the end may be the first half of CRLF: it waits for the next chunk.
        held = b"\r" if buffered.endswith(b"\r") else b""
        text = buffered[: len(buffered) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        if len(self._rest) + sum(map(len, self._data)) > MAX_EVENT_BYTES:
            raise BackendError(f"the server sent an event of more than {MAX_EVENT_BYTES} bytes")
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(self._event())
        return events

    def _event(self) -> str:
        data, self._data = b"\n".join(self._data), []
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BackendError("the server's stream is not UTF-8") from error


def json_event(data: str) -> dict[str, Any]:
    """An event's data as a JSON object.

    Raises:
        BackendError: it is none, or it is an error object.
    """
    try:
        value = json.loads(data)
    except _UNREADABLE as error:
        raise BackendError(f"the server's reply is not JSON: {data[:200]!r}") from error
    if not isinstance(value, dict):
        raise BackendError(f"the server's reply is no JSON object: {data[:200]!r}")
    if value.get("error"):
        raise BackendError(f"the server failed while it replied: {error_words(data)}")
    return value


def error_words(text: str) -> str:
    """What a server says is wrong: the message of OpenAI's error object, else the start of the body."""
    try:
        error = json.loads(text).get("error")
    except (*_UNREADABLE, AttributeError):
        return text[:300].strip() or "no message"
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error or text[:300])
