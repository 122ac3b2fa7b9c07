"""An image is found where publishers put it, and never confused with another of the same name."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.source import Refused


@pytest.fixture
def packed(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number, name in enumerate(("images/a/1.jpg", "images/b/1.jpg", "images/a/2.jpg")):
            archive.writestr(name, jpeg(number))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("copy/2.jpg", jpeg(2))
        archive.writestr("images/a/2.jpg", jpeg(2))
    return tmp_path


def test_members_of_one_name_are_told_apart_or_refused(packed: Path, jpeg: Callable[..., bytes]) -> None:
    images = ImageFiles(packed)
    assert images.read("images/b/1.jpg") == jpeg(1)
    assert images.read("2.jpg") == jpeg(2)
    for name in ("1.jpg", "c/1.jpg"):
        assert name not in images
        with pytest.raises(Refused) as refused:
            images.read(name)
        assert refused.value.reason == "image_ambiguous"


def test_where_names_repeat_among_folders_the_folder_counts(packed: Path, jpeg: Callable[..., bytes]) -> None:
    (packed / "deep" / "d").mkdir(parents=True)
    (packed / "deep" / "d" / "3.jpg").write_bytes(jpeg(3))
    images = ImageFiles(packed, tail=2)
    assert [images.read(name) for name in ("a/1.jpg", "b/1.jpg", "d/3.jpg")] == [jpeg(0), jpeg(1), jpeg(3)]
    assert ImageFiles(packed).read("e/3.jpg") == jpeg(3)
    assert "e/3.jpg" not in ImageFiles(packed, anywhere=False)
    for name in ("c/1.jpg", "e/3.jpg", "3.jpg"):
        assert name not in images
        with pytest.raises(Refused) as refused:
            images.read(name)
        assert refused.value.reason == "image_missing"
