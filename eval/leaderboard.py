"""`eosin eval leaderboard`: models ranked over the same questions, by the same protocol, with intervals and paired tests.

Runs are ranked together where task, benchmark, condition, protocol, quoted metric, questions and their right answers are the same. Of
runs that share task and benchmark but not the rest, no ranking is made: that is an error which names both, or with `separate` a ranking of
its own for each. Runs that share all but the benchmark have a ranking each, and a note says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eosin.artefacts import Artefact, ArtefactWriter, Plan
from eosin.artefacts.files import replacing, write_json
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ConfigError
from eosin.eval.comparison import Run, deltas, robustness
from eosin.eval.config import LeaderboardConfig
from eosin.eval.domains import domains
from eosin.eval.metrics.bootstrap import Resampling, intervals, resampled
from eosin.eval.metrics.statistic import difference
from eosin.eval.paired_tests import bootstrap_p, holm, mcnemar
from eosin.eval.predictions import RunKey, model_names, read_runs
from eosin.eval.report import render
from eosin.eval.scorers import SCORERS
from eosin.eval.tasks.names import COLOUR_MODEL
from eosin.progress import say, show_table, track

_CSV = ("task", "protocol", "condition", "benchmark", "metric", "rank", "name", "model", "value", "low", "high", "behind", "behind_low")
_MORE = ("behind_high", "p_bootstrap", "p_mcnemar", "p_holm", "level_with_first", "questions", "groups", "errors")


@dataclass(frozen=True, order=True)
class BoardKey:
    """What all runs of a ranking share; of `questions` and their right `answers` each one is compared."""

    task: str
    benchmark: str
    condition: str
    protocol: str
    metric: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]


def make_leaderboard(config: LeaderboardConfig, inputs: Inputs, out: Path, *, overwrite: bool = False) -> Artefact:
    """Make the `scores` artefact in `out`: leaderboard.json, .csv, .md and .html.

    Raises:
        ConfigError: runs of one task and benchmark differ in protocol, metric, questions or right answers.
        InputError: see `read_runs`.
    """
    artefacts = list(inputs.artefacts.values())
    plan = Plan("scores", "eval leaderboard", settings_of(config), inputs.refs, facts={"title": config.title})
    with ArtefactWriter(out, plan, overwrite=overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"leaderboard: already there, in {out}")
            return writer.finish()
        found = leaderboard(read_runs(artefacts), model_names(artefacts), config)
        write_json(out / "leaderboard.json", found)
        texts = {
            "leaderboard.csv": _csv(found["boards"]),
            "leaderboard.md": render("leaderboard.md.jinja", escape=False, title=config.title, found=found),
            "leaderboard.html": render("leaderboard.html.jinja", escape=True, title=config.title, found=found),
        }
        for name, text in texts.items():
            with replacing(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        artefact = writer.finish({"boards": len(found["boards"])})
    for note in found["notes"]:
        say(f"leaderboard: {note}")
    for board in found["boards"]:
        rows = [(str(row["rank"] or "–"), row["name"], "–" if row["value"] is None else f"{row['value']:.3f}") for row in board["rows"]]
        show_table(
            f"{board['task']}, {board['protocol'] or 'no protocol'}, {board['condition']}: {board['metric']}", ["", "model", "score"], rows
        )
    return artefact


def leaderboard(rows: Mapping[RunKey, Any], names: Mapping[str, str], config: LeaderboardConfig) -> dict[str, Any]:
    """All that `leaderboard.json` holds."""
    resampling = Resampling(config.resamples, config.seed, config.confidence)
    runs = {key: Run(found, SCORERS[key.task](found)) for key, found in track(rows.items(), "scoring")}
    baselines = {key: run for key, run in runs.items() if key.model == COLOUR_MODEL}
    boards: dict[BoardKey, dict[RunKey, Run]] = {}
    for key, run in runs.items():
        if key not in baselines:
            boards.setdefault(_board_key(key, run), {})[key] = run
    if not config.separate:
        _refuse_mixed(boards, names)
    found = [_board(key, members, baselines, names, resampling) for key, members in sorted(boards.items(), key=lambda item: item[0])]
    settings = {"resamples": config.resamples, "seed": config.seed, "confidence": config.confidence, "unit": "group"}
    drops = [{**row, "name": names.get(row["model"], row["model"])} for row in robustness(deltas(runs, resampling))]
    return {"boards": found, "robustness": drops, "notes": _apart(boards, names), "bootstrap": settings}


def _board_key(key: RunKey, run: Run) -> BoardKey:
    return BoardKey(key.task, key.benchmark, key.condition, key.protocol, run.scored.main, run.rows.question, run.rows.answer)


def _refuse_mixed(boards: Mapping[BoardKey, Mapping[RunKey, Run]], names: Mapping[str, str]) -> None:
    seen: dict[tuple[str, str, str], BoardKey] = {}
    for key in boards:
        other = seen.setdefault((key.task, key.benchmark, key.condition), key)
        if other == key:
            continue
        told = [
            f"{_members(boards[board], names)}: protocol {board.protocol or 'none'}, {board.metric}, {len(board.questions)} questions"
            for board in (other, key)
        ]
        raise ConfigError(
            f"these runs of {key.task} do not stand in one ranking, because they were not asked alike: {'; '.join(told)}"
            f"{_other_truth(other, key)}. Ask with one protocol, or add --separate for a ranking each"
        )


def _members(runs: Iterable[RunKey], names: Mapping[str, str]) -> str:
    return ", ".join(names.get(run.model, run.model) for run in runs)


def _other_truth(one: BoardKey, other: BoardKey) -> str:
    """A question that both ask and whose right answers differ, told; empty where there is none."""
    known = dict(zip(one.questions, one.answers, strict=True))
    for question, answer in zip(other.questions, other.answers, strict=True):
        if known.get(question, answer) != answer:
            return f"; the right answer to {question} is {known[question]!r} in one and {answer!r} in the other"
    return ""


def _apart(boards: Mapping[BoardKey, Mapping[RunKey, Run]], names: Mapping[str, str]) -> list[str]:
    """A sentence for all rankings that differ in the benchmark alone: the same questions, asked over other data."""
    alike: dict[BoardKey, list[BoardKey]] = {}
    for key in sorted(boards):
        alike.setdefault(replace(key, benchmark=""), []).append(key)
    return [
        f"{key.task}, {key.protocol or 'no protocol'}, {key.condition}: the same questions, but asked over other data: "
        + "; ".join(f"{_members(boards[board], names)} over benchmark {board.benchmark[:16]}" for board in found)
        for key, found in alike.items()
        if len(found) > 1
    ]


def _board(
    key: BoardKey, members: Mapping[RunKey, Run], baselines: Mapping[RunKey, Run], names: Mapping[str, str], resampling: Resampling
) -> dict[str, Any]:
    """A ranking: the best first, each with how far it lies behind the first one."""
    scored = {run: members[run].scored.statistics[key.metric] for run in members}
    order = sorted(members, key=lambda run: (-_or_worst(scored[run].score), names.get(run.model, run.model)))
    first = members[order[0]]
    rows = [_row(members[run], names.get(run.model, run.model), run.model, key.metric, resampling) for run in order]
    for place, (run, row) in enumerate(zip(order, rows, strict=True)):
        row.update({"rank": place + 1, **_behind(first, members[run], key.metric, resampling, leads=place == 0)})
    for row, p in zip(rows, holm([row["p_bootstrap"] for row in rows]), strict=True):
        row["p_holm"] = p
        row["level_with_first"] = row["rank"] == 1 or p is None or p > 1 - resampling.confidence
    for run, baseline in baselines.items():
        if (run.task, run.benchmark, run.condition) == (key.task, key.benchmark, key.condition) and (asked := _over(baseline, key)):
            nothing = dict.fromkeys((*_EMPTY, "rank", "p_holm", "level_with_first"))
            rows.append({**_row(asked, "colour baseline", run.model, key.metric, resampling), **nothing})
    facts = {"task": key.task, "benchmark": key.benchmark, "condition": key.condition, "protocol": key.protocol, "metric": key.metric}
    return {**facts, "title": first.rows.rules.title, "questions": len(key.questions), "rows": rows}


def _over(baseline: Run, key: BoardKey) -> Run | None:
    """The baseline over the ranking's own questions; None where it was not asked them all, of other classes, or has no such score."""
    place = {question: number for number, question in enumerate(baseline.rows.question)}
    if key.metric not in baseline.scored.statistics or not all(question in place for question in key.questions):
        return None
    rows = baseline.rows.taken(place[question] for question in key.questions)
    # Other names of the same classes are the same question; classes that were joined are another.
    if not len(set(rows.answer)) == len(set(key.answers)) == len(set(zip(rows.answer, key.answers, strict=True))):
        return None
    return Run(rows, SCORERS[key.task](rows))


_EMPTY = ("behind", "behind_low", "behind_high", "p_bootstrap", "p_mcnemar")


def _or_worst(value: float) -> float:
    return value if np.isfinite(value) else -np.inf


def _row(run: Run, name: str, model: str, metric: str, resampling: Resampling) -> dict[str, Any]:
    interval = intervals({metric: run.scored.statistics[metric]}, run.rows.group, resampling)[metric]
    return {
        "name": name,
        "model": model,
        **interval.to_json(),
        "questions": len(run.rows),
        "groups": len(set(run.rows.group)),
        "errors": int(run.rows.failed.sum()),
        "domains": domains(run.rows, run.scored, resampling),
    }


def _behind(first: Run, run: Run, metric: str, resampling: Resampling, *, leads: bool) -> dict[str, float | None]:
    """First minus this one: the difference, its interval and p; McNemar's p where each question is right or wrong once."""
    if leads:
        return dict.fromkeys(_EMPTY)
    lost = difference(first.scored.statistics[metric], run.scored.statistics[metric])
    interval = intervals({metric: lost}, run.rows.group, resampling)[metric].to_json()
    p = bootstrap_p(resampled({metric: lost}, run.rows.group, resampling)[metric])
    credits = (first.scored.credit, run.scored.credit)
    binary = not run.rows.rules.aggregate and metric != "c_index" and all(np.isin(credit, (0.0, 1.0)).all() for credit in credits)
    return {
        "behind": _number(interval["value"]),
        "behind_low": _number(interval["low"]),
        "behind_high": _number(interval["high"]),
        "p_bootstrap": None if p is None else round(p, 6),
        "p_mcnemar": round(mcnemar(credits[0] == 1.0, credits[1] == 1.0), 6) if binary else None,
    }


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, float) else None


def _csv(boards: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_CSV, *_MORE], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for board in boards:
        shared = {name: board[name] for name in ("task", "protocol", "condition", "benchmark", "metric")}
        writer.writerows({**row, **shared} for row in board["rows"])
    return text.getvalue()
