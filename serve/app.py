"""The gateway as one ASGI application: the API's routes, its errors, what stands before them, and the page."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from eosin.errors import EosinError
from eosin.serve.chat import ChatService
from eosin.serve.errors import ApiError, as_api_error
from eosin.serve.middleware import AllowedHosts, BodyLimit, KeyGuard, SecurityHeaders
from eosin.serve.router import ClientLeft, make_router

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """Who may ask, and how much.

    Attributes:
        key: the API key, in ASCII; None lets everybody in.
        max_body_bytes: of a request.
        hosts: the names the server goes by; None allows all.
    """

    key: str | None = None
    max_body_bytes: int = 25 * 2**20
    hosts: Collection[str] | None = None


def create_app(service: ChatService, access: Access) -> FastAPI:
    """The application; the page is added by `eosin.serve.page.mount.mount_page`."""
    # FastAPI's own documentation pages load scripts from another host.
    app = FastAPI(title="Eosin", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(make_router(service))
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(EosinError, _eosin_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientLeft, _client_left)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(Exception, _fault)
    # The one added last is asked first.
    app.add_middleware(BodyLimit, max_bytes=access.max_body_bytes)
    app.add_middleware(KeyGuard, key=access.key)
    app.add_middleware(AllowedHosts, names=access.hosts)
    app.add_middleware(SecurityHeaders)
    return app


async def _api_error(request: Request, error: Exception) -> JSONResponse:
    return error.response if isinstance(error, ApiError) else _server_error()


async def _eosin_error(request: Request, error: Exception) -> JSONResponse:
    return as_api_error(error).response if isinstance(error, EosinError) else _server_error()


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _server_error()
    words = {404: "there is no such path", 405: f"{request.method} is not allowed on this path"}
    message = f"{words.get(error.status_code, error.detail)}: {request.url.path}"
    return ApiError(error.status_code, message, code=str(error.detail).lower().replace(" ", "_"), headers=error.headers or {}).response


async def _client_left(request: Request, error: Exception) -> Response:
    """Nobody is there to read it; 499 is what proxies log for this."""
    return Response(status_code=499)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _server_error()


def _server_error() -> JSONResponse:
    return ApiError(500, "the server failed; its log tells more", "server_error", "internal_error").response
