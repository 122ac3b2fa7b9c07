"""What people get wrong, through the command itself: the exit code, words that say what to do, and nothing lost.

Elsewhere, where the fixtures are: a port in use and what cannot be served (tests/serve/test_cli.py), unknown keys
(tests/llm/test_cli.py), a missing folder of tiles (tests/demo/test_stages.py), uploads and requests (tests/serve/test_gateway.py
and test_page.py).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.artefacts import ArtefactWriter, Plan, files, open_artefact
from eosin.cli import main
from eosin.errors import EosinError, InputError, disk_is_full
from eosin.images import encode_png
from eosin.records import LabelledImage

Tiles = Callable[..., Path]
FULL = "No space left on device"


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    """Writes a folder with so many small tiles a class: `tiles(fat=4, mucus=4)`."""

    def make(**classes: int) -> Path:
        root = tmp_path / "tiles"
        for label, count in classes.items():
            (root / label).mkdir(parents=True)
            for number in range(count):
                seed = [len(label), number]
                pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
                (root / label / f"{number}.png").write_bytes(encode_png(pixels))
        return root

    return make


def build(folder: Path, out: Path) -> int:
    return main(["build", "demo/tiles", f"folder={folder}", "--out", str(out), "--workers", "1"])


def labels(out: Path) -> list[str | None]:
    return [record.label for record in open_artefact(out / "labelled_images").records(LabelledImage)]


def test_a_missing_an_empty_and_a_flat_folder_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path / "nowhere", tmp_path / "out") == 2
    assert f"{tmp_path / 'nowhere'} is not a folder" in capsys.readouterr().err
    (tmp_path / "empty" / "fat").mkdir(parents=True)
    assert build(tmp_path / "empty" / "fat", tmp_path / "out") == 2
    assert "is empty" in capsys.readouterr().err
    assert build(tmp_path / "empty", tmp_path / "out") == 2
    assert "no image to take (it is empty)" in capsys.readouterr().err
    (tmp_path / "empty" / "0.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    assert build(tmp_path / "empty", tmp_path / "out") == 2
    assert "put each class in a folder of its own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_class_with_one_image_is_kept_for_training_and_told(tiles: Tiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tiles(rare=1, fat=5, mucus=5), tmp_path / "out") == 0
    assert "class rare has one group: it is in train only" in capsys.readouterr().err
    assert labels(tmp_path / "out").count("rare") == 1


def test_unreadable_files_go_to_the_rejects_and_the_others_are_taken(
    tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, real = tiles(fat=4, mucus=4), Path.open

    def barred(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "locked.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    (folder / "fat" / "locked.png").write_bytes((folder / "fat" / "1.png").read_bytes())
    monkeypatch.setattr(Path, "open", barred)
    whole = (folder / "fat" / "0.png").read_bytes()
    (folder / "fat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "mucus" / "words.png").write_text("a pink tile with glands")
    assert build(folder, tmp_path / "out") == 0
    assert "8 records" in capsys.readouterr().err
    rejects = pq.read_table(tmp_path / "out" / "labelled_images" / "rejects" / "rejects.parquet").to_pylist()
    assert {row["key"]: row["reason"] for row in rejects} == {
        "fat/cut.png": "truncated",
        "fat/locked.png": "unreadable",
        "mucus/words.png": "unknown_format",
    }


@pytest.mark.parametrize("call", [3, 9])
def test_a_full_disk_loses_nothing_that_was_finished(
    tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: int
) -> None:
    folder, real, calls = tiles(fat=4, mucus=4), os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) >= call:
            raise OSError(errno.ENOSPC, FULL)
        real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    assert build(folder, tmp_path / "out") == 2
    assert "no space left on the disk" in capsys.readouterr().err
    assert (tmp_path / "out" / "labelled_images" / "plan.json").is_file()
    monkeypatch.setattr(files.os, "fsync", real)
    assert build(folder, tmp_path / "out") == 0
    assert build(folder, tmp_path / "undisturbed") == 0
    for name in ("labelled_images", "image_text", "conversations"):
        assert open_artefact(tmp_path / "out" / name).digest == open_artefact(tmp_path / "undisturbed" / name).digest


def as_torch_says_it() -> None:
    try:
        raise OSError(errno.ENOSPC, FULL)
    except OSError as error:
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598") from error


def as_safetensors_says_it() -> None:
    raise ValueError(f"Error while serializing: I/O error: {FULL} (os error 28)")


def as_faiss_says_it() -> None:
    raise RuntimeError(f"Error: 'ret == (size)' failed: write error in vectors.faiss: 1048531 != 6400000 ({FULL})")


@pytest.mark.parametrize("write", [as_torch_says_it, as_safetensors_says_it, as_faiss_says_it])
def test_a_full_disk_is_known_by_every_librarys_words(tmp_path: Path, write: Callable[[], None]) -> None:
    with pytest.raises(InputError, match="no space left on the disk of"), files.replacing(tmp_path / "model"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_no_full_disk(tmp_path: Path) -> None:
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"))
    with pytest.raises(RuntimeError, match="unexpected pos"), files.replacing(tmp_path / "model"):
        raise RuntimeError("unexpected pos 704 vs 598")
    with pytest.raises(EosinError, match="ours"), files.replacing(tmp_path / "model"):
        raise EosinError("ours")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clip", "train", "demo/clip", "data=WRONG"], "of kind audit; wanted: image_text"),
        (["clip", "embed", "demo/embed", "model=WRONG", "data=WRONG"], "of kind audit; wanted: clip_model"),
        (["clip", "export", "demo/clip-export", "model=WRONG"], "of kind audit; wanted: clip_model"),
        (["index", "build", "demo/index", "data=WRONG"], "of kind audit; wanted: embeddings"),
        (["build", "demo/evidence", "conversations=WRONG", "embeddings=WRONG"], "of kind audit; wanted: conversations"),
        (["eval", "run", "demo/eval-zero-shot", "model=WRONG", "data=WRONG"], "of kind audit; wanted: clip_model"),
        (["eval", "score", "demo/report", "predictions=[WRONG]"], "of kind audit; wanted: predictions"),
    ],
)
def test_an_artefact_of_the_wrong_kind_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with ArtefactWriter(tmp_path / "wrong", Plan("audit", "test", {})) as writer:
        writer.finish()
    words = [word.replace("WRONG", str(tmp_path / "wrong")) for word in words]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_artefact_whose_files_are_not_those_of_its_manifest_is_refused(
    tiles: Tiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tiles(fat=4, mucus=4), tmp_path / "out") == 0
    folder = tmp_path / "out" / "image_text"
    shard = next(folder.glob("data/*.parquet"))
    whole = shard.read_bytes()
    capsys.readouterr()

    shard.write_bytes(whole[:-1])
    for words in (["inspect", str(folder)], ["clip", "train", "demo/clip", f"data={folder}", "--out", str(tmp_path / "clip")]):
        assert main(words) == 2
        assert f"data/{shard.name} has {len(whole) - 1} bytes, not {len(whole)}" in capsys.readouterr().err
    assert not (tmp_path / "clip").exists()

    shard.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    assert main(["inspect", str(folder)]) == 0
    assert main(["inspect", str(folder), "--verify"]) == 2
    assert f"data/{shard.name} has another sha256" in capsys.readouterr().err

    shard.unlink()
    assert main(["inspect", str(folder)]) == 2
    assert f"data/{shard.name} is missing" in capsys.readouterr().err


def test_out_must_be_a_folder_that_is_ours_or_new(tiles: Tiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiles(fat=4, mucus=4)
    (tmp_path / "notes").write_text("keep me")
    assert build(folder, tmp_path / "notes") == 2
    assert "cannot be made or written" in capsys.readouterr().err
    (tmp_path / "mine" / "labelled_images").mkdir(parents=True)
    (tmp_path / "mine" / "labelled_images" / "thesis.txt").write_text("keep me")
    assert build(folder, tmp_path / "mine") == 2
    assert "not empty and not an artefact" in capsys.readouterr().err
    assert (tmp_path / "mine" / "labelled_images" / "thesis.txt").read_text() == "keep me"
    assert (tmp_path / "notes").read_text() == "keep me"


@pytest.mark.parametrize(("verb", "key"), [(["build"], "builder"), (["eval", "run"], "task")])
@pytest.mark.parametrize("value", ["[phantoms, vqa]", "{a: 1}", "magic", "null"])
def test_a_recipe_of_no_known_kind_names_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str], key: str, value: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(f"{key}: {value}\n")
    assert main([*verb, str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "allowed: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["llm", "chat", "MODEL", "What is this?"], ["index", "search", "INDEX", "--embedder", "MODEL"]])
def test_text_where_an_image_is_expected_is_told_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "tile.png").write_text("a pink tile with glands")
    assert main([*words, "--image", str(tmp_path / "tile.png")]) == 2
    assert "unknown_format" in capsys.readouterr().err
