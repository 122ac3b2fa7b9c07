"""Corpus BLEU by sacrebleu (Post 2018), with its signature; scaled to [0, 1].

BLEU is no mean over questions, but its n-gram counts add up: they are what the bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eosin.errors import MissingDependency
from eosin.eval.metrics.statistic import Columns, Statistic


def bleu(replies: Sequence[str], golds: Sequence[str]) -> tuple[Statistic, str]:
    """Corpus BLEU and sacrebleu's signature.

    Raises:
        MissingDependency: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise MissingDependency("sacrebleu", "eval") from error
    scorer = BLEU(force=True)
    signature = str(_signed(scorer, replies, golds))
    counts = [_counts(scorer, reply, gold) for reply, gold in zip(replies, golds, strict=True)]

    def value(sums: Columns) -> Columns:
        order = scorer.max_ngram_order
        scores = []
        for row in sums:
            total, correct = [int(n) for n in row[2 + order :]], [int(n) for n in row[2 : 2 + order]]
            found = BLEU.compute_bleu(correct, total, int(row[0]), int(row[1]), smooth_method=scorer.smooth_method)
            scores.append(found.score / 100)
        return np.array(scores)

    return Statistic(np.array(counts, dtype=np.float64), value), signature


def _signed(scorer: object, replies: Sequence[str], golds: Sequence[str]) -> object:
    """The signature, which sacrebleu only gives after it has scored."""
    scorer.corpus_score(list(replies[:1]), [list(golds[:1])])  # type: ignore[attr-defined]
    return scorer.get_signature()  # type: ignore[attr-defined]


def _counts(scorer: object, reply: str, gold: str) -> list[int]:
    """Lengths of reply and gold, then n-grams that match, then n-grams of the reply."""
    found = scorer.corpus_score([reply], [[gold]])  # type: ignore[attr-defined]
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]
