"""Cross-modal retrieval beside open_clip alone, with captions of several images and images of several captions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.records import ImageText, Prediction

CAPTIONS = {"PINK": "pink tissue", "BLUE": "blue nuclei", "GREEN": "green ink"}


def records(tiles: list[Any]) -> list[ImageText]:
    """Eight tiles of their own caption; one image twice, with another caption each time; one caption of three images."""
    common = {"source": "made", "licence": "CC0-1.0", "split": "test"}
    found = [
        ImageText(id=f"made/{n}", group=f"g{n}", image=tile.image, captions=(f"{CAPTIONS[tile.label]}, number {n}",), **common)
        for n, tile in enumerate(tiles[:8])
    ]
    found.append(ImageText(id="made/again", group="g0", image=tiles[0].image, captions=("a second caption, pink tissue",), **common))
    shared = [
        ImageText(id=f"made/s{n}", group=f"s{n}", image=tiles[8 + n].image, captions=("green ink, shared ",), **common) for n in range(3)
    ]
    return found + shared


@pytest.fixture
def pairs(bench: Any, write_records: Any) -> Path:
    from eosin.records import LabelledImage

    tiles = list(open_artefact(bench.images).records(LabelledImage, "test"))
    write_records(bench.root / "pairs", "image_text", records(tiles))
    return bench.root / "pairs"


def reference(folder: Path, found: list[ImageText]) -> dict[str, list[bool]]:
    """R@1 of each question, by a positive matrix over distinct images and captions."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    images = list(dict.fromkeys(record.image for record in found))
    texts = list(dict.fromkeys(caption.strip() for record in found for caption in record.captions))
    right = np.zeros((len(images), len(texts)), dtype=bool)
    for record in found:
        right[images.index(record.image), [texts.index(caption.strip()) for caption in record.captions]] = True
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
        scores = (model.eval().encode_image(pixels, normalize=True) @ model.encode_text(tokenizer(texts), normalize=True).T).numpy()

    def hits(scores: np.ndarray, right: np.ndarray, k: int) -> list[bool]:
        return [bool(row[np.argsort(-score)[:k]].any()) for score, row in zip(scores, right, strict=True)]

    return {f"{way}_{k}": hits(*sides, k) for k in (1, 5) for way, sides in {"i": (scores, right), "t": (scores.T, right.T)}.items()}


def test_recall_is_that_of_open_clip_with_all_partners_right(pairs: Path, clip_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert eosin(["eval", "run", "eval/retrieval", f"model={clip_model}", f"data={pairs}", "--out", str(out)]) == 0
    artefact = open_artefact(out)
    assert artefact.plan.facts["questions"] | {"images": 11, "captions": 10} == artefact.plan.facts["questions"]
    wanted = reference(clip_model, list(open_artefact(pairs).records(ImageText)))
    ranks: dict[str, list[float]] = {"image_to_text": [], "text_to_image": []}
    for row in artefact.records(Prediction):
        ranks[str(row.topic)].append(row.scores[0])
    for k in (1, 5):
        assert [rank <= k for rank in ranks["image_to_text"]] == wanted[f"i_{k}"]
        assert [rank <= k for rank in ranks["text_to_image"]] == wanted[f"t_{k}"]
    assert eosin(["eval", "score", "demo/report", f"predictions=[{out}]", "--out", str(tmp_path / "scores")]) == 0
    metrics = json.loads((tmp_path / "scores" / "scores.json").read_text())["rows"][0]["metrics"]
    assert metrics["image_to_text_recall_at_5"]["value"] == pytest.approx(np.mean(wanted["i_5"]), abs=1e-6)
    both = (np.mean(wanted["i_1"]) + np.mean(wanted["t_1"])) / 2
    assert metrics["mean_recall_at_1"]["value"] == pytest.approx(both, abs=1e-6)


def test_a_model_that_looks_finds_a_shared_caption_from_each_of_its_images(bench: Any, pairs: Path, embedder: Any) -> None:
    out = bench.root / "out"
    assert eosin(["eval", "run", "eval/retrieval", f"model={bench.clip}", f"data={pairs}", "--out", str(out)]) == 0
    rows = {row.extra["question"]: row for row in open_artefact(out).records(Prediction) if row.topic == "text_to_image"}
    assert rows["green ink, shared"].extra["positives"] == 3
    assert len(rows) == 10


def test_an_image_that_cannot_be_decoded_is_an_error_and_no_candidate(bench: Any, embedder: Any, write_records: Any) -> None:
    common = {"source": "made", "licence": "CC0-1.0", "split": "test"}
    broken = [ImageText(id="made/bad", group="b", image=b"no image", captions=("pink tissue, broken",), **common)]
    from eosin.records import LabelledImage

    tiles = list(open_artefact(bench.images).records(LabelledImage, "test"))
    write_records(bench.root / "p", "image_text", records(tiles) + broken)
    out = bench.root / "out"
    assert eosin(["eval", "run", "eval/retrieval", f"model={bench.clip}", f"data={bench.root / 'p'}", "--out", str(out)]) == 0
    rows = list(open_artefact(out).records(Prediction))
    failed = [row for row in rows if row.finish_reason == "error"]
    assert [row.topic for row in failed] == ["image_to_text"]
    asked = next(row for row in rows if row.extra["question"] == "pink tissue, broken")
    assert asked.scores[0] == np.inf
    assert eosin(["eval", "score", "demo/report", f"predictions=[{out}]", "--out", str(bench.root / "scores")]) == 0
    metrics = json.loads((bench.root / "scores" / "scores.json").read_text())["rows"][0]["metrics"]
    found = [row.scores[0] <= 50 for row in rows if row.topic == "text_to_image"]
    assert metrics["text_to_image_recall_at_50"]["value"] == pytest.approx(np.mean(found), abs=1e-6)
    assert np.mean(found) == pytest.approx(10 / 11)
