"""How each task is scored: predictions in, statistics out. `SCORERS` names them all.

Whatever cannot be read as an answer is invalid, and invalid is wrong: the denominator is always the number of questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError
from eosin.eval.metrics.bleu import bleu
from eosin.eval.metrics.exact_match import exact_match
from eosin.eval.metrics.grounding import grounding
from eosin.eval.metrics.mcq import parse_choice
from eosin.eval.metrics.normalise import normalise
from eosin.eval.metrics.rouge_l import rouge_l
from eosin.eval.metrics.statistic import Statistic, balanced_accuracy, mean_of
from eosin.eval.metrics.token_f1 import Overlap, token_overlap
from eosin.eval.metrics.yes_no import parse_yes_no
from eosin.eval.predictions import Rows

# Past this many classes a confusion matrix is not read by anybody.
_MOST_CLASSES = 30


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered by each: counts [classes][classes + 1], the last column counts invalid answers."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Scored:
    """One run, scored.

    Attributes:
        statistics: by name; `main` is the one that summaries quote.
        main: its name.
        credit: what each question earned of the main score, in [0, 1].
        invalid: where no answer could be read.
        chance: the main score of a uniform guess, where that is defined.
        majority: the main score of always giving the most frequent answer, where that is defined.
        majority_by_topic: the same with the most frequent answer of each topic.
        confusion: for few classes.
        notes: such as sacrebleu's signature.
    """

    statistics: dict[str, Statistic]
    main: str
    credit: NDArray[np.float64]
    invalid: NDArray[np.bool_]
    chance: float | None = None
    majority: float | None = None
    majority_by_topic: float | None = None
    confusion: Confusion | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def score_zero_shot(rows: Rows) -> Scored:
    """Accuracy and balanced accuracy over the classes."""
    said = [reply if reply in options else None for reply, options in zip(rows.reply, rows.options, strict=True)]
    return _classified(rows, list(rows.answer), said, [1 / max(len(options), 1) for options in rows.options], by_topic=False)


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
    return _classified(rows, gold, said, chances, by_topic=True)


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
    return _classified(rows, gold, said, [1 / len(options) for options in rows.options], by_topic=True)


def _gold_choice(answer: str, options: Sequence[str]) -> int | None:
    """The option whose text is the answer; else what the answer says by letter."""
    same = [number for number, option in enumerate(options) if normalise(option) == normalise(answer)]
    return same[0] if len(same) == 1 else parse_choice(answer, options)


def _classified(rows: Rows, gold: list[str], said: list[str | None], chances: list[float], *, by_topic: bool) -> Scored:
    """Accuracy over labels; None is an invalid answer."""
    invalid = np.array([answer is None for answer in said], dtype=bool) | rows.failed
    correct = np.array([one == other for one, other in zip(said, gold, strict=True)], dtype=bool) & ~invalid
    classes = sorted(set(gold))
    number = {name: place for place, name in enumerate(classes)}
    numbers = np.array([number[name] for name in gold], dtype=np.int64)
    statistics = {"accuracy": mean_of(correct), "balanced_accuracy": balanced_accuracy(numbers, correct)}
    return Scored(
        statistics,
        "accuracy",
        correct.astype(np.float64),
        invalid,
        chance=None if 0.0 in chances else float(np.mean(chances)),
        majority=_majority(gold),
        majority_by_topic=_majority_by_topic(gold, rows.topic) if by_topic else None,
        confusion=_confusion(gold, [None if bad else answer for answer, bad in zip(said, invalid, strict=True)]),
    )


def _confusion(gold: list[str], said: list[str | None]) -> Confusion | None:
    classes = sorted(set(gold) | {answer for answer in said if answer is not None})
    if len(classes) > _MOST_CLASSES:
        return None
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes) + 1), dtype=int)
    for right, answer in zip(gold, said, strict=True):
        counts[place[right], len(classes) if answer is None else place[answer]] += 1
    return Confusion(tuple(classes), tuple(tuple(row) for row in counts.tolist()))


def _majority(gold: Sequence[str]) -> float:
    return max(Counter(gold).values()) / len(gold)


def _majority_by_topic(gold: Sequence[str], topics: Sequence[str]) -> float:
    by_topic: dict[str, Counter[str]] = {}
    for answer, topic in zip(gold, topics, strict=True):
        by_topic.setdefault(topic, Counter())[answer] += 1
    return sum(max(counts.values()) for counts in by_topic.values()) / len(gold)


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
        majority=_majority(gold),
        majority_by_topic=_majority_by_topic(gold, rows.topic),
    )


def score_text(rows: Rows) -> Scored:
    """Captions and reports: the overlap of words, ROUGE-L, corpus BLEU. None of them says whether a report is right."""
    overlaps, invalid = _overlaps(rows)
    replies = ["" if bad else reply for reply, bad in zip(rows.reply, invalid, strict=True)]
    corpus, signature = bleu(replies, rows.answer)
    statistics = {**_overlap_statistics(overlaps), "rouge_l": mean_of(rouge_l(replies, rows.answer)), "bleu": corpus}
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
    "zero_shot": score_zero_shot,
    "closed": score_closed,
    "open": score_open,
    "mcq": score_mcq,
    "grounding": score_grounding,
    "caption": score_text,
    "report": score_text,
    "tool": score_open,
}
