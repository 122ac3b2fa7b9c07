"""How encoders are scored: labels with their scores, ranks of retrieval, risks of survival."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError
from eosin.eval.metrics.auroc import macro_auroc
from eosin.eval.metrics.concordance import concordance
from eosin.eval.metrics.draws import over_draws
from eosin.eval.metrics.ranks import recall_at
from eosin.eval.metrics.statistic import Score, Statistic, balanced_accuracy, mean_of
from eosin.eval.metrics.weighted_f1 import weighted_f1
from eosin.eval.predictions import Rows
from eosin.eval.scored import Scored, classified
from eosin.eval.survival import time_and_event


def score_labels(rows: Rows) -> Scored:
    """Accuracy, balanced accuracy, weighted F1 and, where every class has a score, AUROC; the protocol says which is quoted.

    Of a protocol with draws (prompt sets, few-shot seeds) each score is that of every draw, as the protocol joins them.

    Raises:
        InputError: a draw is missing, or is of no class.
    """
    said = [reply if reply in options else None for reply, options in zip(rows.reply, rows.options, strict=True)]
    chances = [1 / max(len(options), 1) for options in rows.options]
    scored = classified(rows, list(rows.answer), said, chances, by_topic=False)
    names = _names(rows)
    place = {name: number for number, name in enumerate(names)}
    gold = np.array([place[answer] for answer in rows.answer], dtype=np.int64)
    statistics: dict[str, Score] = {}
    if rows.rules.aggregate:
        for name, draws in _drawn(rows, gold, len(names)).items():
            statistics.update(over_draws(name, draws, rows.rules.aggregate))
    else:
        answers = np.array([-1 if bad or one is None else place[one] for one, bad in zip(said, scored.invalid, strict=True)])
        statistics = {**scored.statistics, "weighted_f1": weighted_f1(gold, answers, len(names))}
        scores = _scores(rows, names)
        if scores is not None:
            statistics["auroc"] = macro_auroc(gold, scores, rows.failed, logits=rows.rules.scores == "logits")
    main = rows.rules.metric or scored.main
    if main not in statistics:
        raise InputError(
            f"protocol {rows.rules.id} quotes {main!r}, which these predictions do not give; they give {', '.join(statistics)}"
        )
    return replace(scored, statistics=statistics, main=main)


def _names(rows: Rows) -> list[str]:
    """All classes: the options in their order, then answers that were no option."""
    return list(dict.fromkeys([name for options in dict.fromkeys(rows.options) for name in options] + sorted(set(rows.answer))))


def _scores(rows: Rows, names: list[str]) -> NDArray[np.float64] | None:
    """The scores, float64 [questions, classes]; None where a question lacks them, or the questions have different options."""
    if len(names) < 2 or len(set(rows.options)) != 1 or len(rows.options[0]) != len(names):
        return None
    if any(len(scores) != len(names) and not bad for scores, bad in zip(rows.scores, rows.failed, strict=True)):
        return None
    return np.array([scores if len(scores) == len(names) else [0.0] * len(names) for scores in rows.scores], dtype=np.float64)


def _drawn(rows: Rows, gold: NDArray[np.int64], classes: int) -> dict[str, list[Statistic]]:
    """Each score of each draw."""
    counts = {len(draws) for draws, bad in zip(rows.draws, rows.failed, strict=True) if not bad} or {1}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"protocol {rows.rules.id}: every question wants as many draws; there are {sorted(counts)}: ask again")
    count = counts.pop()
    said = np.array([draws if not bad else (-1,) * count for draws, bad in zip(rows.draws, rows.failed, strict=True)], dtype=np.int64)
    if said.max() >= classes:
        raise InputError(f"protocol {rows.rules.id}: draw {said.max()} is none of {classes} classes")
    found: dict[str, list[Statistic]] = {"accuracy": [], "balanced_accuracy": [], "weighted_f1": []}
    for answers in said.T:
        correct = answers == gold
        found["accuracy"].append(mean_of(correct))
        found["balanced_accuracy"].append(balanced_accuracy(gold, correct))
        found["weighted_f1"].append(weighted_f1(gold, answers, classes))
    return found


def score_retrieval(rows: Rows) -> Scored:
    """R@1, R@5, R@10, R@50 from the rank of the first right answer, each way on its own; what failed has no rank.

    `image_to_text_recall_at_1` counts the images alone; the main score is the mean of both ways' R@1.
    """
    ranks = np.array([scores[0] if scores and not bad else np.inf for scores, bad in zip(rows.scores, rows.failed, strict=True)])
    topics = np.array(rows.topic)
    ways = sorted(set(rows.topic))
    statistics: dict[str, Score] = {}
    both = recall_at(ranks)
    for name, statistic in both.items():
        statistics.update({f"{way}_{name}": statistic.masked(topics == way) for way in ways})
        statistics[f"mean_{name}"] = _mean_of_ways([statistic.masked(topics == way) for way in ways])
    main = rows.rules.metric or "mean_recall_at_1"
    return Scored(statistics, main, (ranks <= 1).astype(np.float64), rows.failed)


def _mean_of_ways(ways: list[Statistic]) -> Statistic:
    width = ways[0].columns.shape[1]
    return Statistic(
        np.concatenate([way.columns for way in ways], axis=1),
        lambda sums: np.mean([way.value(sums[:, width * n : width * (n + 1)]) for n, way in enumerate(ways)], axis=0),
    )


def score_survival(rows: Rows) -> Scored:
    """The concordance of the predicted risk with time and event, which the answer holds as JSON.

    Raises:
        InputError: an answer is no time and event.
    """
    outcomes = [_outcome(answer, question) for answer, question in zip(rows.answer, rows.question, strict=True)]
    times = np.array([time for time, _ in outcomes])
    events = np.array([event for _, event in outcomes])
    risks = np.array([scores[0] if scores and not bad else np.nan for scores, bad in zip(rows.scores, rows.failed, strict=True)])
    index = concordance(times, events, risks)
    return Scored({"c_index": index}, "c_index", np.isfinite(risks).astype(np.float64), ~np.isfinite(risks), chance=0.5)


def _outcome(answer: str, question: str) -> tuple[float, bool]:
    try:
        facts = json.loads(answer)
    except ValueError as error:
        raise InputError(f"question {question}: the answer of a survival run is time and event as JSON; got {answer!r}") from error
    return time_and_event(facts if isinstance(facts, dict) else {}, f"question {question}")
