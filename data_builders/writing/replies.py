"""A model's reply as data: one JSON object that fits its schema, or a refusal with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from eosin.errors import ConfigError, InputError, MissingDependency

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)


class Refused(InputError):
    """A reply that is not taken.

    Args:
        reason: the short, stable name that is counted in the rejects, such as `not_json`.
        message: what is wrong, in words that can be sent back to the model.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{message} [{reason}]")
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        return type(self), (self.reason, self.message)


def check_schema(schema: Mapping[str, Any]) -> None:
    """See to it that `schema` is a JSON schema (2020-12) of an object.

    Raises:
        ConfigError: it is not.
        MissingDependency: jsonschema is not installed.
    """
    from jsonschema.exceptions import SchemaError

    try:
        _validator().check_schema(dict(schema))
    except SchemaError as error:
        raise ConfigError(f"the schema is no JSON schema: {error.message}") from error
    if schema.get("type") != "object":
        raise ConfigError(f"the schema's type is {schema.get('type')!r}; an answer is an object")


def parse_reply(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The object in a reply.

    A thought in <think> tags before it and a code fence around it are taken off; any other word beside the object is refused, for
    nobody would notice what was cut.

    Raises:
        Refused: `not_json`, `not_in_schema`, or `not_text` (text that is no Unicode).
        MissingDependency: jsonschema is not installed.
    """
    bare = _THOUGHT.sub("", text).strip()
    fenced = _FENCE.match(bare)
    try:
        value = json.loads(fenced.group(1) if fenced else bare, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("not_json", f"The answer is not one JSON object ({error})") from error
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Refused("not_text", "The answer holds half of a character (a lone surrogate)") from error
    problem = schema_problem(value, schema)
    if problem:
        raise Refused("not_in_schema", f"The answer does not fit the schema: {problem}")
    return dict(value)


def schema_problem(value: object, schema: Mapping[str, Any]) -> str | None:
    """What does not fit, in words, or None."""
    errors = sorted(_validator()(dict(schema)).iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    if not errors:
        return None
    where = "/".join(str(part) for part in errors[0].absolute_path)
    return f"{where}: {errors[0].message:.300}" if where else f"{errors[0].message:.300}"


def _validator() -> Any:
    try:
        from jsonschema import Draft202012Validator
    except ModuleNotFoundError as error:
        raise MissingDependency("jsonschema", "data") from error
    return Draft202012Validator


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
