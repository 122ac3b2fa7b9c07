"""Right and wrong answers with their pictures, chosen the same way every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eosin.eval.comparison import Run
from eosin.eval.predictions import RunKey, Shown
from eosin.eval.questions import stable_order


@dataclass(frozen=True)
class Example:
    """One answered question as a report shows it."""

    question: str
    text: str
    thumbnail: str
    answer: str
    reply: str
    verdict: str


def choose_examples(run: Run, shown: Mapping[str, Shown], count: int) -> list[Example]:
    """Up to `count` right and `count` wrong answers, of the questions whose picture was kept, in an order of their own."""
    places = sorted(
        (place for place, name in enumerate(run.rows.question) if name in shown), key=lambda p: stable_order(run.rows.question[p])
    )
    right = [place for place in places if run.scored.credit[place] == 1.0][:count]
    wrong = [place for place in places if run.scored.credit[place] < 1.0][:count]
    return [_example(run, shown, place) for place in right + wrong]


def _example(run: Run, shown: Mapping[str, Shown], place: int) -> Example:
    rows, credit = run.rows, float(run.scored.credit[place])
    verdict = "right" if credit == 1.0 else "invalid" if run.scored.invalid[place] else "wrong" if credit == 0.0 else f"{credit:.2f}"
    found = shown[rows.question[place]]
    return Example(rows.question[place], found.text, found.thumbnail, rows.answer[place], rows.reply[place], verdict)


def examples_by_run(runs: Mapping[RunKey, Run], shown: Mapping[str, Shown], count: int) -> dict[RunKey, list[Example]]:
    """The examples of each run that was asked plainly or with evidence: a black image shows nothing."""
    keys = [key for key in runs if key.condition in ("plain", "evidence")]
    found = {key: choose_examples(runs[key], shown, count) for key in keys} if count else {}
    return {key: examples for key, examples in found.items() if examples}
