"""Tiles go from the slide into the model: no file of theirs is ever written."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import eosin.clip.embed as module
from eosin.artefacts import Artefact, open_artefact
from eosin.clip.cli import main
from eosin.data_builders.cli import main as build
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.errors import ConfigError, InputError
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.records import Embedding, Tile
from eosin.slides.reader import SlideReader
from eosin.slides.stream import iter_tiles

RECIPE = """builder: tile_slides
size: 64
mpp: 1.0
tissue: {mpp: 4.0, smallest: 0.001, holes: 0.001}
quality: {measure: false}
rows_a_task: 1
"""


def tissue(seed: int) -> np.ndarray:
    """Pink texture in a frame of glass."""
    rng = np.random.default_rng(seed)
    pixels = np.full((384, 512, 3), 243, dtype=np.uint8)
    pixels[:, 128:384] = (np.array([190, 90, 160]) + rng.normal(0, 25, (384, 256, 1))).clip(0, 255)
    return pixels


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides listed in a CSV, one of the test split, and their tiles: `slides` and `tiles`."""
    folder = tmp_path_factory.mktemp("archive")
    for seed, mpp in enumerate((0.5, 0.25)):
        write_pyramid(folder / f"s{seed}.tiff", (512, 384), mpp, iter([tissue(seed)]), quality=92)
    (folder / "slides.csv").write_text("slide,case,label,split\ns0.tiff,p0,colon,train\ns1.tiff,p1,lung,test\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    build([str(folder / "recipe.yaml"), f"slides={folder / 'slides.csv'}", "--workers", "1", "--out", str(folder / "out")])
    return folder


def embed(archive: Path, trained: Artefact, recipe: Path, out: Path, *more: str) -> Artefact:
    made = archive / "out"
    command = ["embed", str(recipe.parent / "empty.yaml"), f"model={trained.path}", f"tiles={made / 'tiles'}", f"slides={made / 'slides'}"]
    main([*command, "batch_size=5", "--device", "cpu", "--workers", "2", "--out", str(out), *more])
    return open_artefact(out)


def test_tiles_are_embedded_as_the_slide_shows_them(archive: Path, trained: Artefact, recipe: Path, tmp_path: Path) -> None:
    made = embed(archive, trained, recipe, tmp_path / "out", "thumbnail=16")
    tiles = [tile for tile in open_artefact(archive / "out/tiles").records(Tile) if tile.kept]
    found = {record.id: record for record in made.records(Embedding)}
    assert set(found) == {tile.id for tile in tiles}
    embedder = load_embedder(EmbedderSpec(str(trained.path), device="cpu"))
    for name, mpp, label, split in (("s0", 0.5, "colon", "train"), ("s1", 0.25, "lung", "test")):
        own = [tile for tile in tiles if tile.slide == name]
        assert own
        with SlideReader(archive / f"{name}.tiff", mpp) as slide:
            pictures = [picture.pixels for picture in iter_tiles(slide, [(tile.x, tile.y) for tile in own], 64, 1.0)]
        wanted = embedder.embed_pixels([pixels for pixels in pictures if pixels is not None])
        np.testing.assert_allclose([found[tile.id].vector for tile in own], wanted, atol=1e-5)
        record = found[own[0].id]
        assert (record.label, record.split, record.slide, record.group, record.mpp) == (label, split, name, own[0].group, 1.0)
        assert (record.extra["x"], record.extra["y"], record.extra["size"]) == (own[0].x, own[0].y, round(64 / mpp))
        assert record.thumbnail is not None


def test_a_stopped_run_over_slides_goes_on_within_the_slide(
    archive: Path, trained: Artefact, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = embed(archive, trained, recipe, tmp_path / "straight")
    real, done = module.EmbedTask.__call__, []

    def stopping(self: Any, task: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return real(self, task)

    monkeypatch.setattr(module.EmbedTask, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(archive, trained, recipe, tmp_path / "out")
    assert 0 < sum(task.source == "s0" for task in done) < sum(task.source == "s0" for task in straight.plan.tasks)
    monkeypatch.setattr(module.EmbedTask, "__call__", real)
    assert embed(archive, trained, recipe, tmp_path / "out").digest == straight.digest


def test_a_split_of_slides(archive: Path, trained: Artefact, recipe: Path, tmp_path: Path) -> None:
    made = embed(archive, trained, recipe, tmp_path / "out", "splits=[test]")
    assert {record.slide for record in made.records(Embedding)} == {"s1"}
    with pytest.raises(ConfigError, match="no tiles of split 'val'; it holds: test, train"):
        embed(archive, trained, recipe, tmp_path / "none", "splits=[val]")


def test_slides_that_moved_are_found_by_their_root_and_damaged_ones_lose_no_tile(
    archive: Path, trained: Artefact, recipe: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(archive / "s0.tiff", moved)
    with pytest.raises(InputError, match=r"s1: there is no .*root=DIR"):
        embed(archive, trained, recipe, tmp_path / "out", f"root={moved}")
    (moved / "s1.tiff").write_text("lost")
    made = embed(archive, trained, recipe, tmp_path / "out", f"root={moved}")
    kept = [tile for tile in open_artefact(archive / "out/tiles").records(Tile) if tile.kept]
    lost = [tile.id for tile in kept if tile.slide == "s1"]
    assert lost
    assert made.manifest["counts"] == {"in": len(kept), "out": len(kept) - len(lost), "rejected": {"unsupported_format": len(lost)}}
    assert pq.read_table(made.path / "rejects/rejects.parquet")["key"].to_pylist() == lost


def test_tiles_need_their_slides(archive: Path, trained: Artefact, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="go together"):
        main(
            ["embed", str(recipe.parent / "empty.yaml"), f"model={trained.path}", f"tiles={archive / 'out/tiles'}", "--out", str(tmp_path)]
        )
