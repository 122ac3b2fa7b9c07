"""What scoring promises: complete denominators, honest comparisons, the same bytes every time, from predictions alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, Plan
from eosin.cli import main as eosin
from eosin.eval.config import ScoreConfig
from eosin.eval.predictions import read_runs
from eosin.eval.scorers import SCORERS
from eosin.eval.summary import flat_scores, summary_key
from eosin.records import TASKS, Prediction

Make = Callable[..., list[Prediction]]
Write = Callable[..., Artefact]


def score(out: Path, *folders: Path, more: tuple[str, ...] = ()) -> dict[str, Any]:
    names = ",".join(str(folder) for folder in folders)
    assert eosin(["eval", "score", "demo/report", f"predictions=[{names}]", *more, "--out", str(out)]) == 0
    return json.loads((out / "scores.json").read_text())  # type: ignore[no-any-return]


def main_of(scores: dict[str, Any], task: str, condition: str = "plain") -> dict[str, Any]:
    row = next(row for row in scores["rows"] if (row["task"], row["condition"]) == (task, condition))
    return {**row, **row["metrics"][row["main"]]}


def test_every_task_of_the_records_can_be_scored() -> None:
    of_encoders = {"zero_shot", "zero_shot_slides", "retrieval", "probe", "slide_probe", "survival"}
    assert set(SCORERS) == {*of_encoders, *TASKS}


def test_an_invalid_answer_is_wrong_and_stays_in_the_denominator(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    replies = [("yes", "Yes."), ("no", "no"), ("yes", "perhaps"), ("no", "yes or no"), ("no", "yes")]
    rows = [(f"q{n}", f"g{n}", gold, reply) for n, (gold, reply) in enumerate(replies)]
    write_records(tmp_path / "p", "predictions", make_predictions(rows, task="closed"))
    row = main_of(score(tmp_path / "out", tmp_path / "p"), "closed")
    assert (row["questions"], row["invalid"], row["value"]) == (5, 2, 0.4)
    assert row["metrics"]["balanced_accuracy"]["value"] == pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-6)
    assert row["baselines"]["majority"] == 0.6
    assert row["confusion"] == {"classes": ["no", "yes"], "counts": [[1, 1, 1], [0, 1, 1]]}


def test_an_error_is_wrong_even_where_its_reply_would_be_right(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    rows = make_predictions([("q0", "a", "fat", "fat"), ("q1", "b", "fat", "fat")])
    failed = make_predictions([("q2", "c", "fat", "fat")], finish_reason="error")
    write_records(tmp_path / "p", "predictions", rows + failed)
    row = main_of(score(tmp_path / "out", tmp_path / "p"), "open")
    assert (row["errors"], row["invalid"], row["value"]) == (1, 1, pytest.approx(2 / 3, abs=1e-6))


def test_choices_are_compared_by_number(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    options = ("fat", "mucus", "colon, normal")
    rows = [
        ("q0", "a", "mucus", "B"),
        ("q1", "b", "mucus", "(A) mucus"),
        ("q2", "c", "colon, normal", "colon, normal"),
        ("q3", "d", "fat", "D"),
    ]
    write_records(tmp_path / "p", "predictions", make_predictions(rows, task="mcq", options=options))
    row = main_of(score(tmp_path / "out", tmp_path / "p"), "mcq")
    assert (row["value"], row["invalid"]) == (0.5, 1)
    assert row["baselines"]["chance"] == pytest.approx(1 / 3, abs=1e-6)


def test_a_gold_answer_outside_its_options_is_refused(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    rows = make_predictions([("q0", "a", "bone", "A")], task="mcq", options=("fat", "mucus"))
    write_records(tmp_path / "p", "predictions", rows)
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'p'}]", "--out", str(tmp_path / "out")]) == 2


def test_deltas_are_paired_within_one_benchmark_only(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    gold = [(f"q{n}", f"g{n % 10}", "yes" if n % 2 else "no") for n in range(40)]
    plain = [(q, g, a, a) for q, g, a in gold]
    blind = [(q, g, a, "yes") for q, g, a in gold]
    write_records(tmp_path / "plain", "predictions", make_predictions(plain, task="closed"))
    write_records(tmp_path / "blind", "predictions", make_predictions(blind[:30], task="closed", condition="blind"))
    write_records(tmp_path / "other", "predictions", make_predictions(plain, task="closed", condition="evidence", benchmark="c" * 64))
    colour = [(q, g, a, "no") for q, g, a in gold]
    write_records(tmp_path / "colour", "predictions", make_predictions(colour, task="closed", model="colour-baseline"))
    scores = score(tmp_path / "out", *(tmp_path / name for name in ("plain", "blind", "other", "colour")))
    found = {(d["first"]["condition"], d["second"]["condition"], d["second"]["model"]): d for d in scores["deltas"]}
    assert set(found) == {("plain", "blind", "m"), ("plain", "plain", "colour-baseline")}
    delta = found["plain", "blind", "m"]
    assert (delta["questions"], delta["not_shared"], delta["value"]) == (30, 10, 0.5)
    assert len(scores["notes"]) == 1
    assert "evidence" in scores["notes"][0]
    assert "cccccccccccccccc" in scores["notes"][0]
    assert scores["summary"] == {
        "closed_vqa": 1.0,
        "closed_vqa_blind": 0.5,
        "closed_vqa_evidence": 1.0,
        "colour_baseline_closed": 0.5,
    }


def test_topics_and_the_best_constant_answer_of_each_stand_beside_the_score(
    tmp_path: Path, make_predictions: Make, write_records: Write
) -> None:
    organ = make_predictions([(f"o{n}", f"g{n}", "colon" if n < 3 else "lung", "colon") for n in range(4)], topic="organ")
    stain = make_predictions([(f"s{n}", f"g{n}", "H&E", "H&E") for n in range(4)], topic="stain")
    write_records(tmp_path / "p", "predictions", organ + stain)
    row = main_of(score(tmp_path / "out", tmp_path / "p"), "open")
    assert [(topic["topic"], topic["questions"], topic["value"]) for topic in row["topics"]] == [("organ", 4, 0.75), ("stain", 4, 1.0)]
    assert row["baselines"] == {"chance": None, "majority": 0.5, "majority_by_topic": 0.875}


def test_grounding_and_text_tasks_are_scored_and_signed(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    boxes = [("b0", "a", "[0, 0, 99, 99]", "[0, 0, 99, 99]"), ("b1", "b", "[0, 0, 99, 99]", "left")]
    texts = [("c0", "a", "normal colon mucosa", "colon mucosa"), ("c1", "b", "fat cells", "")]
    both = make_predictions(boxes, task="grounding") + make_predictions(texts, task="caption")
    write_records(tmp_path / "p", "predictions", both)
    scores = score(tmp_path / "out", tmp_path / "p")
    assert scores["summary"] == {"caption_token_f1": 0.4, "grounding_acc50": 0.5}
    assert main_of(scores, "grounding")["invalid"] == 1
    assert "tok:13a" in main_of(scores, "caption")["notes"][0]
    assert "tok:13a" in (tmp_path / "out" / "report.md").read_text()


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    picture = "data:image/png;base64,iVBORw0KGgo="
    rows = make_predictions([(f"q{n}", f"g{n % 7}", "no" if n % 3 else "yes", "no") for n in range(50)], task="closed")
    shown = [Prediction(**{**vars(row), "extra": {"question": "Is <it> fat?", "thumbnail": picture}}) for row in rows]
    classes = [(f"z{n}", f"g{n}", "AB"[n % 2], "A") for n in range(8)]
    zero_shot = make_predictions(classes, task="zero_shot", options=("A", "B"), topic="A", finish_reason="argmax")
    write_records(tmp_path / "p", "predictions", shown + zero_shot)
    for name in ("one", "two"):
        score(tmp_path / name, tmp_path / "p")
    for name in ("scores.json", "report.md", "report.html", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count(picture) == 8
    assert "Is &lt;it&gt; fat?" in page
    assert page.count("<svg") == 2
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:|#)[a-z]+:", page)
    assert "://" not in page
    assert "/tmp" not in page
    assert not re.search(r"20\d\d-\d\d-\d\d", page)


def test_the_summary_leaves_out_what_two_models_would_claim_and_score_shows_it(
    tmp_path: Path, make_predictions: Make, write_records: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("q0", "a", "fat", "fat"), ("q1", "b", "fat", "mucus")]
    write_records(tmp_path / "one", "predictions", make_predictions(rows))
    write_records(tmp_path / "two", "predictions", make_predictions(rows[:1], model="n"))
    write_records(tmp_path / "mcq", "predictions", make_predictions(rows, task="mcq", options=("fat", "mucus")))
    scores = score(tmp_path / "out", tmp_path / "one", tmp_path / "two", tmp_path / "mcq")
    assert len(scores["rows"]) == 3
    assert scores["summary"] == {"mcq": 0.5}
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert any("2 not in the summary" in line for line in lines)
    shown = [line for line in lines if "open_exact" in line]
    assert ["0.500" in shown[0], "1.000" in shown[1]] == [True, True]
    score(tmp_path / "alone", tmp_path / "mcq")
    assert "not in the summary" not in capsys.readouterr().out


def test_summary_keys_are_the_ones_that_are_quoted() -> None:
    assert summary_key("zero_shot", "m", "blind") == "zero_shot_blind"
    assert summary_key("closed", "m", "plain") == "closed_vqa"
    assert summary_key("open", "m", "evidence") == "open_exact_evidence"
    assert summary_key("grounding", "m", "plain") == "grounding_acc50"
    assert summary_key("zero_shot", "colour-baseline", "plain") == "colour_baseline"
    assert summary_key("open", "colour-baseline", "plain") == "colour_baseline_open"
    assert flat_scores([]) == {}


def test_predictions_named_twice_are_refused(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    write_records(tmp_path / "p", "predictions", make_predictions([("q0", "a", "fat", "fat")]))
    names = f"predictions=[{tmp_path / 'p'},{tmp_path / 'p'}]"
    assert eosin(["eval", "score", "demo/report", names, "--out", str(tmp_path / "out")]) == 2


def test_another_kind_of_artefact_is_refused(tmp_path: Path) -> None:
    with ArtefactWriter(tmp_path / "clip", Plan("clip_model", "clip train", {})) as writer:
        writer.finish()
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'clip'}]", "--out", str(tmp_path / "out")]) == 2


def test_twenty_thousand_predictions_are_scored_in_seconds(tmp_path: Path, make_predictions: Make, write_records: Write) -> None:
    rng = np.random.default_rng(0)
    said = rng.choice(["yes", "no", "Yes, it is.", "unclear"], 20_000)
    rows = [(f"q{n}", f"g{n // 5}", "yes" if n % 2 else "no", said[n]) for n in range(20_000)]
    artefact = write_records(tmp_path / "p", "predictions", make_predictions(rows, task="closed", topic="class"))
    started = time.process_time()
    scores = score(tmp_path / "out", tmp_path / "p")
    assert time.process_time() - started < 10
    assert main_of(scores, "closed")["questions"] == len(read_runs([artefact]).popitem()[1]) == 20_000


def test_the_shipped_defaults_are_the_documented_ones() -> None:
    defaults = ScoreConfig()
    assert (defaults.resamples, defaults.confidence, defaults.seed) == (1000, 0.95, 0)
