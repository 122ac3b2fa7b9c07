"""From a slide's file to its class: tiles are cut, embedded and asked, with a heat map, and with neighbours' scores averaged."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main as eosin
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.eval.pooling import smoothed
from eosin.images import decode_image
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.records import Embedding, Prediction

RECIPE = """builder: tile_slides
size: 64
mpp: 1.0
tissue: {mpp: 4.0, smallest: 0.001, holes: 0.001}
quality: {measure: false}
"""
LABELS = "classes: {colon: {answer: colon}, lung: {answer: lung}, skin: {answer: skin}}\n"


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of 0.5 um/px, cut at 1.0: every tile is 128 pixels of level 0."""
    folder = tmp_path_factory.mktemp("tiled")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        pixels = np.full((384, 512, 3), 243, dtype=np.uint8)
        pixels[:, 128:384] = (np.array([190, 90, 160]) + rng.normal(0, 25, (384, 256, 1))).clip(0, 255)
        write_pyramid(folder / f"s{seed}.tiff", (512, 384), 0.5, iter([pixels]), quality=92)
    (folder / "slides.csv").write_text("slide,case,label,split\ns0.tiff,p0,colon,test\ns1.tiff,p1,colon,test\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "labels.yaml").write_text(LABELS)
    out = folder / "out"
    command = ["build", str(folder / "recipe.yaml"), f"slides={folder / 'slides.csv'}", "--workers", "1", "--out", str(out)]
    assert eosin(command) == 0
    return folder


def asked(tiled: Path, trained: Artefact, embeddings: Path, out: Path, *words: str) -> list[Prediction]:
    inputs = (f"model={trained.path}", f"data={embeddings}", f"slides={tiled / 'out/slides'}", f"labels={tiled / 'labels.yaml'}")
    command = ["eval", "run", "eval/slides-topk", *inputs, "prompts=prompts/bare", "device=cpu", "k=3", *words, "--out", str(out)]
    assert eosin(command) == 0
    return list(open_artefact(out, "predictions").records(Prediction))


def test_slides_cut_and_embedded_here_get_a_heat_map_and_smoothed_scores(
    tiled: Path, trained: Artefact, recipe: Path, tmp_path: Path
) -> None:
    embeddings = tmp_path / "embeddings"
    sources = (f"model={trained.path}", f"tiles={tiled / 'out/tiles'}", f"slides={tiled / 'out/slides'}")
    command = ["clip", "embed", str(recipe.parent / "empty.yaml"), *sources, "--device", "cpu", "--workers", "1", "--out", str(embeddings)]
    assert eosin(command) == 0
    plain = asked(tiled, trained, embeddings, tmp_path / "plain", "heat_map_side=64")
    assert [row.options for row in plain] == [("colon", "lung", "skin")] * 2
    for row in plain:
        assert decode_image(base64.b64decode(row.extra["thumbnail"].split(",")[1])).shape == (48, 64, 3)
    found = asked(tiled, trained, embeddings, tmp_path / "smooth", "smooth=4", "heat_maps=0")
    embedder = load_embedder(EmbedderSpec(str(trained.path), device="cpu"))
    for number, row in enumerate(found):
        tiles = [tile for tile in open_artefact(embeddings).records(Embedding) if tile.slide == row.slide]
        assert {tile.extra["size"] for tile in tiles} == {128}
        cosines = np.array([tile.vector for tile in tiles]) @ embedder.embed_texts(["colon", "lung", "skin"]).T
        for scores, values in ((plain[number].scores, cosines), (row.scores, smoothed(cosines, middles(tiles), 4))):
            np.testing.assert_allclose(scores, embedder.logit_scale * np.sort(values, axis=0)[-3:].mean(axis=0), atol=1e-4)
        assert not np.allclose(plain[number].scores, row.scores, atol=1e-4)
    assert json.loads((tmp_path / "smooth" / "manifest.json").read_text())["counts"]["out"] == 2


def middles(tiles: list[Embedding]) -> np.ndarray:
    return np.array([[tile.extra["x"] + 64.0, tile.extra["y"] + 64.0] for tile in tiles])
