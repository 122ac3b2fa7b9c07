"""Edit operations on a text, written by a model and applied by code: what does not apply is counted, never guessed.

PathGen-1.6M's revise agent (Sun et al. 2024, arXiv 2407.00203) writes such operations; the words between them stay the describer's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

OUTCOMES = ("applied", "absent", "ambiguous", "idle")
_ENDS = tuple(".,;:!?)")


def apply_edits(text: str, operations: Sequence[Mapping[str, str]]) -> tuple[str, dict[str, int]]:
    """The text after the operations, one after another, each on what the one before left.

    Args:
        text: to be edited.
        operations: `{"op": "replace", "find": a, "text": b}`, `{"op": "delete", "find": a}` or `{"op": "insert", "find": a, "text": b}`,
            which puts b behind a, or at the end of the text where a is empty. `find` matches whole words, with their case.

    Returns:
        The text, and how many operations were `applied`; were not because what they look for is `absent` or there more than once
        (`ambiguous`); or would have changed nothing (`idle`).
    """
    counts = Counter[str]()
    for operation in operations:
        text, outcome = _apply(text, operation["op"], operation.get("find", "").strip(), operation.get("text", "").strip())
        counts[outcome] += 1
    return text, {name: counts[name] for name in OUTCOMES}


def _apply(text: str, kind: str, find: str, new: str) -> tuple[str, str]:
    if kind == "insert" and not find:
        return (_behind(text, new), "applied") if new else (text, "idle")
    places = [match.start() for match in re.finditer(_whole_words(find), text)] if find else []
    if len(places) != 1:
        return text, "ambiguous" if places else "absent"
    if find == new or (kind == "insert" and not new):
        return text, "idle"
    before, after = text[: places[0]], text[places[0] + len(find) :]
    if kind == "insert":
        return _behind(before + find, new) + _apart(new, after), "applied"
    if kind == "replace" and new:
        return before + new + after, "applied"
    return _closed_up(before, after), "applied"


def _whole_words(find: str) -> str:
    left = r"(?<!\w)" if re.match(r"\w", find) else ""
    right = r"(?!\w)" if re.search(r"\w\Z", find) else ""
    return left + re.escape(find) + right


def _behind(text: str, new: str) -> str:
    return f"{text}{new}" if not text or text.endswith(" ") or new.startswith(_ENDS) else f"{text} {new}"


def _apart(new: str, after: str) -> str:
    return f" {after}" if after and (after[0].isalnum() or after[0] == "(") and not new.endswith((" ", "(")) else after


def _closed_up(before: str, after: str) -> str:
    """What is left around a deleted piece: one space where there were two, none before a mark."""
    if not before:
        return after.lstrip(" ")
    return before.rstrip(" ") + after if not after or after.startswith((" ", *_ENDS)) else before + after
