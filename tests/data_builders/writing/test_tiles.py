"""`choose_tiles`: by prompts, by the report, from clusters, none twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.artefacts import ArtefactWriter, Plan, open_artefact, verify
from eosin.clip.cli import main as clip
from eosin.data_builders.cli import main
from eosin.data_builders.writing import tiles
from eosin.data_builders.writing.choosing import best_prompt, best_rows, clusters_of, in_turn, without_twins
from eosin.data_builders.writing.tiles import sentences_of
from eosin.errors import ConfigError, InputError
from eosin.images import encode_png
from eosin.records import Embedding, ImageText, Slide

Build = Callable[..., Path]
# What a tile shows, and what a text asks for: an axis each.
AXES = {"gland": 0, "necrosis": 1, "mitosis": 2, "fat": 3, "stroma": 4}
DIM = 8
TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32, "patch_dropout": 0.25},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}


def unit(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.array([*values, *[0.0] * (DIM - len(values))], dtype=np.float32)
    return vector / np.linalg.norm(vector)


class Axes:
    """An embedder of texts by the words they hold."""

    supports = frozenset({"image", "text"})
    fingerprint = "axes"

    def embed_texts(self, texts: Sequence[str]) -> Any:
        return np.stack([unit(*[float(name in text.casefold()) for name in AXES], 1e-3) for text in texts])


def vector_of(kind: str, number: int, spread: float) -> Any:
    """A tile of a kind, with a direction of its own at right angles to all axes."""
    rng = np.random.default_rng([AXES[kind], number])
    vector = np.zeros(DIM, dtype=np.float32)
    vector[AXES[kind]] = 1.0
    vector[5:] = spread * rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def slide_set(tmp_path: Path, kit: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two slides of tiles of known kinds, their embeddings, an embedder, and a report for the first."""
    monkeypatch.setattr(tiles, "load_embedder", lambda spec: Axes())
    tiles._embedder.cache_clear()
    kinds = {"S0": ["gland"] * 12 + ["necrosis"] * 3 + ["mitosis"] + ["fat"] * 24 + ["stroma"] * 8, "S1": ["gland"] * 5 + ["fat"] * 5}
    images, vectors = [], []
    for slide, names in kinds.items():
        for number, kind in enumerate(names):
            about = {**kit.common(number), "id": f"{slide}/{number:02d}-{kind}", "group": slide, "slide": slide}
            images.append(ImageText(**about, image=kit.picture(number), captions=(), organ="colon"))
            # Fat is alike everywhere; the rest differs.
            vectors.append(Embedding(**about, vector=tuple(map(float, vector_of(kind, number, 0.05 if kind == "fat" else 0.7)))))
    with ArtefactWriter(tmp_path / "clip", Plan("clip_model", "test", {})) as writer:
        writer.finish()
    report = "Colon. There is extensive necrosis in the tumour. Nothing else."
    slide = Slide(**{**kit.common(0), "id": "toy/S0", "slide": "S0"}, path="S0.svs", width=9, height=9, report=report)
    return {
        "builder": "choose_tiles",
        "images": str(kit.write_artefact(tmp_path / "tiles", "image_text", images).path),
        "embeddings": str(kit.write_artefact(tmp_path / "vectors", "embeddings", vectors, fingerprint="axes").path),
        "embedder": str(tmp_path / "clip"),
        "slides": str(kit.write_artefact(tmp_path / "reports", "slides", [slide]).path),
        "prompts": write_prompts(tmp_path),
    }


def write_prompts(folder: Path) -> str:
    path = folder / "look.yaml"
    path.write_text("version: 1\nany: [mitosis]\norgans: {colon: [a gland of the colon]}\n")
    return str(path)


def read(out: Path) -> dict[str, list[ImageText]]:
    found: dict[str, list[ImageText]] = {}
    for record in open_artefact(out / "image_text").records(ImageText):
        found.setdefault(record.slide or "", []).append(record)
    return found


def kinds_of(records: Sequence[ImageText], by: str) -> Counter[str]:
    return Counter(record.id.rpartition("-")[2] for record in records if record.extra["chosen"]["by"] == by)


def test_a_report_that_came_without_its_slide_is_the_patients(build: Build, slide_set: dict[str, Any], tmp_path: Path, kit: Any) -> None:
    report = Slide(
        **{**kit.common(0), "id": "toy/P1", "group": "S1"}, path="", width=None, height=None, report="Fat and glands are seen here."
    )
    slides = kit.write_artefact(tmp_path / "patients", "slides", [report]).path
    found = read(build({**slide_set, "slides": str(slides), "by_prompt": 2, "tiles": 8}))
    assert found["S1"][0].extra["report"] == "Fat and glands are seen here."
    assert "report" not in found["S0"][0].extra


def test_prompts_report_and_clusters_each_choose_their_tiles(build: Build, slide_set: dict[str, Any]) -> None:
    out = build({**slide_set, "by_prompt": 4, "by_report": 3, "tiles": 16, "clusters": 5})
    found = read(out)
    assert set(kinds_of(found["S0"], "prompt")) <= {"gland", "mitosis"}
    assert kinds_of(found["S0"], "report")["necrosis"] >= 1
    assert {"fat", "stroma"} <= set(kinds_of(found["S0"], "cluster"))
    assert kinds_of(found["S1"], "report") == {}
    first = found["S0"][0]
    assert first.extra["chosen"]["prompt"] in ("mitosis", "a gland of the colon")
    assert [record.extra["chosen"]["rank"] for record in found["S0"]] == sorted(record.extra["chosen"]["rank"] for record in found["S0"])
    assert len(found["S0"]) <= 16
    assert first.extra["report"].startswith("Colon.")
    assert "report" not in found["S1"][0].extra
    artefact = open_artefact(out / "image_text")
    assert artefact.manifest["results"] == {"tiles_considered": 58, "slides": 2}
    assert verify(artefact) == []


def test_no_two_chosen_tiles_are_closer_than_the_limit_and_each_left_out_names_its_twin(build: Build, slide_set: dict[str, Any]) -> None:
    out = build({**slide_set, "by_prompt": 8, "tiles": 40})
    vectors = {record.id: np.array(record.vector) for record in open_artefact(slide_set["embeddings"]).records(Embedding)}
    for records in read(out).values():
        chosen = np.stack([vectors[record.id] for record in records])
        likeness = chosen @ chosen.T - 2 * np.eye(len(chosen))
        assert likeness.max() <= 0.88 + 1e-6
    rejected = pq.read_table(out / "image_text" / "rejects" / "rejects.parquet").to_pylist()
    assert {row["reason"] for row in rejected} == {"near_duplicate"}
    assert sum("fat" in row["key"] for row in rejected) >= 26
    for row in rejected:
        twin = row["message"].split(" to ")[1].split(",")[0]
        assert float(vectors[row["key"]] @ vectors[twin]) > 0.88
    everything = build({**slide_set, "likeness": 1.0, "tiles": 58}, out="all")
    assert sum(map(len, read(everything).values())) == 58


def test_without_an_embedder_clusters_alone_choose(build: Build, slide_set: dict[str, Any]) -> None:
    recipe = {key: value for key, value in slide_set.items() if key not in ("embedder", "slides")}
    found = read(build({**recipe, "tiles": 5, "clusters": 5}))
    assert {record.extra["chosen"]["by"] for record in found["S0"]} == {"cluster"}
    assert len(kinds_of(found["S0"], "cluster")) >= 4


def test_the_choice_is_the_same_next_time_and_with_more_workers(build: Build, slide_set: dict[str, Any]) -> None:
    recipe = {key: value for key, value in slide_set.items() if key not in ("embedder", "slides")} | {"tiles": 9}
    first = build(recipe, out="one")
    second = build(recipe, out="two", workers=2)
    assert [path.read_bytes() for path in sorted((first / "image_text" / "data").iterdir())] == [
        path.read_bytes() for path in sorted((second / "image_text" / "data").iterdir())
    ]


def test_an_embedder_that_did_not_make_the_embeddings_is_refused(
    build: Build, slide_set: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Axes, "fingerprint", "another")
    with pytest.raises(ConfigError, match="did not make the embeddings"):
        build(slide_set)


def test_embeddings_of_other_tiles_or_without_length_are_refused(build: Build, slide_set: dict[str, Any], kit: Any, tmp_path: Path) -> None:
    about = {**kit.common(0), "id": "S9/0", "slide": "S9", "group": "S9"}
    other = kit.write_artefact(tmp_path / "other", "embeddings", [Embedding(**about, vector=(1.0, 0.0))], fingerprint="axes")
    with pytest.raises(InputError, match="no tiles of the slide S9"):
        build({**slide_set, "embeddings": str(other.path)})
    about |= {"id": "S0/00-gland", "slide": "S0"}
    zero = kit.write_artefact(tmp_path / "zero", "embeddings", [Embedding(**about, vector=(0.0,) * DIM)], fingerprint="axes")
    with pytest.raises(InputError, match="S0/00-gland is zero or not finite"):
        build({**slide_set, "embeddings": str(zero.path)})


def test_an_embedding_without_its_picture_is_a_reject(build: Build, slide_set: dict[str, Any], kit: Any, tmp_path: Path) -> None:
    about = {**kit.common(0), "slide": "S0", "group": "S0"}
    vectors = [Embedding(**{**about, "id": name}, vector=tuple(map(float, vector_of("gland", 1, 0)))) for name in ("S0/lost",)]
    lost = kit.write_artefact(tmp_path / "lost", "embeddings", vectors, fingerprint="axes")
    out = build({**slide_set, "embeddings": str(lost.path)})
    assert read(out) == {}
    rejected = pq.read_table(out / "image_text" / "rejects" / "rejects.parquet").to_pylist()
    assert [(row["key"], row["reason"]) for row in rejected] == [("S0/lost", "no_image")]


def test_chosen_tiles_are_described_with_their_report(build: Build, slide_set: dict[str, Any], recipe: Any, server: Any, kit: Any) -> None:
    chosen = build({**slide_set, "tiles": 3})
    told = recipe("write_captions", images=str(chosen / "image_text"), tell=["setting", "report"])
    records = list(open_artefact(build(told, out="told") / "image_text").records(ImageText))
    assert len(records) == 6
    assert all(record.captions and record.extra["chosen"]["by"] for record in records)
    described = [kit.texts_of(body, "user")[0] for body in server.bodies if kit.asked(body) == "description"]
    assert sum("extensive necrosis" in text for text in described) == 3
    assert all("Organ: colon" in text for text in described)


def test_a_real_clip_finds_what_prompts_and_report_name(build: Build, tmp_path: Path, kit: Any) -> None:
    """A tiny CLIP that learned four colours: trained, its embeddings made, and asked, by the commands that users run."""
    colours = {"red": (200, 60, 70), "green": (70, 180, 80), "blue": (60, 80, 200), "pale": (225, 215, 230)}

    def square(number: int) -> ImageText:
        name = list(colours)[number % 4]
        noise = np.random.default_rng(number).integers(-25, 26, (40, 40, 3))
        pixels = (np.array(colours[name]) + noise).clip(0, 255).astype(np.uint8)
        about = {**kit.common(number), "id": f"squares/{number:02d}-{name}", "group": "S0", "slide": "S0"}
        return ImageText(**about, image=encode_png(pixels), captions=(f"a {name} square of tissue",))

    data = kit.write_artefact(tmp_path / "squares", "image_text", [square(number) for number in range(36)]).path
    (tmp_path / "tiny.json").write_text(json.dumps(TINY_CLIP))
    (tmp_path / "clip.yaml").write_text(f"architecture: {tmp_path / 'tiny.json'}\nepochs: 30\nbatch_size: 12\noptimiser: {{lr: 2e-3}}\n")
    (tmp_path / "embed.yaml").write_text("{}\n")
    more = ["--workers", "1", "--device", "cpu"]
    clip(["train", str(tmp_path / "clip.yaml"), f"data={data}", "positives=same_caption", *more, "--out", str(tmp_path / "clip")])
    clip(["embed", str(tmp_path / "embed.yaml"), f"model={tmp_path / 'clip'}", f"data={data}", *more, "--out", str(tmp_path / "vectors")])
    report = "There is a green square of tissue."
    slide = Slide(**{**kit.common(0), "id": "toy/S0", "slide": "S0"}, path="S0.svs", width=9, height=9, report=report)
    slides = kit.write_artefact(tmp_path / "reports", "slides", [slide]).path
    (tmp_path / "look.yaml").write_text("version: 1\nany: [a blue square of tissue]\n")
    recipe = {"builder": "choose_tiles", "images": str(data), "embeddings": str(tmp_path / "vectors"), "embedder": str(tmp_path / "clip")}
    asked = {"slides": str(slides), "prompts": str(tmp_path / "look.yaml"), "by_prompt": 4, "by_report": 4, "device": "cpu"}
    found = read(build({**recipe, **asked, "likeness": 0.999999, "tiles": 20}))["S0"]
    assert kinds_of(found, "prompt") == {"blue": kinds_of(found, "prompt").total()}
    assert kinds_of(found, "report") == {"green": kinds_of(found, "report").total()}
    assert found[0].extra["chosen"]["by"] == "prompt"
    assert {"red", "pale"} <= set(kinds_of(found, "cluster"))


def test_sentences_of_a_report_are_those_that_can_be_looked_for() -> None:
    report = "Colon. Glands are\nsmall and  crowded; there is   necrosis.\n\nOK"
    assert sentences_of(report) == ["small and crowded;", "there is necrosis."]
    assert sentences_of("Colon.") == []
    assert len(sentences_of("A gland is here. " * 200)) == 40


def test_the_best_prompt_of_a_tile_counts_and_ties_go_to_the_first() -> None:
    scores, which = best_prompt(np.array([[0.1, 0.9], [0.5, 0.2], [0.9, 0.9]], dtype=np.float32))
    assert which.tolist() == [1, 0, 0]
    assert best_rows(scores, 2) == [0, 2]


VECTORS = st.lists(st.tuples(*[st.integers(-3, 3)] * 3).filter(any), min_size=1, max_size=40)


@given(VECTORS, st.floats(0.1, 1.2), st.integers(1, 12))
def test_chosen_rows_are_apart_and_whatever_was_looked_at_is_chosen_or_has_its_twin(
    points: list[tuple[int, int, int]], limit: float, count: int
) -> None:
    vectors = np.array(points, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = [(row, "cluster", 0.0) for row in range(len(vectors))]
    chosen, twins = without_twins([*order, *order], vectors, limit, count)
    rows = [tile.row for tile in chosen]
    assert len(rows) <= count
    assert sorted({*rows, *(twin.row for twin in twins)}) == list(range(len(rows) + len(twins)))
    assert all(twin.of in rows and twin.likeness > limit for twin in twins)
    if limit < 1:
        close = vectors[rows] @ vectors[rows].T
        assert (close[~np.eye(len(rows), dtype=bool)] <= limit + 1e-5).all()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 2**32))
def test_clusters_take_turns_and_every_row_comes_once(clusters: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).random(len(clusters))
    order = in_turn(np.array(clusters), scores)
    assert sorted(order) == list(range(len(clusters)))
    first = [clusters[row] for row in order[: len(set(clusters))]]
    assert len(set(first)) == len(first)
    for name in set(clusters):
        mine = [scores[row] for row in order if clusters[row] == name]
        assert mine == sorted(mine, reverse=True)


def test_clusters_part_what_lies_apart_and_are_the_same_each_time() -> None:
    vectors = np.stack([vector_of(kind, number, 0.1) for kind in AXES for number in range(20)])
    clusters, nearness = clusters_of(vectors, 5, 0)
    assert len(set(clusters.tolist())) >= 4
    assert all(len(set(clusters[start : start + 20].tolist())) == 1 for start in range(0, 100, 20))
    assert nearness.min() > 0.7
    assert clusters_of(vectors, 5, 0)[0].tolist() == clusters.tolist()
    assert len(clusters_of(vectors[:2], 5, 0)[0]) == 2


def test_the_shipped_recipe_runs_as_its_first_lines_say(slide_set: dict[str, Any], tmp_path: Path) -> None:
    inputs = [f"{name}={slide_set[name]}" for name in ("images", "embeddings", "embedder", "slides")]
    main(["data/write-tiles", *inputs, "--out", str(tmp_path / "out")])
    found = read(tmp_path / "out")
    assert set(found) == {"S0", "S1"}
    assert found["S0"][0].extra["chosen"]["prompt"]
