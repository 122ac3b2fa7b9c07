"""ROUGE-L F (Lin 2004) by the rouge-score package, without stemming; its tokeniser lowers, and drops all but letters and digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eosin.errors import MissingDependency


def rouge_l(replies: Sequence[str], golds: Sequence[str]) -> NDArray[np.float64]:
    """One F a question, [n].

    Raises:
        MissingDependency: rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError as error:
        raise MissingDependency("rouge-score", "eval") from error
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    known: dict[tuple[str, str], float] = {}
    for pair in zip(replies, golds, strict=True):
        if pair not in known:
            known[pair] = scorer.score(target=pair[1], prediction=pair[0])["rougeL"].fmeasure
    return np.array([known[pair] for pair in zip(replies, golds, strict=True)], dtype=np.float64)
