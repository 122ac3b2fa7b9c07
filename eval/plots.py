"""The report's plots: SVG text without dates, random ids or links, so that equal scores give equal bytes."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eosin.errors import MissingDependency
from eosin.eval.tasks.names import COLOUR_MODEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"plain": "#4b3f9e", "evidence": "#2a8f7a", "blind": "#8a8a8a", "no_image": "#b8b8b8"}
_COLOUR_BASELINE = "#d1785f"
_STYLE: Any = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
# HTML knows SVG without its namespaces; metadata would carry links.
_UNWANTED = re.compile(r"<metadata>.*?</metadata>\s*| xmlns(?::xlink)?=\"[^\"]*\"", re.DOTALL)


def _figure(width: float, height: float) -> Figure:
    """An empty figure in inches; no window system and no global state of pyplot.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependency("matplotlib", "eval") from error
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, salt: str, label: str) -> str:
    """The figure as an inline `<svg>` element with a text for screen readers."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _UNWANTED.sub("", _HEAD.sub("", buffer.getvalue()))
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def score_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main score of every run with its interval, and a tick where the majority answer stands."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = _figure(7.5, 0.9 + 0.32 * len(rows))
        axes = figure.subplots()
        places = np.arange(len(rows))[::-1]
        for place, row in zip(places, rows, strict=True):
            main = row["metrics"][row["main"]]
            value = main["value"] or 0.0
            axes.barh(place, value, height=0.62, color=_colour(row))
            if main["low"] is not None:
                axes.plot([main["low"], main["high"]], [place, place], color="black", linewidth=1.2, solid_capstyle="butt")
            if row["baselines"]["majority"] is not None:
                axes.plot([row["baselines"]["majority"]] * 2, [place - 0.36, place + 0.36], color="#c01f5d", linewidth=1.6)
        axes.set_yticks(places, [f"{row['task']} · {row['name']} · {row['condition']}" for row in rows])
        axes.set_xlim(0, 1)
        axes.set_xlabel("main score, with its interval; red: always the most frequent answer")
        return _svg(figure, "scores", "Main score of each run with its confidence interval")


def _colour(row: Mapping[str, Any]) -> str:
    return _COLOUR_BASELINE if row["model"] == COLOUR_MODEL else _COLOURS.get(row["condition"], "#777777")


def confusion_matrix(confusion: Mapping[str, Any], title: str) -> str:
    """Rows: gold; columns: answered, the last one invalid. Shades are shares of a row."""
    import matplotlib

    classes, counts = list(confusion["classes"]), np.array(confusion["counts"], dtype=np.float64)
    if not counts[:, -1].any():
        counts = counts[:, :-1]
    columns = [*classes, "invalid"][: counts.shape[1]]
    with matplotlib.rc_context(_STYLE):
        figure = _figure(1.8 + 0.42 * len(columns), 1.5 + 0.36 * len(classes))
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.pcolormesh(share[::-1], cmap="Purples", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if share[row, column] > 0.55 else "black"
                axes.text(column + 0.5, len(classes) - row - 0.5, f"{int(count)}", ha="center", va="center", color=shade, fontsize=8)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=45, ha="right")
        axes.set_yticks(np.arange(len(classes)) + 0.5, classes[::-1])
        axes.set_xlabel("answered")
        axes.set_ylabel("gold")
        axes.set_title(title, fontsize=9, loc="left")
        return _svg(figure, f"confusion {title}", f"Confusion matrix: {title}")
