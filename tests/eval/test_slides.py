"""Slides from their tiles' vectors: pooling by hand, vectors that are refused, heat maps where the tumour is, survival learnt."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.eval.cox import fit_cox
from eosin.eval.heat_map import heat_map
from eosin.eval.pooling import POOLINGS, Pooling, smoothed
from eosin.eval.prototypes import find_prototypes, over_prototypes
from eosin.images import decode_image, encode_png
from eosin.numerics import softmax, unit_rows
from eosin.records import Embedding, Prediction, Slide

COLOURS = {"PINK": (230, 120, 180), "BLUE": (60, 70, 200), "GREEN": (60, 190, 90)}
POOLED = Pooling(k=2, scale=10.0, normal=(0,), threshold=0.4)


def test_pooling_is_what_its_paper_says() -> None:
    cosines = np.array([[0.9, 0.1], [0.8, 0.3], [0.1, 0.7], [0.2, 0.6], [0.3, 0.5]])
    np.testing.assert_allclose(POOLINGS["topk_mean"](cosines, POOLED), [0.85, 0.65])
    np.testing.assert_allclose(POOLINGS["topk_sum"](cosines, POOLED), [1.7, 1.3])
    np.testing.assert_allclose(POOLINGS["mean"](cosines, POOLED), cosines.mean(axis=0))
    np.testing.assert_allclose(POOLINGS["class_share"](cosines, POOLED), [-1.0, 0.6])
    ratio = float((softmax(cosines * 10)[:, 1] > 0.5).mean())
    assert ratio == 0.6
    np.testing.assert_allclose(POOLINGS["tumour_ratio"](cosines, POOLED), [-0.2, 0.2])
    np.testing.assert_allclose(POOLINGS["topk_mean"](cosines[:1], POOLED), cosines[0])


def test_smoothing_averages_a_tile_with_its_nearest_ones() -> None:
    places = np.array([[0.0, 0], [1, 0], [2, 0], [50, 0]])
    scores = np.array([[1.0], [2.0], [3.0], [9.0]])
    np.testing.assert_allclose(smoothed(scores, places, 3)[1], [2.0])
    np.testing.assert_allclose(smoothed(scores, places, 1), scores)
    np.testing.assert_allclose(smoothed(scores, places, 8), np.full((4, 1), 3.75))


def test_a_heat_map_is_hot_where_the_score_is_high_and_the_overview_where_no_tile_is() -> None:
    overview = np.full((20, 40, 3), 7, dtype=np.uint8)
    places = np.array([[0.0, 0, 100], [100, 0, 100]])
    picture = heat_map(places, np.array([0.0, 1.0]), overview, (400.0, 200.0), 80)
    assert picture.shape == (40, 80, 3)
    assert picture[5, 5, 2] > picture[5, 5, 0]
    assert picture[5, 30, 0] > picture[5, 30, 2]
    assert (picture[30, 70] == 7).all()


def tile(slide: str, number: int, colour: str, split: str, label: str) -> Embedding:
    rng = np.random.default_rng([number, *slide.encode()])
    vector = unit_rows((np.array(COLOURS[colour]) + rng.normal(0, 5, 3))[None])[0]
    place = {"x": 100 * (number % 4), "y": 100 * (number // 4), "size": 100}
    common = {"id": f"{slide}/{number}", "source": "made", "licence": "CC0-1.0", "group": f"case-{slide}", "split": split, "slide": slide}
    return Embedding(**common, vector=tuple(vector.tolist()), label=label, extra=place)


def slide_tiles(slide: str, label: str, split: str, tumour: int = 3) -> list[Embedding]:
    """Twelve tiles, most of them of every slide's own green, some of its label."""
    return [tile(slide, number, label if number < tumour else "GREEN", split, label) for number in range(12)]


@pytest.fixture
def slides(bench: Any, embedder: Any, write_records: Any) -> Path:
    found = [row for n in range(6) for row in slide_tiles(f"s{n}", ("PINK", "BLUE")[n % 2], "test")]
    # Tiles of a slide need not lie together.
    write_records(bench.root / "tiles", "embeddings", found[::2] + found[1::2], {"fingerprint": embedder.fingerprint})
    (bench.root / "names.yaml").write_text(
        "classes: {PINK: {answer: pink tissue}, BLUE: {answer: blue nuclei}, GREEN: {answer: green ink}}\n"
    )
    return bench.root / "tiles"


def run(bench: Any, data: Path, recipe: str, *words: str, out: str = "out") -> int:
    names = f"labels={bench.root / 'names.yaml'}"
    inputs = (f"model={bench.clip}", f"data={data}", *([] if any("class_names" in word for word in words) else [names]))
    return eosin(["eval", "run", recipe, *inputs, "prompts=prompts/bare", *words, "--out", str(bench.root / out)])


def rows_of(folder: Path) -> list[Prediction]:
    return list(open_artefact(folder, "predictions").records(Prediction))


def label_file(bench: Any, *names: str) -> None:
    words = {"PINK": "pink tissue", "BLUE": "blue nuclei", "GREEN": "green ink"}
    classes = ", ".join(f"{name}: {{answer: {words[name]}}}" for name in names)
    (bench.root / "names.yaml").write_text(f"classes: {{{classes}}}\n")


def test_slides_are_classed_by_their_highest_tiles_and_keep_a_heat_map(bench: Any, slides: Path, embedder: Any) -> None:
    label_file(bench, "PINK", "BLUE")
    assert run(bench, slides, "eval/slides-topk", "k=3", "heat_maps=2", "heat_map_side=64") == 0
    rows = rows_of(bench.root / "out")
    assert [row.question for row in rows] == [f"s{n}" for n in range(6)]
    assert all(row.reply == row.answer for row in rows)
    assert [("thumbnail" in row.extra) for row in rows] == [True, True, False, False, False, False]
    picture = decode_image(base64.b64decode(rows[0].extra["thumbnail"].split(",")[1]))
    assert picture.shape == (48, 64, 3)
    assert int(picture[8, 8, 0]) - int(picture[8, 8, 2]) > int(picture[40, 8, 0]) - int(picture[40, 8, 2])
    assert eosin(["eval", "score", "demo/report", f"predictions=[{bench.root / 'out'}]", "--out", str(bench.root / "scores")]) == 0


def test_classes_without_slides_stay_answers_and_are_named(
    bench: Any, embedder: Any, write_records: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for n in range(3) for row in slide_tiles(f"s{n}", "PINK", "test", tumour=2)]
    write_records(bench.root / "tiles", "embeddings", rows, {"fingerprint": embedder.fingerprint, "classes": ["PINK"]})
    label_file(bench, "PINK", "BLUE", "GREEN")
    assert run(bench, bench.root / "tiles", "eval/slides-topk", "pooling=mean") == 0
    assert "no slide of BLUE, GREEN" in " ".join(capsys.readouterr().err.split())
    assert {row.options for row in rows_of(bench.root / "out")} == {("PINK", "BLUE", "GREEN")}
    assert {row.reply for row in rows_of(bench.root / "out")} == {"GREEN"}
    first = open_artefact(bench.root / "out").plan.facts["protocol"]
    assert first["title"] == "mean, Names alone"
    label_file(bench, "PINK", "BLUE")
    assert run(bench, bench.root / "tiles", "eval/slides-topk", "pooling=mean", out="fewer") == 0
    assert open_artefact(bench.root / "fewer").plan.facts["protocol"]["id"] != first["id"]
    inputs = (f"model={bench.clip}", f"data={bench.root / 'tiles'}", "--out", str(bench.root / "alone"))
    assert eosin(["eval", "run", "eval/slides-topk", *inputs]) == 2
    assert "every answer would be right" in " ".join(capsys.readouterr().err.split())


def test_slides_of_other_splits_tell_of_classes_too(bench: Any, embedder: Any, write_records: Any) -> None:
    rows = slide_tiles("s0", "PINK", "test") + slide_tiles("s1", "BLUE", "train")
    rows = [Embedding(**{**vars(row), "label": {"PINK": "pink tissue", "BLUE": "blue nuclei"}[str(row.label)]}) for row in rows]
    write_records(bench.root / "tiles", "embeddings", rows, {"fingerprint": embedder.fingerprint})
    inputs = (f"model={bench.clip}", f"data={bench.root / 'tiles'}", "--out", str(bench.root / "out"))
    assert eosin(["eval", "run", "eval/slides-topk", *inputs]) == 0
    assert [row.options for row in rows_of(bench.root / "out")] == [("blue nuclei", "pink tissue")]


@pytest.mark.parametrize("pooling", ["topk_mean", "topk_sum", "mean", "class_share"])
def test_scores_of_slides_are_scikit_learns(bench: Any, embedder: Any, write_records: Any, pooling: str) -> None:
    rng = np.random.default_rng(3)
    names = list(COLOURS)
    rows = []
    for number in range(30):
        label = names[number % 3]
        colours = [label if rng.random() < 0.45 else names[rng.integers(3)] for _ in range(7)]
        rows += [tile(f"s{number:02d}", place, colour, "test", label) for place, colour in enumerate(colours)]
    write_records(bench.root / "tiles", "embeddings", rows, {"fingerprint": embedder.fingerprint})
    label_file(bench, *names)
    assert run(bench, bench.root / "tiles", "eval/slides-topk", f"pooling={pooling}", "k=4") == 0
    assert eosin(["eval", "score", "demo/report", f"predictions=[{bench.root / 'out'}]", "--out", str(bench.root / "scores")]) == 0
    found = json.loads((bench.root / "scores" / "scores.json").read_text())["rows"][0]["metrics"]
    weights = embedder.embed_texts(["pink tissue", "blue nuclei", "green ink"])
    pooled = []
    for number in range(30):
        vectors = np.array([row.vector for row in rows if row.slide == f"s{number:02d}"], dtype=np.float32)
        pooled.append(POOLINGS[pooling]((vectors @ weights.T).astype(np.float64), Pooling(4, 10.0, (), 0.5)))
    scores = np.stack(pooled)
    sure = scores if pooling == "class_share" else softmax(scores * embedder.logit_scale)
    gold = np.arange(30) % 3
    wanted = roc_auc_score(gold, sure, multi_class="ovr")
    assert found["auroc"]["value"] == pytest.approx(wanted, abs=1e-6)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(gold, scores.argmax(axis=1)), abs=1e-6)
    assert found["weighted_f1"]["value"] == pytest.approx(f1_score(gold, scores.argmax(axis=1), average="weighted"), abs=1e-6)
    assert 0.5 < wanted < 1.0


def test_the_tumour_ratio_detects_and_normal_slides_count_as_normal(bench: Any, slides: Path, embedder: Any, write_records: Any) -> None:
    found = [row for n in range(4) for row in slide_tiles(f"s{n}", ("PINK", "GREEN")[n % 2], "test", tumour=8)]
    write_records(bench.root / "cases", "embeddings", found, {"fingerprint": embedder.fingerprint})
    label_file(bench, "PINK", "GREEN")
    assert run(bench, bench.root / "cases", "eval/slides-tumour-ratio", "normal=[GREEN]") == 0
    rows = rows_of(bench.root / "out")
    assert [(row.answer, row.reply) for row in rows] == [("tumour", "tumour"), ("normal", "normal")] * 2
    assert rows[0].scores[1] == pytest.approx(8 / 12 - 0.5, abs=1e-6)
    assert rows[1].scores[1] == pytest.approx(-0.5, abs=1e-6)


def test_draws_of_prompts_classify_each_slide_once_a_draw(bench: Any, slides: Path, embedder: Any) -> None:
    label_file(bench, "PINK", "BLUE")
    assert run(bench, slides, "eval/slides-topk", "prompts=prompts/mi-zero", "pooling=topk_sum", "smooth=2") == 0
    assert all(len(row.extra["draws"]) == 50 for row in rows_of(bench.root / "out"))


def test_a_labels_file_that_lies_elsewhere_is_the_same_protocol(bench: Any, slides: Path, embedder: Any) -> None:
    label_file(bench, "PINK", "BLUE")
    words = (f"model={bench.clip}", f"data={slides}", "prompts=prompts/bare")
    (bench.root / "elsewhere.yaml").write_text((bench.root / "names.yaml").read_text())
    (bench.root / "other.yaml").write_text(
        "classes: {PINK: {answer: pink tissue}, BLUE: {answer: blue nuclei  }, GREEN: {answer: green ink}}"
    )
    ids = []
    for name in ("names", "elsewhere", "other"):
        out = str(bench.root / f"out-{name}")
        assert eosin(["eval", "run", "eval/slides-topk", f"labels={bench.root / name}.yaml", *words, "--out", out]) == 0
        ids.append(open_artefact(out).plan.facts["protocol"]["id"])
    assert ids[0] == ids[1] != ids[2]


def test_vectors_of_another_model_are_refused(bench: Any, embedder: Any, write_records: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(bench.root / "tiles", "embeddings", slide_tiles("s", "PINK", "test"), {"fingerprint": "another"})
    label_file(bench, "PINK", "BLUE")
    assert run(bench, bench.root / "tiles", "eval/slides-topk") == 2
    assert "share no space" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("facts", [{"projected": False}, {}])
def test_unprojected_vectors_are_refused(
    bench: Any, embedder: Any, write_records: Any, facts: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """By what the artefact says, and where it says nothing by their length in numbers."""
    rows = [Embedding(**{**vars(row), "vector": (0.6, 0.8, 0.0, 0.0, 0.0)}) for row in slide_tiles("s", "PINK", "test")]
    write_records(bench.root / "tiles", "embeddings", rows, {"fingerprint": embedder.fingerprint, **facts})
    label_file(bench, "PINK", "BLUE")
    assert run(bench, bench.root / "tiles", "eval/slides-topk") == 2
    assert "projected" in " ".join(capsys.readouterr().err.split())


def test_tiles_of_one_slide_with_two_labels_ask_for_the_slides_own(
    bench: Any, embedder: Any, write_records: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [tile("s", 0, "PINK", "test", "PINK"), tile("s", 1, "BLUE", "test", "BLUE")]
    write_records(bench.root / "tiles", "embeddings", rows, {"fingerprint": embedder.fingerprint})
    label_file(bench, "PINK", "BLUE")
    assert run(bench, bench.root / "tiles", "eval/slides-topk") == 2
    assert "slides=ARTEFACT" in " ".join(capsys.readouterr().err.split())


def cohort(write: Any, root: Path, fingerprint: str) -> None:
    """Slides whose share of pink tiles decides class, and time to event."""
    tiles, slides = [], []
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        for number in range(count):
            name, tumour = f"{split}{number}", 1 + number % 9
            tiles += slide_tiles(name, "PINK", "none", tumour)
            facts = {"time": float(20 - 2 * tumour + (number % 2) * 0.5), "event": number % 4 != 3}
            common = {"id": f"made/{name}", "source": "made", "licence": "CC0-1.0", "group": f"case-{name}", "split": split, "slide": name}
            label = "much" if tumour > 5 else "little"
            slides.append(Slide(**common, path=f"{name}.svs", width=400, height=300, labels=(label,), extra=facts))
    write(root / "cohort_tiles", "embeddings", tiles, {"fingerprint": fingerprint})
    write(root / "cohort", "slides", slides)


def probe(bench: Any, recipe: str, *words: str) -> dict[str, Any]:
    inputs = (f"data={bench.root / 'cohort_tiles'}", f"slides={bench.root / 'cohort'}")
    assert eosin(["eval", "run", recipe, *inputs, *words, "--out", str(bench.root / "out")]) == 0
    assert eosin(["eval", "score", "demo/report", f"predictions=[{bench.root / 'out'}]", "--out", str(bench.root / "scores")]) == 0
    return json.loads((bench.root / "scores" / "scores.json").read_text())["rows"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("pooling", ["mean", "prototypes", "attention"])
def test_slide_probes_learn_a_class_that_lies_in_the_share_of_tiles(bench: Any, write_records: Any, pooling: str) -> None:
    cohort(write_records, bench.root, "f")
    row = probe(bench, "eval/slide-probe", f"pooling={pooling}", "prototypes=3", "epochs=40", "learning_rate=0.05")
    assert (row["task"], row["questions"]) == ("slide_probe", 12)
    assert row["metrics"]["accuracy"]["value"] >= 0.9


@pytest.mark.parametrize("pooling", ["mean", "prototypes", "attention"])
def test_slide_probes_learn_survival(bench: Any, write_records: Any, pooling: str) -> None:
    cohort(write_records, bench.root, "f")
    row = probe(bench, "eval/survival", f"pooling={pooling}", "prototypes=3", "epochs=40", "learning_rate=0.05")
    assert (row["task"], row["main"]) == ("survival", "c_index")
    assert row["metrics"]["c_index"]["value"] > 0.9


@pytest.mark.parametrize("extra", [{}, {"time": -3.0, "event": True}, {"time": 3.0, "event": 2}])
def test_survival_without_a_time_and_an_event_names_the_slide(
    bench: Any, write_records: Any, extra: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    cohort(write_records, bench.root, "f")
    rows = open_artefact(bench.root / "cohort").records(Slide)
    broken = [Slide(**{**vars(row), "extra": extra if row.slide == "val3" else row.extra}) for row in rows]
    write_records(bench.root / "broken", "slides", broken)
    inputs = (f"data={bench.root / 'cohort_tiles'}", f"slides={bench.root / 'broken'}")
    assert eosin(["eval", "run", "eval/survival", *inputs, "--out", str(bench.root / "out")]) == 2
    assert "slide val3: survival wants time" in " ".join(capsys.readouterr().err.split())


def test_coxs_model_is_statsmodels_own() -> None:
    from statsmodels.duration.hazard_regression import PHReg

    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    times = np.ceil(rng.exponential(np.exp(-features @ [0.8, -0.5, 0.0])) * 5)
    events = rng.random(80) < 0.7
    wanted = PHReg(times, features, events.astype(int), ties="breslow").fit().params
    np.testing.assert_allclose(fit_cox(features, times, events, 1e7), wanted, atol=1e-4)
    assert np.linalg.norm(fit_cox(features, times, events, 1e-3)) < 0.2 * np.linalg.norm(wanted)


def test_prototypes_tell_shares_and_means() -> None:
    rng = np.random.default_rng(0)
    one, other = (
        unit_rows(np.array([[1.0, 0.0]]) + rng.normal(0, 0.01, (30, 2))),
        unit_rows(np.array([[0.0, 1.0]]) + rng.normal(0, 0.01, (10, 2))),
    )
    prototypes = find_prototypes([one, other], 2, 0)
    found = over_prototypes(np.concatenate([one, other]), prototypes)
    assert sorted(found[:2].tolist()) == pytest.approx([0.25, 0.75])
    assert found.shape == (2 + 4,)


def test_an_overview_lies_under_the_heat_map(bench: Any, slides: Path, embedder: Any) -> None:
    label_file(bench, "PINK", "BLUE")
    (bench.root / "overviews").mkdir()
    (bench.root / "overviews" / "s0.png").write_bytes(encode_png(np.full((30, 40, 3), 5, dtype=np.uint8)))
    words = (f"overviews={bench.root / 'overviews'}", "heat_map_side=40")
    assert run(bench, slides, "eval/slides-topk", *words) == 0
    dark, light = (decode_image(base64.b64decode(row.extra["thumbnail"].split(",")[1])) for row in rows_of(bench.root / "out")[:2])
    assert dark.mean() < light.mean() - 40
