"""Word lists out of YAML files, as patterns.

A term stands for whole words; `*` at its end for any ending, at its start for up to four words before it. A term with a capital (CT, pT*)
counts only as it is written, any other in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from eosin.config import load_recipe
from eosin.errors import ConfigError


@dataclass(frozen=True)
class WordLists:
    """Lists by name. `version` goes up when a list changes; it is written into the plan with the lists."""

    version: int
    lists: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        empty = [name for name, terms in self.lists.items() if not terms or not all(term.strip(" *") for term in terms)]
        if empty:
            raise ConfigError(f"word lists: {', '.join(empty)} has an empty term, or none")


def load_word_lists(name: str) -> WordLists:
    """A file of lists: a path, or a name below `eosin.configs/cleaning`.

    Raises:
        ConfigError: there is none, or it is not one.
    """
    return load_recipe(WordLists, name if name.endswith((".yaml", ".yml")) else f"cleaning/{name}")


def pattern_of(terms: Iterable[str]) -> re.Pattern[str]:
    """One pattern for all terms of a list; longer ones first, so that they win."""
    pieces = []
    for term in sorted(terms, key=lambda term: (-len(term), term)):
        body = re.escape(term.strip("*")).replace(r"\ ", r"\s+")
        body = (r"(?:[\w/]+[ \t]+){0,4}" if term.startswith("*") else "") + body + (r"\w*" if term.endswith("*") else "")
        pieces.append(body if term.lower() != term else f"(?i:{body})")
    return re.compile(rf"(?<!\w)(?:{'|'.join(pieces)})(?!\w)")
