"""Survival from a list of slides to the concordance index, and the times and events that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.errors import InputError
from eosin.eval.survival import outcome_text, time_and_event
from eosin.numerics import unit_rows
from eosin.records import Embedding, Slide, Tile

SPLITS = ("train",) * 6 + ("val",) * 3 + ("test",) * 3


def slide_list(folder: Path) -> Path:
    """Small slides of pink noise on glass, and their table; the later the slide within its split, the longer the time."""
    pixels = np.full((256, 256, 3), 244, np.uint8)
    pixels[64:192, 64:192] = np.random.default_rng(0).normal((200, 90, 150), 30, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    rows = ["slide,case,label,split,time,event,stage"]
    for number, split in enumerate(SPLITS):
        write_pyramid(folder / f"s{number:02}.tiff", (256, 256), 0.5, iter([pixels]))
        rows.append(f"s{number:02}.tiff,case-{number},tumour,{split},{number % 6 + 1.5},{int(number % 5 != 4)},II")
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")
    return folder / "slides.csv"


def test_time_and_event_of_a_slide_list_are_scored_by_concordance(tmp_path: Path, write_records: Any) -> None:
    words = (f"slides={slide_list(tmp_path)}", "size=64", "quality.measure=false", "tissue.mpp=4", "tissue.smallest=0.001")
    assert eosin(["build", "data/tile-slides", *words, "--workers", "1", "--out", str(tmp_path / "built")]) == 0
    slides = list(open_artefact(tmp_path / "built" / "slides").records(Slide))
    assert {(slide.slide, slide.extra["time"], slide.extra["event"], slide.extra["stage"]) for slide in slides} == {
        (f"s{number:02}", number % 6 + 1.5, int(number % 5 != 4), "II") for number in range(len(SPLITS))
    }
    rows = []
    for tile in open_artefact(tmp_path / "built" / "tiles").records(Tile):
        vector = tuple(unit_rows(np.array([[1.0, float(str(tile.slide)[1:]) % 6]]))[0].tolist())
        common = {name: getattr(tile, name) for name in ("id", "source", "licence", "group", "split", "slide")}
        rows.append(Embedding(**common, vector=vector))
    write_records(tmp_path / "tiles", "embeddings", rows, {"fingerprint": "f"})
    inputs = (f"data={tmp_path / 'tiles'}", f"slides={tmp_path / 'built' / 'slides'}")
    assert eosin(["eval", "run", "eval/survival", *inputs, "--out", str(tmp_path / "out")]) == 0
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'out'}]", "--out", str(tmp_path / "scores")]) == 0
    row = json.loads((tmp_path / "scores" / "scores.json").read_text())["rows"][0]
    assert (row["task"], row["questions"], row["metrics"]["c_index"]["value"]) == ("survival", 3, 1.0)


@pytest.mark.parametrize("event", [True, False, 0, 1, 1.0])
def test_an_event_is_true_or_false_or_one_or_nought(event: object) -> None:
    assert time_and_event({"time": 0, "event": event}, "slide s") == (0.0, bool(event))


@pytest.mark.parametrize(("time", "text"), [(5, "5"), (5.0, "5"), (0.0, "0"), (-0.0, "0"), (5.25, "5.25"), (1e16, "10000000000000000")])
def test_one_time_is_one_text_and_reads_back(time: float, text: str) -> None:
    answer = outcome_text(*time_and_event({"time": time, "event": 1}, "slide s"))
    assert answer == f'{{"time": {text}, "event": true}}'
    assert time_and_event(json.loads(answer), "slide s") == (time, True)


@pytest.mark.parametrize("time", [None, "4", True, -1.0, float("nan"), float("inf")])
def test_a_time_is_a_finite_number_of_nought_or_more(time: object) -> None:
    with pytest.raises(InputError, match="slide s: survival wants time"):
        time_and_event({"time": time, "event": 1}, "slide s")


@pytest.mark.parametrize("event", [None, 2, -1, 0.5, "1", float("nan")])
def test_another_event_is_none(event: object) -> None:
    with pytest.raises(InputError, match="event, true or 1"):
        time_and_event({"time": 1.0, "event": event}, "slide s")


@pytest.mark.parametrize("answer", ['{"time": 1.0, "event": 2}', '{"time": NaN, "event": true}', "[1, 2]", "soon"])
def test_predictions_with_another_outcome_are_not_scored(
    tmp_path: Path, write_records: Any, make_predictions: Any, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_predictions([("s1", "g1", '{"time": 2.0, "event": true}', "0.5"), ("s2", "g2", answer, "0.5")], task="survival")
    write_records(tmp_path / "out", "predictions", rows)
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'out'}]", "--out", str(tmp_path / "scores")]) == 2
    assert "question s2" in " ".join(capsys.readouterr().err.split())
