import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import eosin.clip.embed as module
from eosin.artefacts import Artefact, open_artefact
from eosin.clip.cli import main
from eosin.errors import ConfigError
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.records import Embedding


def embed(recipe: Path, model: Artefact, data: Artefact, out: Path, *more: str) -> Artefact:
    main(
        ["embed", str(recipe.parent / "empty.yaml"), f"model={model.path}", f"data={data.path}", "--workers", "1", "--out", str(out), *more]
    )
    return open_artefact(out)


def test_each_record_keeps_its_vector_and_what_retrieval_shows(
    recipe: Path, trained: Artefact, images_artefact: Artefact, squares: Any, tmp_path: Path
) -> None:
    made = embed(recipe, trained, images_artefact, tmp_path / "out", "thumbnail=24", "batch_size=6")
    records = list(made.records(Embedding))
    sources = [squares.pair(number) for number in range(20)] + [squares.pair(number, "test") for number in range(8)]
    embedder = load_embedder(EmbedderSpec(str(trained.path), device="cpu"))
    wanted = embedder.embed_images([source.image for source in sources])
    assert {record.id for record in records} == {source.id for source in sources}
    vectors = {record.id: record.vector for record in records}
    np.testing.assert_allclose([vectors[source.id] for source in sources], wanted, atol=1e-5)
    first = next(record for record in records if record.id == "squares/train-0")
    assert (first.label, first.caption, first.group, first.split) == ("red", "a red square", "train-0", "train")
    assert first.thumbnail is not None
    assert Image.open(io.BytesIO(first.thumbnail)).size == (24, 24)
    assert made.plan.facts["fingerprint"] == embedder.fingerprint
    assert made.classes == ("red", "green", "blue", "pale")


def test_pairs_are_embedded_with_their_first_caption(recipe: Path, trained: Artefact, pairs_artefact: Artefact, tmp_path: Path) -> None:
    made = embed(recipe, trained, pairs_artefact, tmp_path / "out", "splits=[test]", "thumbnail=0")
    records = list(made.records(Embedding))
    assert len(records) == 8
    assert {record.split for record in records} == {"test"}
    assert (records[1].caption, records[1].label, records[1].thumbnail) == ("a green square", "green", None)


def test_the_model_is_loaded_once_for_all_shards(
    recipe: Path, trained: Artefact, images_artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    real = module.load_embedder
    monkeypatch.setattr(module, "load_embedder", lambda spec: loads.append(spec) or real(spec))
    module._embedder.cache_clear()
    made = embed(recipe, trained, images_artefact, tmp_path / "out", "shard_size=5")
    assert len(made.plan.tasks) == 6
    assert len(loads) == 1


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    recipe: Path, trained: Artefact, images_artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = embed(recipe, trained, images_artefact, tmp_path / "straight", "shard_size=5")
    real, done = module.EmbedTask.__call__, []

    def stopping(self: Any, task: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(task)
        return real(self, task)

    monkeypatch.setattr(module.EmbedTask, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(recipe, trained, images_artefact, tmp_path / "out", "shard_size=5")
    assert len(list((tmp_path / "out/data").glob("*.parquet"))) == 3
    monkeypatch.setattr(module.EmbedTask, "__call__", real)
    resumed = embed(recipe, trained, images_artefact, tmp_path / "out", "shard_size=5")
    assert resumed.digest == straight.digest


def test_an_image_that_cannot_be_read_becomes_a_reject(recipe: Path, trained: Artefact, squares: Any, tmp_path: Path) -> None:
    records = [squares.pair(number) for number in range(6)]
    records[2] = squares.spoiled(records[2])
    made = embed(recipe, trained, squares.write(tmp_path / "data", records), tmp_path / "out")
    assert made.manifest["counts"] == {"in": 6, "out": 5, "rejected": {"truncated": 1}}
    assert pq.read_table(made.path / "rejects/rejects.parquet")["key"].to_pylist() == ["squares/train-2"]
    assert [record.id for record in made.records(Embedding)] == [f"squares/train-{number}" for number in (0, 1, 3, 4, 5)]


def test_a_split_without_records_is_an_error(recipe: Path, trained: Artefact, images_artefact: Artefact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it holds: test, train"):
        embed(recipe, trained, images_artefact, tmp_path / "out", "splits=[val]")


def test_both_formats_can_embed(recipe: Path, trained: Artefact, exported: Artefact, images_artefact: Artefact, tmp_path: Path) -> None:
    ours = embed(recipe, trained, images_artefact, tmp_path / "ours")
    theirs = embed(recipe, exported, images_artefact, tmp_path / "theirs")
    vectors = [[record.vector for record in made.records(Embedding)] for made in (ours, theirs)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    assert ours.plan.facts["fingerprint"] != theirs.plan.facts["fingerprint"]


def test_a_plain_folder_is_embedded_and_no_file_of_it_is_lost(recipe: Path, trained: Artefact, squares: Any, tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / "images" / ("case-1" if number % 2 else "case-2") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(squares.pair(number).image)
    (tmp_path / "images" / "top.png").write_bytes(squares.pair(5).image)
    (tmp_path / "images" / "notes.txt").write_text("stained on Monday")
    (tmp_path / "images" / "void.png").write_bytes(b"")
    (tmp_path / "images" / ".hidden").write_text("x")
    command = ["embed", str(recipe.parent / "empty.yaml"), f"folder={trained.path}", f"images={tmp_path / 'images'}", "source=ours"]
    main([*command, "shard_size=3", "--device", "cpu", "--out", str(tmp_path / "out")])
    made = open_artefact(tmp_path / "out")
    records = {record.id: record for record in made.records(Embedding)}
    names = ("case-1/1.png", "case-1/3.png", "case-2/0.png", "case-2/2.png", "case-2/4.png", "top.png")
    assert set(records) == {f"ours/{name}" for name in names}
    assert (records["ours/case-1/1.png"].group, records["ours/top.png"].group) == ("ours/case-1", "ours/top.png")
    assert made.manifest["counts"]["in"] == 8
    assert set(pq.read_table(made.path / "rejects/rejects.parquet")["key"].to_pylist()) == {"ours/notes.txt", "ours/void.png"}
    wanted = load_embedder(EmbedderSpec(str(trained.path), device="cpu")).embed_images([squares.pair(3).image])
    np.testing.assert_allclose([records["ours/case-1/3.png"].vector], wanted, atol=1e-5)


def test_vectors_can_be_stored_in_float16(recipe: Path, trained: Artefact, images_artefact: Artefact, tmp_path: Path) -> None:
    whole = embed(recipe, trained, images_artefact, tmp_path / "whole", "thumbnail=0")
    half = embed(recipe, trained, images_artefact, tmp_path / "half", "thumbnail=0", "store=float16")
    column = pq.read_schema(half.shards()[0]).field("vector").type
    assert str(column.value_type) == "halffloat"
    exact, stored = (np.array([record.vector for record in made.records(Embedding)]) for made in (whole, half))
    np.testing.assert_array_equal(stored, exact.astype(np.float16))
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("data=DATA",), "one model embeds"),
        (("model=MODEL", "data=DATA", "name=a/b"), "got model, name"),
        (("model=MODEL", "data=DATA", "images=DATA"), "one of data=ARTEFACT, images=FOLDER and tiles=ARTEFACT"),
        (("model=MODEL",), "got none"),
        (("model=MODEL", "images=DATA", "splits=[test]"), "a plain folder of images has none"),
        (("model=MODEL", "data=DATA", "revision=main"), "revision is of a repository"),
    ],
)
def test_contradicting_inputs_are_refused(
    recipe: Path, trained: Artefact, images_artefact: Artefact, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    named = [text.replace("MODEL", str(trained.path)).replace("DATA", str(images_artefact.path)) for text in given]
    with pytest.raises(ConfigError, match=message):
        main(["embed", str(recipe.parent / "empty.yaml"), *named, "--out", str(tmp_path / "out")])
