"""`eosin eval score`: predictions become scores; no model is asked again.

The same predictions give the same files, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eosin.artefacts import Artefact, ArtefactWriter, Plan
from eosin.artefacts.files import replacing, write_json
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import InputError
from eosin.eval.comparison import Run, deltas, not_compared, robustness
from eosin.eval.config import ScoreConfig
from eosin.eval.domains import domains
from eosin.eval.examples import examples_by_run
from eosin.eval.metrics.bootstrap import Resampling, intervals
from eosin.eval.metrics.statistic import Score
from eosin.eval.predictions import Rows, RunKey, model_names, read_runs, read_shown
from eosin.eval.report import Report, render_html, render_markdown
from eosin.eval.scored import Scored
from eosin.eval.scorers import SCORERS
from eosin.eval.summary import flat_scores, left_out
from eosin.progress import say, show_table, track

SCORES_FILE = "scores.json"


def score_predictions(config: ScoreConfig, inputs: Inputs, out: Path, *, overwrite: bool = False) -> Artefact:
    """Make the `scores` artefact in `out`: scores.json, report.md, report.html.

    Raises:
        InputError: nothing to score, a task nobody can score, or a question that was answered twice in one run.
        ArtefactError: see `ArtefactWriter`.
    """
    artefacts = list(inputs.artefacts.values())
    plan = Plan("scores", "eval score", settings_of(config), inputs.refs, facts={"title": config.title})
    with ArtefactWriter(out, plan, overwrite=overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"scores: already there, in {out}")
            return writer.finish()
        runs = {key: Run(rows, _scored(key, rows)) for key, rows in track(read_runs(artefacts).items(), "scoring")}
        scores = score_runs(runs, config, model_names(artefacts))
        report = Report(config.title, scores, examples_by_run(runs, read_shown(artefacts), config.examples), _asked(artefacts))
        write_json(out / SCORES_FILE, scores)
        for name, text in (("report.md", render_markdown(report)), ("report.html", render_html(report))):
            with replacing(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        artefact = writer.finish({"summary": scores["summary"]})
    _show(scores, f"{config.title}: {out / 'report.html'}")
    return artefact


def _show(scores: Mapping[str, Any], title: str) -> None:
    """The summary, and below it every run that it leaves out."""
    show_table(title, ["score", "value"], [(key, f"{value:.3f}") for key, value in scores["summary"].items()])
    rows = [
        (key, row["name"], row["protocol"] or "–", row["benchmark"][:8], row["main"], "–" if value is None else f"{value:.3f}")
        for key, row in left_out(scores["rows"])
        for value in [row["metrics"][row["main"]]["value"]]
    ]
    if rows:
        title = f"{len(rows)} not in the summary: several runs share a key, or a score is not defined"
        show_table(title, ["key", "model", "protocol", "data", "score", "value"], rows)


def _scored(key: RunKey, rows: Rows) -> Scored:
    if key.task not in SCORERS:
        raise InputError(f"predictions of task {key.task!r} cannot be scored; known: {', '.join(SCORERS)}")
    return SCORERS[key.task](rows)


def score_runs(runs: Mapping[RunKey, Run], config: ScoreConfig, names: Mapping[str, str]) -> dict[str, Any]:
    """All that `scores.json` holds: rows, deltas, notes, and the flat summary."""
    resampling = Resampling(config.resamples, config.seed, config.confidence)
    rows = [_row(key, run, resampling, names.get(key.model, key.model)) for key, run in runs.items()]
    flat = flat_scores(rows)
    differences = deltas(runs, resampling)
    return {
        "rows": rows,
        "deltas": differences,
        "robustness": robustness(differences),
        "notes": not_compared(runs),
        "summary": {key: score["value"] for key, score in flat.items() if score["value"] is not None},
        "intervals": {key: [score["low"], score["high"]] for key, score in flat.items()},
        "bootstrap": {"resamples": config.resamples, "seed": config.seed, "confidence": config.confidence, "unit": "group"},
    }


def _row(key: RunKey, run: Run, resampling: Resampling, name: str) -> dict[str, Any]:
    rows, scored = run.rows, run.scored
    found = intervals(scored.statistics, rows.group, resampling)
    return {
        "task": key.task,
        "model": key.model,
        "name": name,
        "condition": key.condition,
        "benchmark": key.benchmark,
        "protocol": key.protocol,
        "questions": len(rows),
        "groups": len(set(rows.group)),
        "errors": int(rows.failed.sum()),
        "cut_off": rows.finish_reason.count("length"),
        "invalid": int(scored.invalid.sum()),
        "invalid_rate": round(float(scored.invalid.mean()), 6),
        "main": scored.main,
        "metrics": {metric: interval.to_json() for metric, interval in found.items()},
        "baselines": {
            "chance": _rounded(scored.chance),
            "majority": _rounded(scored.majority),
            "majority_by_topic": _rounded(scored.majority_by_topic),
        },
        "topics": _topics(rows, scored.statistics[scored.main], resampling),
        "domains": domains(rows, scored, resampling),
        "confusion": {"classes": scored.confusion.classes, "counts": scored.confusion.counts} if scored.confusion else None,
        "notes": list(scored.notes),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _topics(rows: Rows, main: Score, resampling: Resampling) -> list[dict[str, Any]]:
    """The main score of each topic; empty where there is one topic."""
    members: dict[str, list[int]] = {}
    for place, topic in enumerate(rows.topic):
        members.setdefault(topic, []).append(place)
    if len(members) < 2:
        return []
    found = []
    for topic, places in sorted(members.items()):
        part = main.taken(np.array(places))
        interval = intervals({topic: part}, [rows.group[place] for place in places], resampling)[topic]
        found.append({"topic": topic, "questions": len(places), **interval.to_json()})
    return found


def _asked(artefacts: list[Artefact]) -> list[dict[str, Any]]:
    """How each predictions artefact was made, for the report: its settings and what its plan says of the questions."""
    return [
        {"digest": artefact.digest, "settings": dict(artefact.plan.settings), "facts": dict(artefact.plan.facts)} for artefact in artefacts
    ]
