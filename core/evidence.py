"""Evidence: retrieved cases, as they are cited in an answer and as they are put before a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = "Similar cases from the archive:"


@dataclass(frozen=True)
class Citation:
    """A retrieved case.

    Attributes:
        id: the record's id in the index.
        score: cosine similarity to the query.
        source: the data set it came from.
        licence: of the case.
        group: patient, slide, video or article.
        label: its class, where it has one.
        caption: its description, where it has one.
        thumbnail: data URL of a small picture, where there is one.
    """

    id: str
    score: float
    source: str
    licence: str
    group: str
    label: str | None = None
    caption: str | None = None
    thumbnail: str | None = None


def evidence_block(citations: Sequence[Citation]) -> str:
    """The cases as text that stands before the question; training, evaluation and serving all write it here.

    A case is numbered from 1, so that an answer can refer to it. Scores are left out: their scale differs between encoders.
    """
    lines = [HEADER]
    for number, citation in enumerate(citations, 1):
        words = [text for text in (citation.label, citation.caption) if text]
        lines.append(f"[{number}] {': '.join(words) or 'no description'}")
    return "\n".join(lines)


def with_evidence(question: str, citations: Sequence[Citation]) -> str:
    """The question with its evidence before it; without citations, the question as it is."""
    return f"{evidence_block(citations)}\n\n{question}" if citations else question
