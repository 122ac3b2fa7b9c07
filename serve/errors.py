"""Errors as OpenAI's API gives them: `{"error": {"message", "type", "param", "code"}}`, whatever went wrong and where.

In the middle of a stream the same object comes as `data: {"error": {...}}`; the OpenAI client raises it as `APIError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import JSONResponse

from eosin.errors import BackendError, EosinError, ImageError, MissingDependency, UserError

INVALID = "invalid_request_error"


@dataclass
class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        message: what came, what is allowed, what to do.
        type: OpenAI's class of error, such as `invalid_request_error`.
        code: a short stable name for programs.
        param: the field of the request that is wrong, such as `messages.0.content.1.image_url`.
        headers: of the answer, such as Retry-After.
    """

    status: int
    message: str
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body, self.status, headers=dict(self.headers))


def busy(message: str, seconds: int = 2) -> ApiError:
    """503 that says when to come back."""
    return ApiError(503, message, "overloaded_error", "overloaded", headers={"Retry-After": str(seconds)})


def bad_gateway(message: str) -> ApiError:
    """502: the server behind the gateway failed or broke the protocol."""
    return ApiError(502, message, "backend_error", "backend_failed")


def backend_timeout(message: str) -> ApiError:
    """504: the server behind the gateway sent nothing for too long."""
    return ApiError(504, message, "backend_error", "backend_timeout")


def as_api_error(error: EosinError) -> ApiError:
    """An error of Eosin's own tree, as the API gives it."""
    if isinstance(error, ImageError):
        return ApiError(400, f"the image cannot be used: {error}", code=f"image_{error.reason}")
    if isinstance(error, MissingDependency):
        return ApiError(500, str(error), "server_error", "missing_dependency")
    if isinstance(error, UserError):
        return ApiError(400, str(error), code="invalid_input")
    if isinstance(error, BackendError):
        return bad_gateway(str(error))
    return ApiError(500, str(error), "server_error", "internal_error")
