"""What stands before every route, the page's own too: allowed hosts, the API key, the body limit, security headers.

Written against ASGI itself, because they must see streams and uploads as they pass.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import Collection, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eosin.serve.errors import ApiError

DISCARD_BYTES = 256 * 2**20
DISCARD_SECONDS = 15.0
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds headers that keep a browser from framing the page, guessing types or loading anything from elsewhere.

    Gradio's page needs inline scripts and styles, so the policy allows these; it allows no other host.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                page = is_page(scope["path"])
                headers["Content-Security-Policy"] = _PAGE_POLICY if page else _API_POLICY
                if not page:
                    headers["Cache-Control"] = "no-store"
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)


class AllowedHosts:
    """Refuses requests to names this server does not go by.

    A server on the loopback address can be reached by any web page that makes its own name resolve to 127.0.0.1 (DNS rebinding);
    such requests carry that name in `Host`.

    Args:
        names: the allowed names; None allows all.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._names is not None:
            host = host_name(Headers(scope=scope).get("host", ""))
            if host not in self._names:
                message = f"this server does not go by the name {host!r}; start it with --allow-host {host or 'NAME'} if it should"
                await ApiError(403, message, code="unknown_host").response(scope, receive, send)
                return
        await self._app(scope, receive, send)


class KeyGuard:
    """Asks for the API key: as a bearer token everywhere, and on the page also as the password of HTTP Basic, which browsers can ask for.

    Args:
        key: the key, in ASCII; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or self._key is None or path in ("/", "/healthz"):
            await self._app(scope, receive, send)
            return
        page = is_page(path)
        presented = presented_key(Headers(scope=scope).get("authorization", ""), basic=page)
        if presented is not None and hmac.compare_digest(presented.encode(), self._key.encode()):
            await self._app(scope, receive, send)
            return
        message = "the API key is missing" if presented is None else "the API key is wrong"
        challenge = 'Basic realm="Eosin: any user name, the API key as password"' if page else "Bearer"
        error = ApiError(
            401, f"{message}; send it as Authorization: Bearer KEY", code="invalid_api_key", headers={"WWW-Authenticate": challenge}
        )
        await error.response(scope, receive, send)


class BodyLimit:
    """Answers 413 to bodies over a limit, whether they announced their length or grew over it; nothing past the limit is kept.

    Args:
        max_bytes: the limit.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            if headers.get("expect", "").lower() != "100-continue":
                await self._discard(receive)
            await self._refusal().response(scope, receive, send)
            return
        body = _CountedBody(receive, send, self._max_bytes)
        try:
            await self._app(scope, body.receive, body.send)
        except ClientDisconnect:
            if not body.over:
                raise
        if body.over and not body.answered:
            await self._discard(receive)
            await self._refusal().response(scope, receive, send)

    async def _discard(self, receive: Receive) -> None:
        """Reads on for a while and keeps nothing.

        Most clients send all of a body before they read the answer. A connection closed on unread bytes is reset, and a reset throws
        away the answer that was on its way: the client would see a broken connection instead of the reason.
        """
        left = DISCARD_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while left > 0:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))

    def _refusal(self) -> ApiError:
        limit = f"{self._max_bytes / 2**20:g} MB"
        message = f"the request is larger than {limit}, the most this server takes; send a smaller image, or start it with --max-body-mb"
        return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})


class _CountedBody:
    """Counts what comes in. Past the limit the application is told that the client left, and what it then says is dropped."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left = max_bytes
        self.over = False
        self.answered = False

    async def receive(self) -> Message:
        if self.over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.over = True
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.over and not self.answered:
            return
        self.answered = True
        await self._send(message)


def is_page(path: str) -> bool:
    """Whether a path belongs to the page."""
    return path == "/ui" or path.startswith("/ui/")


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def presented_key(authorization: str, *, basic: bool) -> str | None:
    """The key in an Authorization header, or None where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def allowed_names(host: str, more: Iterable[str]) -> frozenset[str] | None:
    """The names of a server bound to `host`: on the loopback address a closed list, elsewhere any unless some are given."""
    given = frozenset(name.lower() for name in more)
    loopback = frozenset({"127.0.0.1", "localhost", "::1"})
    if host in loopback:
        return loopback | given
    return loopback | given | {host.lower()} if given else None
