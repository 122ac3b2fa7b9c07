"""Fields of one JSON element, whatever case its publisher wrote the keys in."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from eosin.data_builders.sources.reading.json_files import BROKEN
from eosin.data_builders.sources.source import Refused
from eosin.records import SPLITS

_SPLITS = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test", "": "none"}
_LITERAL_LIMIT = 1 << 20


def mapping(element: Any) -> Mapping[str, Any]:
    """The element as an object.

    Raises:
        Refused: `broken_record`: a line that is no JSON, or something else than an object.
    """
    if element is BROKEN:
        raise Refused("broken_record", "the line is not readable as JSON")
    if not isinstance(element, Mapping):
        raise Refused("broken_record", f"an object is wanted; got {str(element)[:80]}")
    return element


def field(element: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that is there and not null, upper and lower case aside; else None."""
    lowered = {str(key).lower(): value for key, value in element.items()}
    return next((lowered[name.lower()] for name in names if lowered.get(name.lower()) is not None), None)


def text(element: Mapping[str, Any], *names: str) -> str:
    """A field as stripped text, numbers written out; empty where there is none."""
    value = field(element, *names)
    return str(value).strip() if isinstance(value, (str, int, float)) else ""


def needed(element: Mapping[str, Any], reason: str, *names: str) -> str:
    """Like `text`, but it must be there.

    Raises:
        Refused: `reason`.
    """
    found = text(element, *names)
    if not found:
        raise Refused(reason, f"{' or '.join(names)} is missing or empty; there are: {', '.join(map(str, element))}")
    return found


def texts(value: Any) -> tuple[str, ...]:
    """A text, or a list of texts, without empty ones and repetitions."""
    found = [value] if isinstance(value, str) else value if isinstance(value, Iterable) and not isinstance(value, Mapping) else []
    return tuple(dict.fromkeys(item.strip() for item in found if isinstance(item, str) and item.strip()))


def rest(element: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """What is left for `extra`: all fields but the used and the empty ones."""
    lowered = {name.lower() for name in used}
    return {str(key): value for key, value in element.items() if str(key).lower() not in lowered and value not in (None, "", [], {})}


def split_name(written: str) -> str:
    """A publisher's word for a split as one of ours; a word that is none of them comes back as it is."""
    word = written.strip().lower()
    return _SPLITS.get(word, word)


def planned_split(written: str) -> str:
    """Like `split_name`; a word that is no split counts as `none`, where the record is refused by `checked_split`."""
    found = split_name(written)
    return found if found in SPLITS else "none"


def checked_split(written: str) -> str:
    """Like `split_name`.

    Raises:
        Refused: `unknown_split`.
    """
    found = split_name(written)
    if found not in SPLITS:
        raise Refused("unknown_split", f"its split is {written!r}; allowed: {', '.join(SPLITS)}")
    return found


def repr_list(written: str) -> list[Any] | str:
    """A Python list written out as text, as pandas leaves it in a CSV; text that is none comes back as it is. Nothing is evaluated."""
    if not written.startswith(("[", "(")) or len(written) > _LITERAL_LIMIT:
        return written
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return written
    return list(value) if isinstance(value, (list, tuple)) else written
