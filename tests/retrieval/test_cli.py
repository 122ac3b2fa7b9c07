"""`eosin index search` prints what the index finds, and asks for what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from eosin.cli import main as eosin
from eosin.images import encode_png
from eosin.numerics import Floats

Build = Callable[..., Path]
Archive = Callable[..., Floats]


class FixedEmbedder:
    """Any image is case 3 of the archive, any text case 5."""

    dim = 16
    logit_scale = 1.0
    supports = frozenset({"image", "text"})
    fingerprint = "aaaa"

    def __init__(self, archive: Floats) -> None:
        self._archive = archive

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        return self._archive[3:4]

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        return self._archive[5:6]


@pytest.fixture(autouse=True)
def _embedder(monkeypatch: pytest.MonkeyPatch, archive_vectors: Archive) -> None:
    monkeypatch.setattr("eosin.models.specs.load_embedder", lambda spec: FixedEmbedder(archive_vectors(30)))


def test_search_by_text_shows_the_case_and_its_source(build: Build, capsys: pytest.CaptureFixture[str], archive_vectors: Archive) -> None:
    folder = build(archive_vectors(30))
    assert eosin(["index", "search", str(folder), "--embedder", "clip", "--text", "mucin", "-k", "2"]) == 0
    printed = capsys.readouterr().out
    assert "made/5" in printed
    assert "CC0-1.0" in printed
    assert "patient-1" in printed


def test_search_by_image_reads_the_file(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], archive_vectors: Archive) -> None:
    folder = build(archive_vectors(30))
    (tmp_path / "tile.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    assert eosin(["index", "search", str(folder), "--embedder", "clip", "--image", str(tmp_path / "tile.png"), "-k", "1"]) == 0
    assert "made/3" in capsys.readouterr().out
    assert eosin(["index", "search", str(folder), "--embedder", "clip", "--image", str(tmp_path / "missing.png")]) == 2


def test_an_unknown_action_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert eosin(["index", "serach"]) == 2
    assert "build" in capsys.readouterr().err
