"""How each task is scored: predictions in, statistics out. `SCORERS` names them all.

Whatever cannot be read as an answer is invalid, and invalid is wrong: the denominator is always the number of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError
from eosin.eval.encoder_scorers import score_labels, score_retrieval, score_survival
from eosin.eval.metrics.bleu import bleu
from eosin.eval.metrics.exact_match import exact_match
from eosin.eval.metrics.grounding import grounding
from eosin.eval.metrics.mcq import parse_choice
from eosin.eval.metrics.normalise import normalise
from eosin.eval.metrics.rouge_l import rouge_l
from eosin.eval.metrics.statistic import Score, Statistic, mean_of
from eosin.eval.metrics.token_f1 import Overlap, token_overlap
from eosin.eval.metrics.yes_no import parse_yes_no
from eosin.eval.predictions import Rows
from eosin.eval.scored import Scored, classified, majority_by_topic, majority_of


def score_closed(rows: Rows) -> Scored:
    """Yes/no questions; a closed question with another gold answer is read as a choice among its options, or by exact match."""
    gold = [normalise(answer) for answer in rows.answer]
    said: list[str | None] = []
    chances = []
    for reply, answer, options in zip(rows.reply, gold, rows.options, strict=True):
        if answer in ("yes", "no"):
            said.append(parse_yes_no(reply))
            chances.append(0.5)
        elif options:
            choice = parse_choice(reply, options)
            said.append(None if choice is None else normalise(options[choice]))
            chances.append(1 / len(options))
        else:
            said.append(normalise(reply) or None)
            chances.append(0.0)
    return classified(rows, gold, said, chances, by_topic=True)


def score_mcq(rows: Rows) -> Scored:
    """Multiple choice by option number.

    Raises:
        InputError: a gold answer is none of its options.
    """
    gold, said = [], []
    for question, answer, options, reply in zip(rows.question, rows.answer, rows.options, rows.reply, strict=True):
        right = _gold_choice(answer, options)
        if right is None:
            raise InputError(f"multiple choice question {question!r}: its answer {answer!r} is none of its options {list(options)}")
        choice = parse_choice(reply, options)
        gold.append(chr(ord("A") + right))
        said.append(None if choice is None else chr(ord("A") + choice))
    return classified(rows, gold, said, [1 / len(options) for options in rows.options], by_topic=True)


def _gold_choice(answer: str, options: Sequence[str]) -> int | None:
    """The option whose text is the answer; else what the answer says by letter."""
    same = [number for number, option in enumerate(options) if normalise(option) == normalise(answer)]
    return same[0] if len(same) == 1 else parse_choice(answer, options)


def score_open(rows: Rows) -> Scored:
    """Free answers: exact match, and the overlap of words."""
    overlaps, invalid = _overlaps(rows)
    exact = np.array([exact_match(reply, gold) for reply, gold in zip(rows.reply, rows.answer, strict=True)], dtype=bool) & ~invalid
    gold = [normalise(answer) for answer in rows.answer]
    return Scored(
        {"exact": mean_of(exact), **_overlap_statistics(overlaps)},
        "exact",
        exact.astype(np.float64),
        invalid,
        majority=majority_of(gold),
        majority_by_topic=majority_by_topic(gold, rows.topic),
    )


def score_text(rows: Rows) -> Scored:
    """Captions and reports: the overlap of words, ROUGE-L, corpus BLEU. None of them says whether a report is right."""
    overlaps, invalid = _overlaps(rows)
    replies = ["" if bad else reply for reply, bad in zip(rows.reply, invalid, strict=True)]
    corpus, signature = bleu(replies, rows.answer)
    statistics: dict[str, Score] = {**_overlap_statistics(overlaps), "rouge_l": mean_of(rouge_l(replies, rows.answer)), "bleu": corpus}
    return Scored(statistics, "token_f1", overlaps[:, 2], invalid, notes=(f"BLEU: {signature}; ROUGE-L: rouge-score, no stemming",))


def _overlaps(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Precision, recall and F1 of each question [n, 3], and where there is no answer."""
    invalid = rows.failed | np.array([not normalise(reply) for reply in rows.reply], dtype=bool)
    known: dict[tuple[str, str], Overlap] = {}
    found = np.zeros((len(rows), 3))
    for place, pair in enumerate(zip(rows.reply, rows.answer, strict=True)):
        if not invalid[place]:
            overlap = known.get(pair) or known.setdefault(pair, token_overlap(*pair))
            found[place] = overlap.precision, overlap.recall, overlap.f1
    return found, invalid


def _overlap_statistics(overlaps: NDArray[np.float64]) -> dict[str, Statistic]:
    return {"token_f1": mean_of(overlaps[:, 2]), "token_recall": mean_of(overlaps[:, 1])}


def score_grounding(rows: Rows) -> Scored:
    """Boxes: share found with an IoU of at least 0.5, and mean IoU."""
    found = [grounding(reply, gold) for reply, gold in zip(rows.reply, rows.answer, strict=True)]
    invalid = rows.failed | np.array([not item.valid for item in found], dtype=bool)
    acc50 = np.array([item.acc50 for item in found]) * ~invalid
    iou = np.array([item.iou for item in found]) * ~invalid
    return Scored({"acc50": mean_of(acc50), "mean_iou": mean_of(iou)}, "acc50", acc50, invalid)


SCORERS: dict[str, Callable[[Rows], Scored]] = {
    **dict.fromkeys(("zero_shot", "zero_shot_slides", "probe", "slide_probe"), score_labels),
    "retrieval": score_retrieval,
    "survival": score_survival,
    "closed": score_closed,
    "open": score_open,
    "mcq": score_mcq,
    "grounding": score_grounding,
    "caption": score_text,
    "report": score_text,
    "tool": score_open,
}
