"""Of a pathology report the sentences that an H&E section can show.

A model that is taught to write the patient's history, stains that it is not shown, weights or margins learns to invent them. Sections are
judged by their headings, sentences by the words in them, clauses by their measurements; what is not kept is kept apart, with the reason.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from eosin.data_builders.cleaning.rules.patient_data import PATTERNS
from eosin.data_builders.cleaning.sections import LINE, VISIBLE, split_sections
from eosin.data_builders.cleaning.sentences import split_sentences
from eosin.data_builders.cleaning.word_lists import WordLists, load_word_lists, pattern_of

# Not mm2: mitoses are counted by area, and can be seen.
_MEASUREMENT = re.compile(
    r"\d[\d.,]*\s?(?:(?:mm|cm)?\s?(?:[x×]|by|bij)\s?\d[\d.,]*\s?)*(?:mm|cm|cc|ml|kg|gr?|grams?|milliliters?)\b(?![²2])", re.IGNORECASE
)
_CLAUSE = re.compile(r"(?<=[,;])\s+(?![^()]*\))|\s+(?=\([^()]*\))|(?<=\))\s+")
_DATE = re.compile(r"\W*\d{1,2}\W+(?:[A-Za-z]{3,9}|\d{1,2})\W*(?:\d{2,4})?\W*")
_NODES = re.compile(
    r"\b(?:nodes?|lymfe?klier(?:en)?)\b[^.;]*?\b\d+\s*(?:/|(?:out\s+)?of|van)\s*\d+"
    r"|\b\d+\s*(?:/|(?:out\s+)?of|van(?:\s+de)?)\s*\d+[^.;]*?\b(?:nodes?|lymfe?klier(?:en)?)\b",
    re.IGNORECASE,
)
# "DOB: [date_of_birth]": the field of a form, not a finding.
_MASK = re.compile(r"\[(?:" + "|".join(PATTERNS) + r")\]")
_FIELD_WORDS = 3
_ANY_WORD = re.compile(r"[^\W\d_]{2,}")
# A diagnosis may be one word ("Adenocarcinoma."), initials and codes of blocks are shorter.
_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class ReportWords:
    """Headings by section, and words by what a sentence speaks of."""

    headings: WordLists
    sentences: WordLists


@dataclass(frozen=True)
class ReportPiece:
    """A heading, sentence or clause: as it stands in the report, and why it is dropped, empty where it is kept."""

    text: str
    reason: str = ""


@dataclass(frozen=True)
class VisibleReport:
    """A report's visible part: `text`, and what was dropped, headings left out."""

    text: str
    dropped: tuple[ReportPiece, ...]


def load_report_words(headings: str = "report_headings", sentences: str = "report_sentences") -> ReportWords:
    """The lists: files, or names below `eosin.configs/cleaning`.

    Raises:
        ConfigError: see `load_word_lists`.
    """
    return ReportWords(load_word_lists(headings), load_word_lists(sentences))


def visible_report(report: str, words: ReportWords) -> VisibleReport:
    """The sentences that can be shown, with the report's line breaks and one after each section, and the others.

    A line of the result may begin with what looks like a heading again, so it is judged until it stays as it is.
    """
    dropped: list[ReportPiece] = []
    before = None
    while before != report:
        before = report
        lines = []
        for section in split_sections(report, words.headings):
            sentences = list(_section_pieces(section.name, section.body, words))
            lines.append(_lines(sentences))
            pieces = itertools.chain(*sentences)
            dropped += [ReportPiece(piece.text.strip(), piece.reason) for piece in pieces if piece.reason and piece.text.strip()]
        report = "\n".join(line for line in lines if line)
    return VisibleReport(report, tuple(dropped))


def _lines(sentences: list[list[ReportPiece]]) -> str:
    """What is kept of a section's sentences, on lines of their own where they were."""
    text, space = "", ""
    for sentence in sentences:
        if kept := _joined(sentence):
            text, space = f"{text}{space if text else ''}{kept}", " "
        if sentence[-1].text.rstrip(" \t").endswith("\n"):
            space = "\n"
    return text


def report_pieces(report: str, words: ReportWords) -> list[ReportPiece]:
    """Every piece of a report in its order, each with its reason; joined, they are the report."""
    pieces = []
    for section in split_sections(report, words.headings):
        if section.heading:
            pieces.append(ReportPiece(section.heading, "heading"))
        pieces += [piece for sentence in _section_pieces(section.name, section.body, words) for piece in sentence]
    return pieces


def _section_pieces(name: str, body: str, words: ReportWords) -> Iterator[list[ReportPiece]]:
    """The sentences of a section, each as its pieces."""
    for sentence in split_sentences(body):
        if name not in ("", VISIBLE):
            yield [ReportPiece(sentence, "administrative" if name == LINE else name)]
        elif reason := _reason(sentence, words.sentences):
            yield [ReportPiece(sentence, reason)]
        else:
            yield _clauses(sentence)


def _reason(sentence: str, words: WordLists) -> str:
    """Why a sentence cannot be shown, empty where it can."""
    rest, masks = _MASK.subn(" ", sentence)
    if masks and len(_ANY_WORD.findall(rest)) <= _FIELD_WORDS:
        return "administrative"
    if _NODES.search(sentence):
        return "nodes"
    # What a sentence speaks of comes before how short it is: "MSI-H." is a result.
    listed = next((name for name, pattern in _patterns(tuple(words.lists.items())) if pattern.search(sentence)), "")
    return listed or ("fragment" if not _WORD.search(sentence) or _DATE.fullmatch(sentence) else "")


def _clauses(sentence: str) -> list[ReportPiece]:
    """Clauses with a measurement are dropped; where that is the first one, the whole sentence hangs on it."""
    if not _MEASUREMENT.search(sentence):
        return [ReportPiece(sentence)]
    clauses, start = [], 0
    for match in _CLAUSE.finditer(sentence):
        clauses.append(sentence[start : match.end()])
        start = match.end()
    clauses.append(sentence[start:])
    pieces = [ReportPiece(clause, "measurement" if _MEASUREMENT.search(clause) else "") for clause in clauses if clause]
    if pieces[0].reason or not _WORD.search(_joined(pieces)):
        return [ReportPiece(sentence, "measurement")]
    return pieces


def _joined(pieces: list[ReportPiece]) -> str:
    """What is kept of a sentence, as a sentence."""
    kept = [piece.text.strip() for piece in pieces if not piece.reason]
    text = " ".join(piece for piece in kept if piece)
    if text and len(kept) < len(pieces):
        text = text.rstrip(" ,;.") + "."
    return text


@functools.lru_cache(maxsize=4)
def _patterns(lists: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, pattern_of(terms)) for name, terms in lists)
