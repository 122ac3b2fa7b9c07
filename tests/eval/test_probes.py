"""What probes promise: scikit-learn's own answers, C from the validation split, seeds that repeat, no group on both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main as eosin
from eosin.errors import InputError
from eosin.eval.probes import Part, few, logistic, nearest, simpleshot
from eosin.numerics import unit_rows
from eosin.records import Embedding, Prediction

LABELS = ("ADI", "MUC", "TUM")


def part(seed: int, count: int, spread: float = 1.0, dim: int = 12) -> Part:
    labels = np.arange(count) % 3
    means = np.random.default_rng(0).normal(size=(3, dim))
    vectors = means[labels] + spread * np.random.default_rng(seed).normal(size=(count, dim))
    return Part(unit_rows(vectors), labels)


def embeddings(write: Any, folder: Path, spread: float = 1.0, group: str = "", source: str = "made") -> Artefact:
    records = []
    for split, seed, count in (("train", 1, 90), ("val", 2, 45), ("test", 3, 60)):
        made = part(seed, count, spread)
        records += [
            Embedding(
                id=f"made/{split}-{number}",
                source=source.format(split=split),
                licence="CC0-1.0",
                group=group or f"{split}-{number // 2}",
                split=split,
                vector=tuple(vector.tolist()),
                label=LABELS[label],
            )
            for number, (vector, label) in enumerate(zip(made.vectors, made.labels, strict=True))
        ]
    return write(folder, "embeddings", records, {"fingerprint": "f" * 16})  # type: ignore[no-any-return]


def run(recipe: str, folder: Path, out: Path, *words: str) -> int:
    return eosin(["eval", "run", recipe, f"data={folder}", *words, "--out", str(out)])


def rows_of(out: Path) -> list[Prediction]:
    return list(open_artefact(out, "predictions").records(Prediction))


def reference(cost: float, train: Part) -> LogisticRegression:
    """By another solver, driven to the end."""
    model = LogisticRegression(C=cost, max_iter=5000, solver="newton-cg", tol=1e-12)
    return model.fit(train.vectors.astype(np.float64), train.labels)


def test_the_logistic_probe_is_scikit_learns_and_its_cost_is_the_best_on_validation() -> None:
    train, val, test = part(1, 90), part(2, 45), part(3, 60)
    costs = (0.01, 1.0, 100.0)
    fitted = logistic(train, val, costs, 3)
    accuracies = []
    for cost in costs:
        model = reference(cost, train)
        accuracies.append(np.mean([(model.predict(val.vectors)[val.labels == k] == k).mean() for k in range(3)]))
    best = costs[int(np.argmax(accuracies))]
    assert fitted.notes["cost"] == best
    model = reference(best, train)
    scores = fitted.probe(test.vectors)
    np.testing.assert_allclose(scores, model.predict_log_proba(test.vectors.astype(np.float64)), atol=1e-4)
    assert (scores.argmax(axis=1) == model.predict(test.vectors)).all()
    assert fitted.notes["not_converged"] == []


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_probe_that_stopped_early_says_so(monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    made = part(1, 90)
    train = Part(made.vectors, made.labels % classes)
    assert logistic(train, None, (10.0,), classes).notes["not_converged"] == []
    monkeypatch.setattr("eosin.eval.probes._STEPS", 4)
    assert logistic(train, None, (10.0,), classes).notes["not_converged"] == [10.0]


def test_rounding_of_the_vectors_does_not_move_a_logistic_probe() -> None:
    train, test = part(1, 90), part(3, 60)
    moved = Part(train.vectors + np.random.default_rng(9).normal(0, 1e-9, train.vectors.shape), train.labels)
    one, other = (logistic(found, None, (10.0,), 3).probe(test.vectors) for found in (train, moved))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("recipe", ["eval/knn", "eval/linear-probe"])
def test_scores_of_a_probe_are_scikit_learns(tmp_path: Path, write_records: Any, recipe: str) -> None:
    embeddings(write_records, tmp_path / "e", spread=2.0)
    words = ("neighbours=7",) if recipe == "eval/knn" else ("costs=[1.0]",)
    assert run(recipe, tmp_path / "e", tmp_path / "out", *words) == 0
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'out'}]", "--out", str(tmp_path / "scores")]) == 0
    found = json.loads((tmp_path / "scores" / "scores.json").read_text())["rows"][0]["metrics"]
    train, test = part(1, 90, 2.0), part(3, 60, 2.0)
    near = KNeighborsClassifier(7, metric="cosine", algorithm="brute").fit(train.vectors, train.labels)
    shares = (near if recipe == "eval/knn" else reference(1.0, train)).predict_proba(test.vectors)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(test.labels, shares, multi_class="ovr"), abs=1e-6)
    assert 0.5 < found["auroc"]["value"] < 0.95
    said = np.array([LABELS.index(row.reply) for row in rows_of(tmp_path / "out")])
    assert found["accuracy"]["value"] == pytest.approx((said == test.labels).mean(), abs=1e-6)
    np.testing.assert_allclose(found["weighted_f1"]["value"], f1_score(test.labels, said, average="weighted"), atol=1e-6)
    clear = np.sort(shares, axis=1)[:, -1] > np.sort(shares, axis=1)[:, -2] + 1e-6
    assert (said == shares.argmax(axis=1))[clear].all()


def test_the_nearest_neighbours_are_scikit_learns_but_for_ties() -> None:
    train, test = part(1, 90), part(3, 60)
    reference = KNeighborsClassifier(7, metric="cosine", algorithm="brute").fit(train.vectors, train.labels)
    shares = reference.predict_proba(test.vectors)
    fitted = nearest(train, 7, 3)
    found = fitted.probe(test.vectors)
    np.testing.assert_allclose(found, shares, atol=0.25 / 7 + 1e-9)
    np.testing.assert_allclose(fitted.shown(found), shares, atol=1e-12)
    clear = np.sort(shares, axis=1)[:, -1] > np.sort(shares, axis=1)[:, -2]
    assert clear.sum() > 40
    assert (found.argmax(axis=1) == shares.argmax(axis=1))[clear].all()


def test_simpleshot_takes_the_nearest_mean_of_centred_vectors() -> None:
    train, test = part(1, 90), part(3, 60)
    middle = train.vectors.mean(axis=0)
    seen, asked = unit_rows(train.vectors - middle), unit_rows(test.vectors - middle)
    means = np.stack([seen[train.labels == number].mean(axis=0) for number in range(3)])
    wanted = ((asked[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (simpleshot(train, 3).probe(test.vectors).argmax(axis=1) == wanted).all()


def test_few_shots_are_so_many_of_each_class_and_the_seed_decides_which() -> None:
    labels = np.arange(30) % 3
    assert np.bincount(labels[few(labels, 4, 0, 3)]).tolist() == [4, 4, 4]
    assert (few(labels, 4, 0, 3) == few(labels, 4, 0, 3)).all()
    assert (few(labels, 4, 0, 3) != few(labels, 4, 1, 3)).any()
    with pytest.raises(InputError, match="ask for fewer"):
        few(labels, 11, 0, 3)


@pytest.mark.parametrize("recipe", ["eval/linear-probe", "eval/knn", "eval/simpleshot", "eval/few-shot"])
def test_a_probe_answers_every_question_and_is_scored(tmp_path: Path, write_records: Any, recipe: str) -> None:
    embeddings(write_records, tmp_path / "e", spread=0.4)
    assert run(recipe, tmp_path / "e", tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 60
    assert {row.model for row in rows} == {"f" * 16}
    assert np.mean([row.reply == row.answer for row in rows]) > 0.9
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'out'}]", "--out", str(tmp_path / "scores")]) == 0
    row = json.loads((tmp_path / "scores" / "scores.json").read_text())["rows"][0]
    assert row["metrics"]["accuracy"]["value"] > 0.9
    assert ("accuracy_spread" in row["metrics"]) == (recipe in ("eval/few-shot", "eval/simpleshot"))


def test_few_shot_scores_are_the_mean_over_the_seeds(tmp_path: Path, write_records: Any) -> None:
    embeddings(write_records, tmp_path / "e")
    assert run("eval/few-shot", tmp_path / "e", tmp_path / "out", "shots=2", "seeds=5") == 0
    train, test = part(1, 90), part(3, 60)
    scores = []
    for seed in range(5):
        chosen = few(train.labels, 2, seed, 3)
        model = LogisticRegression(C=1.0, max_iter=5000).fit(train.vectors[chosen].astype(np.float64), train.labels[chosen])
        scores.append((model.predict(test.vectors) == test.labels).mean())
    assert eosin(["eval", "score", "demo/report", f"predictions=[{tmp_path / 'out'}]", "--out", str(tmp_path / "scores")]) == 0
    metrics = json.loads((tmp_path / "scores" / "scores.json").read_text())["rows"][0]["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert metrics["accuracy_spread"]["value"] == pytest.approx(np.std(scores), abs=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shots=40",), "ask for fewer"),
        (("val_split=''",), "name val_split"),
        (("seed=-1",), "seed must be from 0"),
        (("val_split=train",), "must differ"),
        (("method=knn", "neighbours=91"), "ask for fewer"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, write_records: Any, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    embeddings(write_records, tmp_path / "e")
    assert run("eval/linear-probe", tmp_path / "e", tmp_path / "out", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_group_on_both_sides_is_refused(tmp_path: Path, write_records: Any, capsys: pytest.CaptureFixture[str]) -> None:
    embeddings(write_records, tmp_path / "e", group="patient-7")
    assert run("eval/linear-probe", tmp_path / "e", tmp_path / "out") == 2
    assert "patient-7" in capsys.readouterr().err


def test_groups_of_one_name_in_two_sources_are_two(tmp_path: Path, write_records: Any) -> None:
    embeddings(write_records, tmp_path / "e", group="patient-7", source="from-{split}")
    assert run("eval/linear-probe", tmp_path / "e", tmp_path / "out") == 0


def test_vectors_that_no_embedder_scaled_are_refused(tmp_path: Path, write_records: Any, capsys: pytest.CaptureFixture[str]) -> None:
    common = {"source": "made", "licence": "CC0-1.0", "vector": (3.0, 4.0)}
    records = [
        Embedding(id=f"made/{split}-{label}", group=f"{split}-{label}", split=split, label=label, **common)  # type: ignore[arg-type]
        for split in ("train", "val", "test")
        for label in "AB"
    ]
    write_records(tmp_path / "e", "embeddings", records, {"fingerprint": "f"})
    assert run("eval/linear-probe", tmp_path / "e", tmp_path / "out") == 2
    assert "not the projected, normalised" in " ".join(capsys.readouterr().err.split())
