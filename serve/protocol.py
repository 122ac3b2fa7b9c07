"""The requests that the gateway takes, strictly typed: the Chat Completions API (platform.openai.com/docs/api-reference/chat).

A field that is not listed here is an error, not a silent no-op, but for `IGNORED`, which change no answer. `PASSED_ON` are for
servers behind the gateway that know them; the in-process backend refuses them, unless they have the value that changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eosin.models.protocols import Sampling
from eosin.serve.errors import ApiError

IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
DEFAULTS: dict[str, Any] = {
    "n": 1,
    "tools": [],
    "tool_choice": "none",
    "modalities": ["text"],
    "logit_bias": {},
    "parallel_tool_calls": True,
}
NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "top_k": -1,
    "min_p": 0,
    "response_format": {"type": "text"},
    "structured_outputs": {},
}
PASSED_ON = frozenset(NEUTRAL)
INSTEAD = {
    "guided_json": 'use response_format={"type": "json_schema", ...}: servers ignore guided_json in silence',
    "guided_regex": 'use structured_outputs={"regex": ...}: servers ignore guided_regex in silence',
    "guided_choice": 'use structured_outputs={"choice": [...]}: servers ignore guided_choice in silence',
    "guided_grammar": 'use structured_outputs={"grammar": ...}: servers ignore guided_grammar in silence',
    "functions": "this assistant calls no functions",
    "tools": "this assistant calls no tools",
    "n": "ask once for each reply",
}
IMAGE_PLACEHOLDERS = ("<image>", "<|image|>", "<|image_pad|>", "<image_soft_token>", "<start_of_image>", "<|vision_start|>", "[IMG]")
MAX_CITATIONS = 50


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    """A text part of a message."""

    type: Literal["text"]
    text: str

    @field_validator("text")
    @classmethod
    def _no_placeholder(cls, text: str) -> str:
        return without_placeholder(text)


class ImageUrl(_Strict):
    """An image as a data URL; `detail` is taken and has no effect."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Strict):
    """An image part of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ApiMessage(_Strict):
    """One turn. `developer` is OpenAI's newer word for `system`; images stand in the user's turns."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart]
    name: str | None = None

    @field_validator("content")
    @classmethod
    def _content(cls, content: str | list[TextPart | ImagePart]) -> str | list[TextPart | ImagePart]:
        return without_placeholder(content) if isinstance(content, str) else content


class EvidenceRequest(_Strict):
    """Ask for evidence: `k` cases of the index, nearest to the question's last image, or to its text where it has none."""

    k: Annotated[int, Field(ge=1, le=MAX_CITATIONS)] = 4


class EosinRequest(_Strict):
    """What Eosin adds to the API."""

    evidence: EvidenceRequest | None = None


class StreamOptions(_Strict):
    """`include_usage` adds the token counts at the end of a stream."""

    include_usage: bool = False


class ChatRequest(_Strict):
    """A chat completion request."""

    messages: Annotated[list[ApiMessage], Field(min_length=1)]
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    eosin: EosinRequest = EosinRequest()

    def sampling(self, default_max_tokens: int) -> Sampling:
        """How the reply is drawn. OpenAI's default temperature is 1; here it is 0, so that an answer can be had again."""
        stop = () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return Sampling(
            max_tokens=self.max_completion_tokens or self.max_tokens or default_max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=stop,
            logprobs=max(1, self.top_logprobs or 0) if self.logprobs else 0,
        )


def without_placeholder(text: str) -> str:
    """The text, refused where it holds a model's mark for an image: the model would look for a picture that is not there.

    Raises:
        ValueError: it does.
    """
    for placeholder in IMAGE_PLACEHOLDERS:
        if placeholder in text:
            raise ValueError(f"the text holds {placeholder}, which models take for an image; attach images as image_url parts instead")
    return text


def read_request(body: Any, passed_on: frozenset[str]) -> tuple[ChatRequest, dict[str, Any]]:
    """A request, checked, and those of its extra fields that the backend knows.

    Args:
        body: the parsed JSON.
        passed_on: the extra fields that the backend knows, of `PASSED_ON`.

    Raises:
        ApiError: 400 that names the field.
    """
    if not isinstance(body, dict):
        raise ApiError(400, f"the body must be a JSON object; got {type(body).__name__}", code="invalid_json")
    fields = {key: value for key, value in body.items() if value is not None and key not in IGNORED}
    fields = {key: value for key, value in fields.items() if key not in DEFAULTS or value != DEFAULTS[key]}
    extra = {key: fields.pop(key) for key in sorted(PASSED_ON & fields.keys())}
    extra = {key: value for key, value in extra.items() if value != NEUTRAL[key]}
    refused = sorted(extra.keys() - passed_on) + sorted(fields.keys() - ChatRequest.model_fields.keys())
    if refused:
        hint = INSTEAD.get(refused[0], "leave it out")
        raise ApiError(400, f"{refused[0]} is not supported here: {hint}", code="unsupported_parameter", param=refused[0])
    try:
        return ChatRequest.model_validate(fields), extra
    except ValidationError as error:
        raise _readable(error) from error


def _readable(error: ValidationError) -> ApiError:
    """The problem that lies deepest, by the request's own names: pydantic also lists the other members of a union, and names them."""
    problem = max(error.errors(include_url=False, include_context=False, include_input=False), key=lambda item: len(item["loc"]))
    place = [str(step) for step in problem["loc"]]
    # A content part reads content, list[...], its number, its type: the second and the last are pydantic's own.
    steps = [step for number, step in enumerate(place) if not (step.startswith("list[") or step == "str" or _is_tag(place, number))]
    param = ".".join(steps)
    message = problem["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)


def _is_tag(place: list[str], number: int) -> bool:
    return number >= 2 and place[number - 1].isdecimal() and place[number - 2].startswith("list[")
