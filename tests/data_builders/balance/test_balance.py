import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.artefacts import open_artefact, verify
from eosin.data_builders import balance
from eosin.errors import ConfigError, InputError
from eosin.numerics import unit_rows
from eosin.records import Conversation, Embedding, LabelledImage, Message, Part

Build = Callable[..., Path]
Write = Callable[..., Path]
BALANCE = {"builder": "balance", "records": 60, "clusters": [12, 4]}
# A set as archives are: most of it looks alike.
CLASSES = {"stroma": 400, "tumour": 60, "fat": 25, "nerve": 15}


def common(name: str, split: str) -> dict[str, Any]:
    return {"id": f"s/{name}", "source": "s", "licence": "CC0-1.0", "group": name, "split": split}


@pytest.fixture
def skewed(write_artefact: Write) -> dict[str, Path]:
    """Images of four classes and their embeddings, in another order, three missing; a test image beside them."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((len(CLASSES), 16))
    images, embeddings = [], []
    for number, label in enumerate(label for label, count in CLASSES.items() for _ in range(count)):
        vector = unit_rows((centres[list(CLASSES).index(label)] + 0.4 * random.standard_normal(16))[None])[0]
        images.append(LabelledImage(**common(str(number), "train"), image=b"not looked at", label=label, extra={"n": number}))
        embeddings.append(Embedding(**common(str(number), "none"), vector=tuple(map(float, vector))))
    images = [images[place] for place in random.permutation(len(images))]
    images.append(LabelledImage(**common("held out", "test"), image=b"not looked at", label="fat"))
    return {"data": write_artefact(images, "images", classes=list(CLASSES)), "embeddings": write_artefact(embeddings[3:], "embeddings")}


def run(build: Build, inputs: dict[str, Path], *more: str, out: str = "out", **options: Any) -> Path:
    return build(BALANCE, *(f"{name}={path}" for name, path in inputs.items()), *more, out=out, **options)


def entropy(labels: list[str | None]) -> float:
    """In bits."""
    shares = np.array(list(Counter(labels).values())) / len(labels)
    return float(-(shares * np.log2(shares)).sum())


def drawn(out: Path) -> list[LabelledImage]:
    return list(open_artefact(out / "labelled_images").records(LabelledImage))


def test_rare_classes_are_drawn_far_more_often_than_at_random(build: Build, skewed: dict[str, Path]) -> None:
    found = drawn(run(build, skewed))
    assert len(found) == BALANCE["records"]
    every = [image.label for image in open_artefact(skewed["data"]).records(LabelledImage, "train")]
    chance = [entropy(list(np.random.default_rng(seed).choice(every, 60, replace=False))) for seed in range(20)]  # type: ignore[arg-type]
    assert max(chance) < 1.4
    assert entropy([image.label for image in found]) > 1.8


def test_the_sample_is_records_as_they_were_and_says_where_from(build: Build, skewed: dict[str, Path]) -> None:
    out = run(build, skewed)
    given = {image.id: image for image in open_artefact(skewed["data"]).records(LabelledImage)}
    for image in drawn(out):
        was = given[image.id]
        assert (image.image, image.label, image.split, image.extra["n"]) == (was.image, was.label, "train", was.extra["n"])
    sample, clusters = open_artefact(out / "labelled_images"), open_artefact(out / "clusters", "embeddings")
    assert verify(sample) == verify(clusters) == []
    assert sample.classes == tuple(CLASSES)
    assert sample.manifest["counts"] == {"in": 63, "out": 60, "rejected": {"no_embedding": 3}}
    assert clusters.manifest["results"] == {
        "records": 500,
        "drawn": 60,
        "without_embedding": 3,
        "clusters_drawn_from": 12,
        "assignment": "files/assignment.parquet",
    }
    assert clusters.plan.settings["seed"] == 0


def test_every_record_has_its_nearest_centroid_in_the_assignment(build: Build, skewed: dict[str, Path]) -> None:
    out = run(build, skewed)
    centroids = list(open_artefact(out / "clusters").records(Embedding))
    assert [centroid.extra["level"] for centroid in centroids] == [0] * 12 + [1] * 4
    vectors = {row.id: np.asarray(row.vector) for row in open_artefact(skewed["embeddings"]).records(Embedding)}
    finest = np.asarray([centroid.vector for centroid in centroids[:12]])
    rows = pq.read_table(out / "clusters" / "files/assignment.parquet").to_pylist()
    assert [row["id"] for row in rows] == [image.id for image in open_artefact(skewed["data"]).records(LabelledImage, "train")]
    for row in rows:
        if row["id"] in vectors:
            cosines = finest @ vectors[row["id"]]
            assert row["cluster"] == cosines.argmax()
            assert row["cosine"] == pytest.approx(cosines.max(), abs=1e-5)
        else:
            assert (row["cluster"], row["drawn"]) == (None, False)
    per_cluster = Counter(row["cluster"] for row in rows if row["drawn"])
    assert [centroid.extra["drawn"] for centroid in centroids[:12]] == [per_cluster[number] for number in range(12)]
    assert {image.id: image.extra["cluster"] for image in drawn(out)} == {row["id"]: row["cluster"] for row in rows if row["drawn"]}


def test_central_draws_those_nearest_to_the_centroid(build: Build, skewed: dict[str, Path]) -> None:
    rows = pq.read_table(run(build, skewed, "choose=central") / "clusters" / "files/assignment.parquet").to_pylist()
    for cluster in range(12):
        mine = [row for row in rows if row["cluster"] == cluster]
        taken, left = ([row["cosine"] for row in mine if row["drawn"] == state] for state in (True, False))
        assert not taken or not left or min(taken) >= max(left)


def test_seed_decides_and_pieces_and_processes_do_not(build: Build, skewed: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = [image.id for image in drawn(run(build, skewed, out="a"))]
    assert [image.id for image in drawn(run(build, skewed, out="b", workers=2))] == first
    assert [image.id for image in drawn(run(build, skewed, "seed=1", out="c"))] != first
    monkeypatch.setattr(balance, "RECORDS_A_TASK", 7)
    assert [image.id for image in drawn(run(build, skewed, out="d"))] == first


def test_centroids_of_a_sample_of_the_vectors_balance_too(build: Build, skewed: dict[str, Path]) -> None:
    found = drawn(run(build, skewed, "sample=100"))
    assert len(found) == 60
    assert entropy([image.label for image in found]) > 1.6


def test_conversations_are_joined_by_the_image_they_are_about(build: Build, skewed: dict[str, Path], write_artefact: Write) -> None:
    talk = (Message("user", (Part("text", "q"),)), Message("assistant", (Part("text", "a"),)))
    rows = [
        Conversation(**common(f"{number}/{turn}", "train"), images=(), messages=talk, task="open", extra={"image_id": f"s/{number}"})
        for number in range(3, 403, 2)
        for turn in range(2)
    ]
    out = run(build, {**skewed, "data": write_artefact(rows, "talks")}, "records=100") / "conversations"
    found = list(open_artefact(out).records(Conversation))
    assert len(found) == len({record.id for record in found}) == 100
    assert "rejects" not in {path.name for path in out.iterdir()}


def test_what_cannot_be_drawn_is_told(build: Build, skewed: dict[str, Path], write_artefact: Write) -> None:
    with pytest.raises(InputError, match="asks for 498; of 500 in train 497 have an embedding"):
        run(build, skewed, "records=498", out="a")
    with pytest.raises(ConfigError, match="fall from level to level"):
        run(build, skewed, "clusters=[4, 12]", out="b")
    with pytest.raises(ConfigError, match="no records of split 'val'"):
        run(build, skewed, "split=val", out="c")
    other = write_artefact([Embedding(**common("other", "none"), vector=(1.0, 0.0))], "other")
    with pytest.raises(InputError, match=r"holds no record of .* joined by id"):
        run(build, {**skewed, "embeddings": other}, out="d")


def test_the_plan_holds_no_path_and_equal_runs_are_equal_bytes(build: Build, skewed: dict[str, Path]) -> None:
    one, two = (run(build, skewed, out=name) for name in ("one", "two"))
    for name in ("clusters", "labelled_images"):
        assert json.loads((one / name / "manifest.json").read_text()) == json.loads((two / name / "manifest.json").read_text())
