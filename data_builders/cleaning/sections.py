"""The sections of a pathology report, found by their headings."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from eosin.data_builders.cleaning.word_lists import WordLists, pattern_of
from eosin.errors import ConfigError

VISIBLE, LINE = "visible", "line"
_BEHIND = r"[^\S\n]*(?:\([^)\n]{0,60}\))?[^\S\n]*"
_SENTENCE_END = re.compile(r"[.;:!?)]\s+$")


@dataclass(frozen=True)
class Section:
    """A piece of a report.

    Attributes:
        name: of the list its heading is in; empty before the first heading.
        heading: as it stands there, empty where the piece has none.
        body: all up to the next heading.
    """

    name: str
    heading: str
    body: str


def split_sections(text: str, headings: WordLists) -> list[Section]:
    """The sections in their order; headings and bodies, joined, are the text.

    A heading stands at the start of a line, with a colon or alone on it. Within a line, as where a system has run a report together, it
    needs a colon, and capitals throughout or the end of a sentence before it.

    Raises:
        ConfigError: the lists have none called `visible`.
    """
    if VISIBLE not in headings.lists:
        raise ConfigError(f"report headings: a list called {VISIBLE} is wanted; there are {', '.join(headings.lists)}")
    found = list(_headings(text, headings))
    pieces = [Section("", "", text[: found[0][0]] if found else text)]
    current = ""
    for place, (start, stop, name) in enumerate(found):
        end = found[place + 1][0] if place + 1 < len(found) else len(text)
        if name != LINE:
            current = name
            pieces.append(Section(name, text[start:stop], text[stop:end]))
            continue
        line = text.find("\n", stop, end)
        line = end if line < 0 else line
        pieces.append(Section(LINE, text[start:stop], text[stop:line]))
        pieces.append(Section(current, "", text[line:end]))
    return [piece for piece in pieces if piece.heading or piece.body]


def _headings(text: str, headings: WordLists) -> Iterator[tuple[int, int, str]]:
    """Start, end and list of each heading, none within another."""
    pattern, names = _pattern(tuple(headings.lists.items()))
    reached = 0
    for match in pattern.finditer(text):
        if match.start() < reached or not _opens(text, match):
            continue
        words = match.group("words")
        name = next(name for name, own in names if own.fullmatch(words))
        yield match.start(), match.end(), name
        reached = match.end()


def _opens(text: str, match: re.Match[str]) -> bool:
    """Whether these words are a heading where they stand."""
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    if not line.strip(" \t#*_-•>"):
        return True
    if match.group("mark") == "":
        return False
    words = match.group("words")
    return words.isupper() or (words[0].isupper() and match.group("mark") in ":;" and _SENTENCE_END.search(line) is not None)


@functools.lru_cache(maxsize=4)
def _pattern(lists: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[re.Pattern[str], tuple[tuple[str, re.Pattern[str]], ...]]:
    every = pattern_of(term for _, terms in lists for term in terms).pattern
    whole = re.compile(rf"(?P<words>{every}){_BEHIND}(?P<mark>[:;]|(?=\n|\Z)|\.(?=\s))")
    return whole, tuple((name, pattern_of(terms)) for name, terms in lists)
