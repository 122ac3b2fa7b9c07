"""The logic of a chat completion: check the request, find the evidence, ask the backend, write the reply as the API has it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from eosin.errors import EosinError
from eosin.evidence import Citation
from eosin.models.protocols import FinishReason, Usage
from eosin.serve.backends.base import Backend, Prompt
from eosin.serve.conversation import Limits, add_evidence, to_chat
from eosin.serve.errors import ApiError, as_api_error
from eosin.serve.evidence import NO_INDEX, EvidenceSource
from eosin.serve.protocol import ChatRequest, read_request

DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True)
class Question:
    """A checked request with what answers it.

    Attributes:
        citations: the evidence, or None where none was asked for.
    """

    request: ChatRequest
    prompt: Prompt
    citations: list[Citation] | None
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


class ChatService:
    """Chat completions of one model.

    Args:
        model: its name in the API.
        backend: what answers.
        evidence: where similar cases are found, or None.
        limits: of one request.
    """

    def __init__(self, model: str, backend: Backend, evidence: EvidenceSource | None = None, limits: Limits | None = None) -> None:
        self.model = model
        self.backend = backend
        self.evidence = evidence
        self._limits = limits or Limits()

    async def prepare(self, body: bytes) -> Question:
        """Check a request and find its evidence; the work is done on a thread, off the event loop.

        Raises:
            ApiError: what is wrong with it.
        """
        return await asyncio.to_thread(self._prepare, body)

    async def complete(self, question: Question) -> dict[str, Any]:
        """The `chat.completion` object.

        Raises:
            ApiError, EosinError: see `Backend.complete`.
        """
        completion = await self.backend.complete(question.prompt)
        message: dict[str, Any] = {"role": "assistant", "content": completion.text}
        if question.citations is not None:
            message["eosin"] = _citations(question.citations)
        choice = {"index": 0, "message": message, "logprobs": completion.logprobs, "finish_reason": completion.finish_reason}
        return self._object("chat.completion", question, [choice], usage=_usage(completion.usage))

    async def events(self, question: Question) -> AsyncGenerator[bytes, None]:
        """The server-sent events of a streamed reply, `data: [DONE]` last.

        An error before the first event is raised; a later one is sent as an event, and neither `[DONE]` nor a finish reason follows.
        """
        started = False
        try:
            async with aclosing(self._chunks(question)) as chunks:
                async for chunk in chunks:
                    yield _event(chunk)
                    started = True
        except (ApiError, EosinError) as error:
            if not started:
                raise
            yield _event((error if isinstance(error, ApiError) else as_api_error(error)).body)
            return
        yield b"data: [DONE]\n\n"

    async def _chunks(self, question: Question) -> AsyncGenerator[dict[str, Any], None]:
        finish: FinishReason | None = None
        usage: Usage | None = None
        opened = False
        async with aclosing(self.backend.stream(question.prompt)) as pieces:
            async for piece in pieces:
                if not opened:
                    yield self._chunk(question, {"role": "assistant", "content": ""})
                    opened = True
                finish, usage = piece.finish_reason or finish, piece.usage or usage
                if piece.text or piece.logprobs:
                    yield self._chunk(question, {"content": piece.text}, logprobs=piece.logprobs)
        if finish is None:
            raise ApiError(502, "the model's reply ended without a finish reason: it was cut off", "backend_error", "backend_failed")
        yield self._chunk(question, {}, finish)
        last = self._last_chunk(question, finish, usage)
        if last is not None:
            yield last

    def _last_chunk(self, question: Question, finish: FinishReason, usage: Usage | None) -> dict[str, Any] | None:
        """What comes after the finish reason: the token counts and the citations, whichever were asked for."""
        options = question.request.stream_options
        more = {"usage": _usage(usage or Usage(0, 0))} if options is not None and options.include_usage else {}
        if question.citations is None:
            return self._object("chat.completion.chunk", question, [], **more) if more else None
        eosin = {"eosin": _citations(question.citations)}
        # Under `delta`, where clients that merge a stream look, and under `message`, the path of a reply that is not streamed.
        choice = {"index": 0, "delta": eosin, "message": eosin, "logprobs": None, "finish_reason": finish}
        return self._object("chat.completion.chunk", question, [choice], **more)

    def _chunk(self, question: Question, delta: dict[str, Any], finish: FinishReason | None = None, logprobs: Any = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._object("chat.completion.chunk", question, [choice])

    def _object(self, kind: str, question: Question, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"id": question.id, "object": kind, "created": question.created, "model": self.model, "choices": choices, **more}

    def _prepare(self, body: bytes) -> Question:
        request, extra = read_request(_parse(body), self.backend.passed_on)
        if request.model is not None and request.model != self.model:
            message = f"there is no model {request.model!r} here; this server has {self.model!r}"
            raise ApiError(404, message, code="model_not_found", param="model")
        wanted = request.eosin.evidence
        if wanted is not None and self.evidence is None:
            raise ApiError(400, NO_INDEX, code="no_index", param="eosin.evidence")
        chat = to_chat(request.messages, self._limits)
        citations = None
        if wanted is not None and self.evidence is not None:
            citations = self.evidence.find(chat, wanted.k)
            chat = add_evidence(chat, citations)
        return Question(request, Prompt(chat, request.sampling(DEFAULT_MAX_TOKENS), extra), citations)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _usage(usage: Usage) -> dict[str, int]:
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}


def _citations(citations: list[Citation]) -> dict[str, Any]:
    return {"citations": [asdict(citation) for citation in citations]}
