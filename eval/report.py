"""`report.md` and `report.html`: one template each, no dates, nothing fetched from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from eosin.errors import MissingDependency
from eosin.eval.examples import Example
from eosin.eval.plots import confusion_matrix, score_bars
from eosin.eval.predictions import RunKey
from eosin.eval.tasks.names import COLOUR_MATCHED

_ENCODERS = ("zero_shot", "zero_shot_slides", "retrieval", "probe", "slide_probe", "survival")
_ORDER = (*_ENCODERS, "closed", "open", "mcq", "grounding", "caption", "report", "tool")
_CONDITIONS = ("plain", "evidence", COLOUR_MATCHED, "blind", "no_image")


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: its heading.
        scores: what `scores.json` holds.
        examples: of each run.
        asked: how each predictions artefact was made.
    """

    title: str
    scores: Mapping[str, Any]
    examples: Mapping[RunKey, list[Example]]
    asked: list[dict[str, Any]]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The runs in reading order."""

        def place(row: Mapping[str, Any]) -> tuple[int, str, str, str, int, str]:
            condition = row["condition"]
            order = _CONDITIONS.index(condition) if condition in _CONDITIONS else len(_CONDITIONS)
            return _ORDER.index(row["task"]), row["name"], row["benchmark"], row["protocol"], order, condition

        return sorted(self.scores["rows"], key=place)


def render_markdown(report: Report) -> str:
    """The report without pictures."""
    return _render("report.md.jinja", report, escape=False)


def render_html(report: Report) -> str:
    """One self-contained page: styles, plots and pictures are inside."""
    from markupsafe import Markup

    plots = {"bars": Markup(score_bars(report.rows))}
    confusions = [
        Markup(confusion_matrix(row["confusion"], f"{row['task']}, {row['name']}"))
        for row in report.rows
        if row["task"] in _ENCODERS and row["condition"] == "plain" and row["confusion"]
    ]
    return _render("report.html.jinja", report, escape=True, plots=plots, confusions=confusions)


def _render(template: str, report: Report, *, escape: bool, **more: Any) -> str:
    names = {row["model"]: row["name"] for row in report.rows}
    examples = [
        (key, names[key.model], shown) for key, shown in sorted(report.examples.items(), key=lambda item: _ORDER.index(item[0].task))
    ]
    values = {
        "title": report.title,
        "scores": report.scores,
        "rows": report.rows,
        "names": names,
        "examples": examples,
        "asked": report.asked,
    }
    return render(template, escape=escape, **values, **more)


def render(template: str, *, escape: bool, **values: Any) -> str:
    """A template of `eosin.configs/templates`; a name that it uses and is not given is an error.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingDependency("jinja2", "eval") from error
    folder = Path(str(resources.files("eosin.configs"))) / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=_number, interval=_interval, signed=_signed, pretty=_pretty, cell=_cell)
    return environment.get_template(template).render(**values)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _interval(score: Mapping[str, Any]) -> str:
    return "no interval" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def _cell(text: str) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
