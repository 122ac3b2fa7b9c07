"""The digest of a plain folder: what decides it, and what it costs."""

from pathlib import Path

import pytest

from eosin.artefacts import files
from eosin.artefacts.files import digest_of_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "table.csv").write_text("a,b")
    (tmp_path / "slide.svs").write_bytes(bytes(range(256)) * 512)
    return tmp_path


def test_names_and_contents_decide_it_and_hidden_files_do_not(folder: Path) -> None:
    before = digest_of_folder(folder)
    (folder / ".cache").write_text("x")
    assert digest_of_folder(folder) == before
    (folder / "deep" / "table.csv").write_text("a,c")
    changed = digest_of_folder(folder)
    assert changed != before
    (folder / "deep" / "table.csv").rename(folder / "deep" / "other.csv")
    assert digest_of_folder(folder) not in (before, changed)


def test_a_large_slide_counts_by_its_size_and_by_samples_up_to_its_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SLIDE_BYTES", 1 << 16)
    monkeypatch.setattr(files, "_CHUNK", 1 << 10)
    slide = folder / "slide.svs"
    content = slide.read_bytes()
    seen = {digest_of_folder(folder)}
    for changed in (b"\xff" + content[1:], content[:-1] + b"\x00", content + b"\x00"):
        slide.write_bytes(changed)
        seen.add(digest_of_folder(folder))
    assert len(seen) == 4
    reads = []
    monkeypatch.setattr(files, "sha256_of", lambda path: reads.append(path.name) or "x")
    digest_of_folder(folder)
    assert reads == ["table.csv"]
