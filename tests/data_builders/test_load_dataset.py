from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL.Image import Image

Build = Callable[..., Path]


def test_the_datasets_library_opens_each_kind_with_decoded_images(
    build: Build, small_phantoms: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = build({**small_phantoms, "slides": {"count": 1, "width": 1024, "height": 1024}})
    for name, column in (("labelled_images", "image"), ("image_text", "image"), ("conversations", "images")):
        opened = datasets.load_dataset(str(out / name), cache_dir=str(tmp_path / "cache"))
        assert set(opened) == {"train", "test"}
        row = opened["train"][0]
        images = row[column] if column == "images" else [row[column]]
        assert all(isinstance(image, Image) and image.size == (64, 64) for image in images)
        assert row["split"] == "train"
    slides = datasets.load_dataset(str(out / "slides"), cache_dir=str(tmp_path / "cache"))
    assert slides["test"][0]["path"] == "files/W000-S0.tiff"
