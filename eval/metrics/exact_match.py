"""Exact match: the normalised reply is the normalised gold answer, no more and no less."""

from __future__ import annotations

from eosin.eval.metrics.normalise import normalise


def exact_match(reply: str, gold: str) -> bool:
    """Whether both say the same after `normalise`; an empty reply never does."""
    said = normalise(reply)
    return bool(said) and said == normalise(gold)
