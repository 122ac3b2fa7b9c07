"""What UTF-8 and JSON can hold: texts of whole characters, numbers that are finite, nesting that any reader can follow."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 100


def json_text(value: Any) -> str:
    """A value as JSON, keys sorted. NaN and the infinities, for which JSON has no numbers, become the texts `NaN`, `Infinity` and
    `-Infinity`."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), sort_keys=True, ensure_ascii=False, allow_nan=False)


def unwritable(value: Any, depth: int = 0) -> tuple[str, str] | None:
    """Why a record, or a part of one, cannot be stored; None where it can.

    Returns:
        (reason, message): `broken_text`: a text holds half of a character (a lone surrogate); `nested_too_deep`: over `DEEPEST` levels.
    """
    if isinstance(value, str):
        return None if _is_whole(value) else ("broken_text", f"a text holds half of a character (a lone surrogate): {value[:60]!r}")
    if dataclasses.is_dataclass(value):
        parts = [getattr(value, item.name) for item in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return None
    if depth > DEEPEST:
        return "nested_too_deep", f"its fields are nested over {DEEPEST} levels deep"
    return next((why for part in parts if (why := unwritable(part, depth + 1)) is not None), None)


def whole_text(text: str) -> str:
    """The text, with halves of characters written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
