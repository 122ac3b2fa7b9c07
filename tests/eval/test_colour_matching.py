"""Tiles whose colours are made alike: what is sent, what it is learnt from, and what stands in the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.eval.colour_matching import ColourReference, colour_reference, match_colours
from eosin.images import decode_image, encode_png
from eosin.numerics import colour_statistics
from eosin.records import LabelledImage, Prediction

REFERENCE = ColourReference((150.0, 120.0, 160.0), (20.0, 25.0, 15.0), 1, 0)


def test_every_matched_tile_has_the_references_six_numbers() -> None:
    rng = np.random.default_rng(0)
    for mean, spread in ((90.0, 8.0), (180.0, 30.0)):
        pixels = np.clip(rng.normal(mean, spread, (40, 50, 3)), 0, 255).astype(np.uint8)
        found = decode_image(match_colours(encode_png(pixels), REFERENCE))
        assert found.shape == pixels.shape
        np.testing.assert_allclose(colour_statistics(found), [*REFERENCE.mean, *REFERENCE.deviation], atol=0.6)


def test_matching_keeps_the_structure() -> None:
    pixels = np.random.default_rng(0).integers(60, 120, (30, 30, 3)).astype(np.uint8)
    found = decode_image(match_colours(encode_png(pixels), REFERENCE))
    assert min(np.corrcoef(found[:, :, c].ravel(), pixels[:, :, c].ravel())[0, 1] for c in range(3)) > 0.99


def test_a_channel_of_one_value_becomes_the_mean() -> None:
    found = decode_image(match_colours(encode_png(np.full((8, 8, 3), 7, dtype=np.uint8)), REFERENCE))
    np.testing.assert_array_equal(found, np.broadcast_to([150, 120, 160], (8, 8, 3)))


def test_the_reference_is_the_mean_over_the_tiles_of_the_training_split(bench: Any) -> None:
    data = open_artefact(bench.images)
    found = colour_reference(data, "train")
    wanted = np.mean([colour_statistics(decode_image(row.image)) for row in data.records(LabelledImage, "train")], axis=0)
    np.testing.assert_allclose([*found.mean, *found.deviation], wanted)
    assert (found.images, found.undecodable) == (24, 0)


def scored(bench: Any, *runs: Path) -> dict[str, Any]:
    named = ",".join(map(str, runs))
    assert eosin(["eval", "score", "demo/report", f"predictions=[{named}]", "--out", str(bench.root / "scores")]) == 0
    return json.loads((bench.root / "scores" / "scores.json").read_text())  # type: ignore[no-any-return]


def test_a_model_of_colour_alone_falls_to_chance_beside_its_plain_score(bench: Any, embedder: Any) -> None:
    data = (f"data={bench.images}", f"colour_reference={bench.images}")
    out, colour = bench.root / "out", bench.root / "colour"
    assert eosin(["eval", "run", "eval/colour-matched", f"model={bench.clip}", *data, "--out", str(out)]) == 0
    assert eosin(["eval", "run", "eval/colour-baseline", *data, "--out", str(colour)]) == 0
    rows = list(open_artefact(out).records(Prediction))
    assert [row.condition for row in rows] == ["plain"] * 24 + ["colour_matched"] * 24
    assert {row.id for row in rows[24:]} == {f"{row.question}#colour_matched" for row in rows[:24]}
    assert not {row.image_hashes for row in rows[:24]} & {row.image_hashes for row in rows[24:]}
    assert open_artefact(out).manifest["results"]["colour_reference"]["images"] == 24
    found = scored(bench, out, colour)
    summary, intervals = found["summary"], found["intervals"]
    for name in ("zero_shot", "colour_baseline"):
        assert summary[name] == 1.0
        assert summary[f"{name}_colour_matched"] < 0.7
        low, high = intervals[f"{name}_colour_matched"]
        assert low <= summary[f"{name}_colour_matched"] <= high
    pairs = {
        (row["first"]["condition"], row["first"]["model"], row["second"]["condition"], row["second"]["model"]) for row in found["deltas"]
    }
    assert ("plain", "colour-embedder", "colour_matched", "colour-embedder") in pairs
    assert ("colour_matched", "colour-embedder", "colour_matched", "colour-baseline") in pairs
    assert "colour_matched" in (bench.root / "scores" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reference_split=test",), "colours come from training"),
        (("condition=blind",), "goes with condition plain"),
        (("reference_split=val",), "val"),
    ],
)
def test_colours_from_elsewhere_than_training_are_refused(
    bench: Any, embedder: Any, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (f"model={bench.clip}", f"data={bench.images}", f"colour_reference={bench.images}")
    assert eosin(["eval", "run", "eval/colour-matched", *data, *words, "--out", str(bench.root / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_one_damaged_image_costs_one_answer_of_many_that_were_asked_together(bench: Any, embedder: Any, write_records: Any) -> None:
    rows = list(open_artefact(bench.images).records(LabelledImage, "test"))
    bad = LabelledImage(**{**vars(rows[5]), "image": b"no image"})
    write_records(bench.root / "damaged", "labelled_images", [*rows[:5], bad, *rows[6:]], dict(open_artefact(bench.images).plan.facts))
    words = (f"model={bench.clip}", f"data={bench.root / 'damaged'}", "batch_size=4")
    assert eosin(["eval", "run", "demo/eval-zero-shot", *words, "--out", str(bench.root / "out")]) == 0
    found = list(open_artefact(bench.root / "out").records(Prediction))
    assert [row.finish_reason for row in found] == ["argmax"] * 5 + ["error"] + ["argmax"] * 18
    assert all(row.reply == row.answer for row in found if row.finish_reason == "argmax")


def test_a_leaderboard_shows_the_colour_baseline_over_the_rankings_own_questions(bench: Any, embedder: Any) -> None:
    out, colour, board = bench.root / "out", bench.root / "colour", bench.root / "board"
    assert eosin(["eval", "run", "demo/eval-zero-shot", f"model={bench.clip}", f"data={bench.images}", "limit=6", "--out", str(out)]) == 0
    assert eosin(["eval", "run", "eval/colour-baseline", f"data={bench.images}", "--out", str(colour)]) == 0
    assert eosin(["eval", "leaderboard", str(out), str(colour), "--out", str(board)]) == 0
    rows = json.loads((board / "leaderboard.json").read_text())["boards"][0]["rows"]
    assert [(row["name"], row["rank"], row["questions"]) for row in rows][1] == ("colour baseline", None, 6)
    assert rows[0]["questions"] == 6
