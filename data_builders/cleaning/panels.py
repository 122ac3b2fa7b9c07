"""Captions of compound figures, cut into the part of each panel.

Three ways of writing are read: labels in brackets, "(a) ...; (b) ..."; bare labels, "A, ... B, ..." or "A: ... B: ..."; places,
"Left: ... Right: ...". A label may name several panels: "(A-C)", "A and B,"; and stand behind its kind: "Panel A: ...". Letters must run on
from A without a gap, each before its text; a caption that does not hold to that is not split by guessing: the answer says why.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Literal

NotSplitReason = Literal["no_labels", "one_label", "labels_follow_text", "empty_panel", "gap"]

_LETTERS = r"[A-Za-z](?:\s*(?:,|&|and|[-–—]|to)\s*[A-Za-z])*"
_BRACKETED = re.compile(rf"\(\s*(?:panels?\s+)?({_LETTERS})\s*\)[\s:,.–-]*", re.IGNORECASE)
_START = r"(?:(?<=^)|(?<=[.;:)\n]\s)|(?<=[.;\n]))"
_BARE = re.compile(
    _START + r"(?i:panels?\s+)?([A-Z](?:\s*(?:,|&|and|[-–—])\s*[A-Z])*|[a-z](?:\s*(?:,|&|and|[-–—])\s*[a-z])*)"
    r"(?:\s*[,:)]|\.|\s+[-–—])(?=\s)\s*"
)
_PLACE_WORD = (
    r"(?:(?:upper|lower|top|bottom|middle|central?)[\s-]+(?:left|right|middle|cent(?:er|re)|row|panels?)|left|right|upper|lower|top|bottom"
    r"|middle|cent(?:er|re))"
)
_PLACES = re.compile(rf"{_START}\(?({_PLACE_WORD})(?:[\s-]+(?:panels?|images?|side|column))?\)?\s*[:,]\s+", re.IGNORECASE)
_RANGE = re.compile(r"([A-Za-z])\s*(?:[-–—]|\bto\b)\s*([A-Za-z])")
_SINGLE = re.compile(r"[A-Za-z]")
# What stands right behind a label that belongs to the words before it: "glands (A) and stroma (B)".
_FOLLOWS = re.compile(r"\s*(?:[,;.]|(?:and|or|but|as|is|are|was|were|in|of|with|which|that|from|by|than)\b)", re.IGNORECASE)
# "higher power in (B)" speaks of another panel; before the first label the same words lead to it: "photographs of (a) glands".
_REFERS = re.compile(r"\b(?:in|of|see|from|than|with|as|to|at|and|box|boxed|panels?|shown)\s+$", re.IGNORECASE)
# "tumour (T) and stroma (S)" are marks in the picture; the label of a panel opens a part.
_OPENS = re.compile(r"(?:[.,;:\n]\s*|\band\s+)$", re.IGNORECASE)
_LOOSE_ENDS = re.compile(r"(?:[\s,;:–-]|\band\b)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Panel:
    """A part of a caption.

    Attributes:
        labels: of the panels it is about, in capitals ("A"), or a place ("upper left").
        mark: the label as it stands in the caption.
        body: all up to the next label.
    """

    labels: tuple[str, ...]
    mark: str
    body: str

    @property
    def text(self) -> str:
        """The body without the marks that lead to the next label."""
        return _LOOSE_ENDS.sub("", self.body.strip())


@dataclass(frozen=True)
class Panels:
    """A split caption: `prefix`, then `mark` and `body` of each part, are the caption, to the character."""

    prefix: str
    parts: tuple[Panel, ...]

    def of(self, label: str) -> str | None:
        """What is said of one panel, behind what is said of all; None where the caption has no such panel."""
        wanted = label.strip(" ().:").upper()
        part = next((part for part in self.parts if wanted in {name.upper() for name in part.labels}), None)
        if part is None:
            return None
        return " ".join(piece for piece in (self.prefix.strip(), part.text) if piece)


@dataclass(frozen=True)
class NotSplit:
    """Why a caption was left whole.

    `no_labels`: it is of one picture. `one_label`: there is no second one. `labels_follow_text`: "glands (A) and stroma (B)" cannot be cut
    without a grammar. `empty_panel`: nothing is said of one of them. `gap`: a letter is left out, so that nobody knows whose text it is; a
    legend's letters make none.
    """

    reason: NotSplitReason


def split_panels(caption: str) -> Panels | NotSplit:
    """The parts of a caption, or why it has none."""
    reasons: list[NotSplitReason] = []
    for chain in (_letters(caption, _BRACKETED), _letters(caption, _BARE), _places(caption)):
        if isinstance(chain, NotSplit):
            return chain
        if len(chain) < 2:
            reasons.append("one_label" if chain else "no_labels")
            continue
        found = _cut(caption, chain)
        if isinstance(found, Panels):
            return found
        reasons.append(found.reason)
    worst: tuple[NotSplitReason, ...] = ("labels_follow_text", "empty_panel", "one_label", "no_labels")
    return NotSplit(next(reason for reason in worst if reason in reasons))


Chain = list[tuple[re.Match[str], tuple[str, ...]]]


def _letters(caption: str, pattern: re.Pattern[str]) -> Chain | NotSplit:
    """The labels that run on from A; others (a panel named again in another's text, the marks of a legend) are text, but for one that skips
    letters as a panel would: a `gap`."""
    chain: Chain = []
    upcoming, capital = "A", False
    matches = list(pattern.finditer(caption))
    for number, match in enumerate(matches):
        written = match.group(1)
        labels = _expand(written)
        if not labels or (chain and written[0].isupper() != capital) or (chain and pattern is _BRACKETED and _is_reference(caption, match)):
            continue
        if labels[0] != upcoming:
            # "T: tumour; S: stroma" at the end is a legend: a panel is the next but one, or has others behind it.
            opens = chain and labels[0] > upcoming and _opens_part(caption, match, chain[0][0])
            near = ord(labels[0]) == ord(upcoming) + 1 or len(labels) > 1
            if opens and (near or _runs_on(caption, labels[-1], matches[number + 1 : number + 2], chain[0][0])):
                return NotSplit("gap")
            continue
        capital = written[0].isupper()
        chain.append((match, labels))
        if labels[-1] == "Z":
            break
        upcoming = chr(ord(labels[-1]) + 1)
    return chain


def _runs_on(caption: str, letter: str, behind: list[re.Match[str]], first: re.Match[str]) -> bool:
    """Whether the label behind opens a part too, and is the next letter."""
    return any(_expand(match.group(1))[:1] == (chr(ord(letter) + 1),) and _opens_part(caption, match, first) for match in behind)


def _is_reference(caption: str, match: re.Match[str]) -> bool:
    """Whether a label in brackets is an object of the words before it, and ends there: "as in (B)."."""
    closed = caption[match.start() :].partition(")")[2]
    return _REFERS.search(caption, 0, match.start()) is not None and (not closed.strip() or closed.lstrip()[0] in ".;,:")


def _opens_part(caption: str, match: re.Match[str], first: re.Match[str]) -> bool:
    """Whether a letter stands and is marked as the caption's first label is, and is no genus: "E. coli"."""
    mark, behind = match.group(0).rstrip()[-1:], caption[match.end() :]
    return _OPENS.search(caption, 0, match.start()) is not None and (
        mark == ")" or (mark == first.group(0).rstrip()[-1:] and not (mark == "." and behind[:1].islower()))
    )


def _expand(written: str) -> tuple[str, ...]:
    """ "A-C" is A, B, C; empty where letters do not follow one another."""
    opened = _RANGE.sub(lambda found: _between(found.group(1).upper(), found.group(2).upper()), written)
    labels = tuple(letter.upper() for letter in _SINGLE.findall(re.sub(r"\b(?:and|to)\b", " ", opened, flags=re.IGNORECASE)))
    steps = [ord(after) - ord(before) for before, after in itertools.pairwise(labels)]
    return labels if all(step == 1 for step in steps) else ()


def _between(first: str, last: str) -> str:
    return ",".join(chr(number) for number in range(ord(first), ord(last) + 1))


def _places(caption: str) -> Chain:
    """Places, each once."""
    chain: Chain = []
    seen: set[str] = set()
    for match in _PLACES.finditer(caption):
        name = " ".join(re.split(r"[\s-]+", match.group(1).casefold()))
        if name not in seen:
            seen.add(name)
            chain.append((match, (name,)))
    return chain


def _cut(caption: str, chain: Chain) -> Panels | NotSplit:
    """Cut before each label."""
    ends = [match.start() for match, _ in chain[1:]] + [len(caption)]
    parts = tuple(
        Panel(labels, caption[match.start() : match.end()], caption[match.end() : end])
        for (match, labels), end in zip(chain, ends, strict=True)
    )
    spoken = [any(character.isalnum() for character in part.text) for part in parts]
    if chain[0][0].start() and (not spoken[-1] or any(_FOLLOWS.match(_after_bracket(part)) for part in parts)):
        return NotSplit("labels_follow_text")
    if not all(spoken):
        return NotSplit("empty_panel")
    return Panels(caption[: chain[0][0].start()], parts)


def _after_bracket(part: Panel) -> str:
    """What follows the bare label, with the marks that the label's pattern took in."""
    mark = part.mark
    return (mark[mark.rindex(")") + 1 :] if ")" in mark else "") + part.body
