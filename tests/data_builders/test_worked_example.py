"""The worked example of docs/worked-example.md: tiles, a slide, reports and a classification, built, cleaned, split and audited.

The published data where EOSIN_REAL_DATA names them; else phantoms and invented files in the same layouts.
"""

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main
from eosin.data_builders.phantoms import SlideSpec, TileSpec, render_slide, render_tile
from eosin.images import encode_jpeg
from eosin.records import Conversation, Finding, LabelledImage, Slide, Tile

REPORT = """# Task006: Tumour origin

Report:
```
Clinical history: a 60-year-old with a mass.
Microscopy: Sheets of epithelioid cells with eosinophilic cytoplasm and prominent nucleoli.
Immunohistochemistry: CK7 positive, TTF-1 negative.
Signed by Dr. A. Example on 12-03-2020.
```
"""


def eosin(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def invented(root: Path) -> Path:
    """The four inputs in the layouts of the published ones."""
    tiles = root / "tiles" / "lc25000_224px"
    rows = [("path", "label", "split", "group")]
    for number in range(24):
        label, code = (("colon_aca", "TUM"), ("colon_n", "NORM"))[number % 2]
        path = tiles / "colon_image_sets" / label / f"{label}{number}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(render_tile(TileSpec(number, code, size_px=128)).image))
        rows.append((str(path.relative_to(tiles)), label, "test" if number % 12 < 4 else "train", f"{label}/{number // 4}"))
    with (tiles / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "wsi").mkdir()
    render_slide(SlideSpec(3, width=2048, height=2048, tissues=("TUM", "STR", "ADI")), root / "wsi" / "phantom.tiff")
    (root / "wsi" / "broken.svs").write_bytes(b"II*\x00 cut off")
    (root / "text" / "dragon_reports" / "english").mkdir(parents=True)
    (root / "text" / "dragon_reports" / "english" / "Task006_pathology_tumor_origin_clf.md").write_text(REPORT)
    leaves = {f"T{place}": {"code": f"T{place}", "name": f"Tumour {place}", "tissue": "Lung", "children": {}} for place in range(6)}
    organs = {
        name: {
            "code": name,
            "name": name.title(),
            "tissue": name.title(),
            "children": {f"{name}{key}": {**leaf, "code": f"{name}{key}"} for key, leaf in leaves.items()},
        }
        for name in ("LUNG", "SKIN", "BOWEL", "EYE")
    }
    (root / "text" / "oncotree").mkdir()
    (root / "text" / "oncotree" / "oncotree.json").write_text(
        json.dumps({"TISSUE": {"code": "TISSUE", "name": "Tissue", "children": organs}})
    )
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    real = os.environ.get("EOSIN_REAL_DATA")
    return Path(real) if real else invented(tmp_path_factory.mktemp("published"))


def findings(artefact: Artefact) -> Counter[str]:
    return Counter(record.finding for record in artefact.records(Finding))


def test_tiles_are_built_searched_split_and_audited(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    eosin("build", "data/source", "source=lc25000", f"folder={data / 'tiles' / 'lc25000_224px'}", "--out", out / "built")
    eosin("build", "data/dedup", f"data={out / 'built' / 'labelled_images'}", "keep=group", "--out", out / "dedup")
    eosin("build", "data/split", f"data={out / 'dedup' / 'labelled_images'}", "keep=[test]", "--out", out / "split")
    split = out / "split" / "labelled_images"
    groups: dict[str, set[str]] = {}
    for record in open_artefact(split).records(LabelledImage):
        groups.setdefault(record.group, set()).add(record.split)
    assert groups
    assert all(len(splits) == 1 for splits in groups.values())
    eosin("audit", f"{split}:train", "--against", f"{split}:test", "--out", out / "audit")
    found = findings(open_artefact(out / "audit"))
    assert not found["shared_group"]
    assert not found["exact_image"]
    assert (out / "audit" / "report.html").stat().st_size > 1000


def test_slides_become_tiles_and_broken_ones_are_named(data: Path, tmp_path: Path) -> None:
    eosin("build", "data/tile-slides", f"slides={data / 'wsi'}", "images=true", "--out", tmp_path / "slides")
    slides = open_artefact(tmp_path / "slides" / "slides")
    assert slides.manifest["counts"]["rejected"]
    tiles = list(open_artefact(tmp_path / "slides" / "tiles").records(Tile))
    images = list(open_artefact(tmp_path / "slides" / "labelled_images").records(LabelledImage))
    assert len(images) == sum(tile.kept for tile in tiles) > 0
    assert all(tile.reason for tile in tiles if not tile.kept)


def test_reports_keep_what_a_section_shows(data: Path, tmp_path: Path) -> None:
    eosin("build", "data/source", "source=dragon", f"folder={data / 'text' / 'dragon_reports'}", "--out", tmp_path / "reports")
    eosin("build", "data/clean-reports", f"data={tmp_path / 'reports' / 'slides'}", "--out", tmp_path / "clean")
    cleaned = open_artefact(tmp_path / "clean" / "slides")
    records = list(cleaned.records(Slide))
    assert records
    for record in records:
        assert record.report
        assert record.extra["dropped"]
    counts = cleaned.manifest["counts"]
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())


def test_a_classification_becomes_questions_split_by_tissue(data: Path, tmp_path: Path) -> None:
    eosin("build", "data/source", "source=oncotree", f"folder={data / 'text' / 'oncotree'}", "--out", tmp_path / "onco")
    eosin("build", "data/split", f"data={tmp_path / 'onco' / 'conversations'}", "by=task", "--out", tmp_path / "split")
    records = list(open_artefact(tmp_path / "split" / "conversations").records(Conversation))
    tissues: dict[str, set[str]] = {}
    for record in records:
        tissues.setdefault(record.group, set()).add(record.split)
    assert all(len(splits) == 1 for splits in tissues.values())
    assert {record.task for record in records} == {"open", "mcq", "closed"}
