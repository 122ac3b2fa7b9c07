"""Overlap of words, counted as multisets: precision, recall and F1 as in SQuAD (Rajpurkar et al. 2016), over `normalise`d words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from eosin.eval.metrics.normalise import tokens


@dataclass(frozen=True)
class Overlap:
    """Shares in [0, 1]."""

    precision: float
    recall: float
    f1: float


def token_overlap(reply: str, gold: str) -> Overlap:
    """The overlap; two empty texts agree, one empty text agrees with nothing."""
    said, wanted = tokens(reply), tokens(gold)
    if not said or not wanted:
        same = float(said == wanted)
        return Overlap(same, same, same)
    common = sum((Counter(said) & Counter(wanted)).values())
    return Overlap(common / len(said), common / len(wanted), 2 * common / (len(said) + len(wanted)))
