"""The routes of the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from eosin.serve.chat import ChatService, Question
from eosin.serve.errors import ApiError

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection before it had its answer."""


class EventStream(StreamingResponse):
    """Server-sent events; the source is closed whatever ends the response, so that the work behind it stops."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_from(first, rest), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._rest.aclose()


def make_router(service: ChatService) -> APIRouter:
    """`/v1/chat/completions`, `/v1/models`, `/healthz`, and `/`, which leads to the page."""
    router = APIRouter()
    started = int(time.time())
    model = {"id": service.model, "object": "model", "created": started, "owned_by": "eosin"}

    @router.get("/")
    async def to_page() -> Response:
        return RedirectResponse("/ui", 307)

    @router.get("/healthz")
    async def health() -> Response:
        problem = service.backend.problem
        backend = service.backend
        facts = {"model": service.model, "backend": backend.kind, "waiting": backend.waiting, "evidence": service.evidence is not None}
        if problem is None:
            return JSONResponse({"status": "ok", **facts})
        return JSONResponse({"status": "unavailable", "problem": problem, **facts}, 503)

    @router.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        if name != service.model:
            raise ApiError(404, f"there is no model {name!r} here; this server has {service.model!r}", code="model_not_found")
        return JSONResponse(model)

    @router.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        _check_content_type(request)
        body = await request.body()
        return await _unless_left(request, _answer(service, body))

    return router


def _check_content_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"Content-Type must be application/json; got {kind or 'none'}", code="unsupported_content_type")


async def _answer(service: ChatService, body: bytes) -> Response:
    question = await service.prepare(body)
    if not question.request.stream:
        return JSONResponse(await service.complete(question))
    return await _stream(service, question)


async def _stream(service: ChatService, question: Question) -> Response:
    """The first event is awaited here, so that an error before it still gets its own HTTP status."""
    events = service.events(question)
    first = await anext(events)
    return EventStream(first, events)


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in rest:
        yield event


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; when the client leaves first, the work is cancelled.

    Raises:
        ClientLeft: it did.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft
        return task.result()
    finally:
        leaving.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
