"""`tile_slides` from the command line: all that goes in comes out as a record or as a reject with its reason."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from eosin.artefacts import open_artefact
from eosin.data_builders.slides import survey
from eosin.data_builders.slides.coordinates import read_coordinates
from eosin.data_builders.slides.listing import case_of, list_slides
from eosin.errors import ConfigError, InputError
from eosin.images import decode_image
from eosin.records import LabelledImage, Slide, Tile
from eosin.slides.reader import SlideReader

Build = Callable[..., Path]
RECIPE: dict[str, Any] = {"builder": "tile_slides", "size": 64, "mpp": 0.5, "tissue": {"mpp": 4.0, "smallest": 0.001, "holes": 0.001}}


@pytest.fixture
def archive(draw: SimpleNamespace, tmp_path: Path) -> Path:
    """Two good slides of one patient, one of another, and everything that goes wrong."""
    folder = tmp_path / "archive"
    (folder / "more").mkdir(parents=True)
    glass = draw.on_glass(640, 512, (128, 128, 448, 384))
    draw.write_slide(folder / "TCGA-AA-0001-01Z-00-DX1.tiff", glass)
    draw.write_slide(folder / "more" / "TCGA-AA-0001-01Z-00-DX2.tiff", glass, mpp=0.25)
    draw.write_svs(folder / "other.svs", draw.on_glass(512, 512, (64, 64, 448, 448)), lost=(27,), broken=(36,))
    draw.write_svs(folder / "no-mpp.svs", glass, text="|AppMag = 20")
    draw.write_svs(folder / "small.svs", glass[:32, :32])
    draw.write_slide(folder / "coarse.tiff", glass, mpp=2.0)
    (folder / "text.svs").write_text("no slide")
    (folder / "notes.docx").write_text("no slide either")
    return folder


def rejects(out: Path) -> dict[str, str]:
    return {row["key"]: row["reason"] for row in pq.read_table(out / "slides/rejects/rejects.parquet").to_pylist()}


def test_every_file_is_a_slide_or_a_reject_with_its_reason(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive}", workers=2)
    slides = {slide.slide: slide for slide in open_artefact(out / "slides").records(Slide)}
    assert set(slides) == {"TCGA-AA-0001-01Z-00-DX1", "TCGA-AA-0001-01Z-00-DX2", "other"}
    assert rejects(out) == {
        "no-mpp.svs": "no_mpp",
        "small.svs": "too_small",
        "coarse.tiff": "too_coarse",
        "text.svs": "unsupported_format",
        "notes.docx": "not_a_slide",
    }
    assert slides["TCGA-AA-0001-01Z-00-DX1"].group == slides["TCGA-AA-0001-01Z-00-DX2"].group == "TCGA-AA-0001"
    assert (slides["other"].mpp, slides["other"].path, slides["other"].group) == (0.5, "other.svs", "other")


def test_every_tile_of_every_grid_is_there_with_its_reason(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive}", "images=true")
    tiles = list(open_artefact(out / "tiles").records(Tile))
    counts = Counter(tile.slide for tile in tiles)
    assert counts == {"TCGA-AA-0001-01Z-00-DX1": 80, "TCGA-AA-0001-01Z-00-DX2": 20, "other": 64}
    found = {(tile.slide, tile.x, tile.y): tile.reason for tile in tiles}
    assert found["TCGA-AA-0001-01Z-00-DX1", 0, 0] == "no_tissue"
    assert found["TCGA-AA-0001-01Z-00-DX1", 192, 192] is None
    assert found["TCGA-AA-0001-01Z-00-DX2", 128, 128] is None
    assert found["other", 192, 192] == "missing_pixels"
    assert found["other", 256, 256] == "unreadable_region"
    assert all(tile.kept == (tile.reason is None) for tile in tiles)
    images = {image.id: image for image in open_artefact(out / "labelled_images").records(LabelledImage)}
    assert set(images) == {tile.id for tile in tiles if tile.kept}
    assert {tile.mpp for tile in tiles} == {0.5}


def test_the_pictures_are_those_of_the_slide_at_the_wanted_resolution(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive}", "images=true", "jpeg_quality=98")
    for image in open_artefact(out / "labelled_images").records(LabelledImage):
        pixels = decode_image(image.image)
        slide = open_artefact(out / "slides")
        path = next(record.path for record in slide.records(Slide) if record.slide == image.slide)
        with SlideReader(archive / path) as reader:
            wanted = reader.read_region(image.extra["x"], image.extra["y"], 64, 0.5)
        assert pixels.shape == (64, 64, 3)
        assert np.abs(pixels.astype(int) - wanted).mean() < 2


def test_coordinates_and_overviews_say_what_the_tiles_say(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive}", "overlap=0.5", "edge=shift")
    kept: dict[str, list[tuple[int, int]]] = {}
    for tile in open_artefact(out / "tiles").records(Tile):
        kept.setdefault(str(tile.slide), []).extend([(tile.x, tile.y)] if tile.kept else [])
    made = open_artefact(out / "coordinates")
    for name, places in kept.items():
        assert places
        for path in (f"clam/{name}.h5", f"trident/{name}_patches.h5"):
            assert path in made.manifest["files"]
            found = read_coordinates(out / "coordinates" / path)
            assert [tuple(place) for place in found.places.tolist()] == places
            assert found.side == (128 if name.endswith("DX2") else 64)
        picture = decode_image((out / f"coordinates/overviews/{name}.jpg").read_bytes()).astype(int)
        assert ((picture[..., 1] > picture[..., 0] + 60) & (picture[..., 1] > picture[..., 2] + 40)).any()


def test_a_patient_in_two_splits_of_a_csv_is_refused_before_the_run(archive: Path, build: Build) -> None:
    table = archive / "slides.csv"
    table.write_text("slide,case,split\nother.svs,P1,train\nsmall.svs,P1,none\nno-mpp.svs,P1,test\n")
    with pytest.raises(InputError, match="'P1' is in train and in test; a patient, or a group, must stay in one split"):
        build(RECIPE, f"slides={table}")


def test_a_csv_names_cases_labels_splits_and_mpp(archive: Path, build: Build, tmp_path: Path) -> None:
    table = archive / "slides.csv"
    table.write_text(
        "\ufeffslide,case,label,split,licence,mpp\r\n"
        "TCGA-AA-0001-01Z-00-DX1.tiff,,tumour,train,CC0-1.0,\r\n"
        "other.svs,P7,normal,test,,\r\n"
        "no-mpp.svs,P8,normal,test,,0.5\r\n"
        "gone.svs,P9,normal,val,,\r\n"
    )
    out = build(RECIPE, f"slides={table}", "images=true", "licence=mine")
    images = open_artefact(out / "labelled_images")
    assert images.classes == ("normal", "tumour")
    found = {(image.slide, image.group, image.label, image.split, image.licence) for image in images.records(LabelledImage)}
    assert found == {
        ("TCGA-AA-0001-01Z-00-DX1", "TCGA-AA-0001", "tumour", "train", "CC0-1.0"),
        ("other", "P7", "normal", "test", "mine"),
        ("no-mpp", "P8", "normal", "test", "mine"),
    }
    assert rejects(out) == {"gone.svs": "unreadable_slide"}


def test_further_columns_of_a_csv_go_to_extra(archive: Path, build: Build) -> None:
    table = archive / "slides.csv"
    table.write_text("slide,case,time,event,stage,site\nother.svs,P7,12,1.0,II,\nno-mpp.svs,P8,0.5,FALSE,,Bonn\n")
    found = {entry.name: entry.extra for entry in list_slides(table).slides}
    assert found == {"other": {"time": 12.0, "event": 1, "stage": "II"}, "no-mpp": {"time": 0.5, "event": 0, "site": "Bonn"}}
    extra = next(open_artefact(build(RECIPE, f"slides={table}") / "slides").records(Slide)).extra
    assert (extra["time"], extra["event"], extra["stage"], extra["vendor"]) == (12.0, 1, "II", "aperio")


def test_words_of_their_own_are_further_columns_though_a_letter_away_from_a_known_one(archive: Path) -> None:
    words = ("base", "cage", "Cause", "dime", "even", "events", "line", "map", "side", "slice", "slices", "tile", "tiles", "type")
    table = archive / "slides.csv"
    table.write_text(f"slide,{','.join(words)}\nother.svs{',x' * len(words)}\n")
    assert list_slides(table).slides[0].extra == dict.fromkeys(words, "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slide,lable\nother.svs,A\n", "is the column 'lable' meant as 'label'"),
        ("slide,cases\nother.svs,A\n", "is the column 'cases' meant as 'case'"),
        ("slide,license\nother.svs,A\n", "is the column 'license' meant as 'licence'"),
        ("slide,MPP\nother.svs,0.5\n", "is the column 'MPP' meant as 'mpp'"),
        ("slide,evnt\nother.svs,1\n", "is the column 'evnt' meant as 'event'"),
        ("name,stage\nother.svs,II\n", "its columns are name, stage; wanted: slide"),
        ("slide,\nother.svs,3\n", "its columns are slide, "),
        ("slide,time\nother.svs,10:32\n", "line 2: time is '10:32'"),
        ("slide,time\nother.svs,-1\n", "line 2: time is '-1'"),
        ("slide,time\nother.svs,inf\n", "line 2: time is 'inf'"),
        ("slide,event\nother.svs,2\n", "line 2: event is '2'"),
    ],
)
def test_a_column_that_is_a_slip_of_the_pen_or_no_outcome_is_an_error(archive: Path, text: str, says: str) -> None:
    table = archive / "slides.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=says):
        list_slides(table)


@pytest.mark.parametrize("name", ["levels", "density", "glass", "vendor"])
def test_a_column_called_like_a_measure_is_refused_before_a_slide_is_opened(
    archive: Path, build: Build, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    table = archive / "slides.csv"
    table.write_text(f"slide,{name}\nother.svs,3\n")
    monkeypatch.setattr(survey, "SlideReader", lambda *_: pytest.fail("a slide was opened"))
    with pytest.raises(InputError, match=f"column '{name}'"):
        build(RECIPE, f"slides={table}")


def test_an_override_gives_the_mpp_and_says_so(archive: Path, build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    table = archive.parent / "mpp.csv"
    table.write_text("slide,mpp\nno-mpp,0.5\nother.svs,0.25\n")
    out = build(RECIPE, f"slides={archive}", f"mpp_overrides={table}")
    slides = {slide.slide: slide for slide in open_artefact(out / "slides").records(Slide)}
    assert (slides["no-mpp"].mpp, slides["no-mpp"].extra["mpp_from"]) == (0.5, "override")
    assert (slides["other"].mpp, slides["other"].extra["slide_says_mpp"]) == (0.25, 0.5)
    assert "other: the override says 0.25" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slide,mpp\nnobody,0.5\n", "there is no slide 'nobody'"),
        ("slide,mpp\nother,20x\n", "mpp is '20x'"),
        ("slide,mpp\nother,0\n", "mpp is '0'"),
        ("slide,mpp\nother,0.5\nother,0.25\n", "is there twice"),
        ("slide,mpp\nother,0.5\nother.svs,0.25\n", r"the rows other.svs \(0.25\) and other \(0.5\) name one slide"),
        ('slide,mpp\nother,0.5\n"small,0.25\nno-mpp,0.5\n', "line 3: the row that begins there has a quote"),
        ("slide,magnification\nother,20\n", "its columns are slide, magnification"),
        ("slide,mpp\n,0.5\n", "must not be empty"),
    ],
)
def test_an_override_that_does_not_fit_is_an_error(archive: Path, text: str, says: str) -> None:
    table = archive.parent / "mpp.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=says):
        list_slides(archive, table)


def test_slides_of_one_name_are_told_apart_and_companions_left_alone(tmp_path: Path) -> None:
    for name in ("a/x.svs", "b/x.svs", "c/y.mrxs", "c/y/Data0000.dat", "c/y/Slidedat.ini"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = list_slides(tmp_path)
    assert [entry.name for entry in found.slides] == ["a__x.svs", "b__x.svs", "y"]
    assert not found.rejects


def test_one_slide_can_be_named_alone(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive / 'other.svs'}")
    assert [(slide.id, slide.path) for slide in open_artefact(out / "slides").records(Slide)] == [("slides/other", "other.svs")]


def test_the_list_changes_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "x.svs").write_text("one")
    before = list_slides(tmp_path).digest()
    assert list_slides(tmp_path).digest() == before
    (tmp_path / "x.svs").write_text("two")
    assert list_slides(tmp_path).digest() != before


@pytest.mark.parametrize(
    ("name", "case"),
    [("TCGA-AB-1234-01Z-00-DX1.6B", "TCGA-AB-1234"), ("TCGA-AB-12345", "TCGA-AB-12345"), ("S21-001_A1", "S21-001_A1")],
)
def test_the_case_is_the_barcodes_patient_or_the_slide(name: str, case: str) -> None:
    assert case_of(name) == case


def test_how_the_rows_are_cut_into_tasks_changes_no_tile(archive: Path, build: Build) -> None:
    whole, cut = (
        build(RECIPE, f"slides={archive}", out="whole"),
        build(RECIPE, f"slides={archive}", "rows_a_task=3", "threads=1", out="cut"),
    )
    one, two = (sorted(open_artefact(out / "tiles").records(Tile), key=lambda tile: tile.id) for out in (whole, cut))
    assert one == two
    assert len(open_artefact(cut / "tiles").plan.tasks) > len(open_artefact(whole / "tiles").plan.tasks)


def test_killed_and_started_again_the_result_is_the_same(archive: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "slides": str(archive), "rows_a_task": 2, "images": True}))
    tool = Path(__file__).resolve().parents[3] / "tools/kill_and_resume.py"
    command = [sys.executable, str(tool), str(recipe), "--out", str(tmp_path / "run"), "--kills", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["kills"] >= 1


def test_without_measuring_no_tile_is_read_but_those_in_doubt(archive: Path, build: Build) -> None:
    out = build(RECIPE, f"slides={archive}", "quality.measure=false")
    found = Counter(tile.reason for tile in open_artefact(out / "tiles").records(Tile))
    assert set(found) == {None, "no_tissue", "missing_pixels", "unreadable_region"}


def test_a_recipe_that_makes_no_sense_is_refused(archive: Path, build: Build) -> None:
    for override, says in (("overlap=1", "overlap is 0 to below 1"), ("mpp=0", "mpp above 0"), ("split=all", "split is 'all'")):
        with pytest.raises(ConfigError, match=says):
            build(RECIPE, f"slides={archive}", override)
    with pytest.raises(InputError, match="no folder, no CSV and no slide"):
        build(RECIPE, "slides=/does/not/exist")


def test_an_archive_without_one_good_slide_is_an_error(build: Build, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.svs").write_text("no slide")
    with pytest.raises(InputError, match="none of its slides can be tiled"):
        build(RECIPE, f"slides={tmp_path / 'bad'}")


def test_label_and_macro_are_never_opened(draw: SimpleNamespace) -> None:
    for path in draw.real("wsi/CMU-1-Small-Region.svs"):
        with SlideReader(path) as slide:
            assert not hasattr(slide, "associated_images")
    package = Path(sys.modules["eosin.slides.reader"].__file__ or "").parent
    assert not [path.name for path in package.glob("*.py") if "associated_images" in path.read_text()]


def test_tiles_of_a_small_field_that_are_taken_unread_are_no_glass(draw: SimpleNamespace, tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "field"
    folder.mkdir()
    draw.write_slide(folder / "field.tiff", draw.on_glass(1280, 1280, (768, 512, 1280, 1280)), mpp=0.25)
    out = build({"builder": "tile_slides", "size": 256, "mpp": 0.25, "quality": {"measure": False}}, f"slides={folder}")
    kept = {(tile.x, tile.y) for tile in open_artefact(out / "tiles").records(Tile) if tile.kept}
    assert kept == {(x, y) for x in (768, 1024) for y in (512, 768, 1024)}
    assert next(open_artefact(out / "slides").records(Slide)).extra["tissue_mm2"] == pytest.approx(512 * 768 / 16e6, rel=0.15)
