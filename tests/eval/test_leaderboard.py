"""What stands in one ranking: runs over the same data, asked alike, with the same right answers; and what is said of all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts.plan import InputRef
from eosin.cli import main as eosin
from eosin.numerics import unit_rows
from eosin.records import Embedding, Slide

COLOURS = {"PINK": (230.0, 120.0, 180.0), "BLUE": (60.0, 70.0, 200.0)}


def board(root: Path, *runs: str, words: tuple[str, ...] = ()) -> int:
    return eosin(["eval", "leaderboard", *(str(root / name) for name in runs), *words, "--resamples", "100", "--out", str(root / "board")])


def found(root: Path) -> dict[str, Any]:
    return json.loads((root / "board" / "leaderboard.json").read_text())  # type: ignore[no-any-return]


def embed(write: Any, folder: Path, fingerprint: str, **plan_of: Any) -> None:
    """Four tiles a slide, four slides a split, of the colour that is their label."""
    rows = []
    for split in ("train", "val", "test"):
        for number in range(16):
            label = list(COLOURS)[number // 4 % 2]
            vector = unit_rows([[*COLOURS[label], float(number)]])[0]
            common = {
                "id": f"made/{split}-{number}",
                "source": "made",
                "licence": "CC0-1.0",
                "split": split,
                "slide": f"{split}-{number // 4}",
            }
            rows.append(Embedding(**common, group=f"case-{split}-{number // 4}", vector=tuple(vector.tolist()), label=label))
    write(folder, "embeddings", rows, {"fingerprint": fingerprint}, **plan_of)


def tiles_of_slides(tiles: str, slides: str = "5" * 64) -> dict[str, Any]:
    return {"inputs": (InputRef("model", "clip_model", "e" * 64), InputRef("tiles", "tiles", tiles), InputRef("slides", "slides", slides))}


def knn(root: Path, data: str, *words: str) -> None:
    run = ("eval", "run", "eval/knn", f"data={root / data}", "neighbours=3", *words, "--out", str(root / f"{data}-knn"))
    assert eosin(list(run)) == 0


def slide_probe(root: Path, data: str) -> None:
    inputs = (f"data={root / data}", f"slides={root / 'slides'}")
    assert eosin(["eval", "run", "eval/slide-probe", *inputs, "--out", str(root / f"{data}-slides")]) == 0


def test_encoders_of_the_same_tiles_of_slides_are_ranked_against_each_other(tmp_path: Path, write_records: Any) -> None:
    slides = []
    for split in ("train", "val", "test"):
        for number in range(4):
            common = {"id": f"made/{split}-{number}", "source": "made", "licence": "CC0-1.0", "group": f"case-{split}-{number}"}
            label = list(COLOURS)[number % 2]
            slides.append(Slide(**common, split=split, slide=f"{split}-{number}", path="x.svs", labels=(label,)))  # type: ignore[arg-type]
    write_records(tmp_path / "slides", "slides", slides)
    for name in ("one", "two"):
        embed(write_records, tmp_path / name, f"fingerprint-{name}", **tiles_of_slides("7" * 64))
        knn(tmp_path, name)
        slide_probe(tmp_path, name)
    assert board(tmp_path, "one-knn", "two-knn", "one-slides", "two-slides") == 0
    boards = found(tmp_path)["boards"]
    assert [(entry["task"], [row["rank"] for row in entry["rows"]]) for entry in boards] == [("probe", [1, 2]), ("slide_probe", [1, 2])]
    assert found(tmp_path)["notes"] == []


def test_the_same_questions_over_other_tiles_are_not_ranked_and_the_board_says_so(
    tmp_path: Path, write_records: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, digest in (("one", "7" * 64), ("two", "8" * 64)):
        embed(write_records, tmp_path / name, f"fingerprint-{name}", **tiles_of_slides(digest))
        knn(tmp_path, name)
    assert board(tmp_path, "one-knn", "two-knn") == 0
    assert [len(entry["rows"]) for entry in found(tmp_path)["boards"]] == [1, 1]
    (note,) = found(tmp_path)["notes"]
    assert "over other data" in note
    assert note in (tmp_path / "board" / "leaderboard.md").read_text()
    assert note in (tmp_path / "board" / "leaderboard.html").read_text()
    assert "over other data" in " ".join(capsys.readouterr().err.split())


def test_exact_and_rounded_vectors_of_one_model_are_two_rows_of_a_ranking(tmp_path: Path, write_records: Any) -> None:
    made = {"exact": {}, "half": {"precision": "bf16", "store": "float16"}}
    for name, settings in made.items():
        embed(write_records, tmp_path / name, "f", settings=settings, **tiles_of_slides("7" * 64))
        knn(tmp_path, name, f"name={name}")
    assert board(tmp_path, "exact-knn", "half-knn") == 0
    (only,) = found(tmp_path)["boards"]
    assert sorted((row["name"], row["model"]) for row in only["rows"]) == [("exact", "f"), ("half", "f bf16 float16")]


def zero_shot(bench: Any, out: str, *words: str, recipe: str = "demo/eval-zero-shot") -> None:
    inputs = (f"model={bench.clip}", f"data={bench.images}", "--out", str(bench.root / out))
    assert eosin(["eval", "run", recipe, *words, *inputs]) == 0


def test_runs_whose_labels_were_renamed_otherwise_are_not_ranked(bench: Any, embedder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    zero_shot(bench, "one")
    embedder.fingerprint = "another"
    zero_shot(bench, "two", "rename={GREEN: BLUE}")
    assert board(bench.root, "one", "two") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "renamed" in said
    assert "'BLUE' in one and 'GREEN' in the other" in said
    assert board(bench.root, "one", "two", words=("--separate", "--overwrite")) == 0
    assert [len(entry["rows"]) for entry in found(bench.root)["boards"]] == [1, 1]


def test_a_name_for_a_label_that_nobody_asks_about_is_no_other_protocol(bench: Any, embedder: Any) -> None:
    zero_shot(bench, "one")
    embedder.fingerprint = "another"
    zero_shot(bench, "two", "rename={PINK: PINK, GREY: BLUE}")
    assert board(bench.root, "one", "two") == 0
    assert [row["rank"] for row in found(bench.root)["boards"][0]["rows"]] == [1, 2]


def test_runs_with_other_right_answers_to_the_same_questions_are_not_ranked(
    tmp_path: Path, write_records: Any, make_predictions: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, truth in (("one", "yes"), ("two", "no")):
        rows = make_predictions([("q1", "g1", truth, "yes"), ("q2", "g2", "no", "no")], task="closed", model=name)
        write_records(tmp_path / name, "predictions", rows)
    assert board(tmp_path, "one", "two") == 2
    assert "the right answer to q1 is 'yes' in one and 'no' in the other" in " ".join(capsys.readouterr().err.split())


def test_the_colour_baseline_of_other_classes_does_not_stand_below_a_ranking(bench: Any, embedder: Any) -> None:
    assert eosin(["eval", "run", "eval/colour-baseline", f"data={bench.images}", "--out", str(bench.root / "colour")]) == 0
    zero_shot(bench, "out", "rename={GREEN: BLUE}")
    assert board(bench.root, "out", "colour") == 0
    assert [row["rank"] for row in found(bench.root)["boards"][0]["rows"]] == [1]


def test_a_run_of_one_domain_is_ranked_and_the_other_domain_is_told_to_be_empty(bench: Any, embedder: Any) -> None:
    zero_shot(bench, "out", "domain=source", "in_domain=[made]")
    assert board(bench.root, "out") == 0
    for name in ("leaderboard.md", "leaderboard.html"):
        assert "no question is out-domain" in (bench.root / "board" / name).read_text()


def test_patients_of_one_name_in_two_sources_are_two_groups(tmp_path: Path, write_records: Any, make_predictions: Any) -> None:
    rows = [
        row
        for source in ("here", "there")
        for row in make_predictions([(f"{source}-{n}", "0", "yes", "yes" if n else "no") for n in range(2)], task="closed", source=source)
    ]
    write_records(tmp_path / "out", "predictions", rows)
    assert board(tmp_path, "out") == 0
    (row,) = found(tmp_path)["boards"][0]["rows"]
    assert row["groups"] == 2
    assert row["low"] is not None


def test_a_seed_that_no_generator_starts_from_is_refused(
    tmp_path: Path, write_records: Any, make_predictions: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "out", "predictions", make_predictions([("q1", "g1", "yes", "yes")], task="closed"))
    assert board(tmp_path, "out", words=("--seed", "-1")) == 2
    assert "seed must be from 0" in " ".join(capsys.readouterr().err.split())
