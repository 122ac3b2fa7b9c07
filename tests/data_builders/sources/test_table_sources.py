"""Corpora whose tables say what an image is: MHIST, SICAPv2, skin tumours, SPIDER."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.sources.reading.class_folders import Found
from eosin.data_builders.sources.reading.listed import ListedImages
from eosin.errors import InputError
from eosin.images import decode_image, encode_png


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)


def write_xlsx(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(path)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers(0, 3), st.sampled_from(["", ".png", ".JPG"]))
def test_a_table_meets_a_file_by_the_path_that_both_have(parts: list[str], cut: int, suffix: str) -> None:
    longer, shorter = "/".join(parts), "/".join(parts[min(cut, len(parts) - 1) :])
    assert ListedImages([(shorter + suffix, 7)]).of(Found(f"{longer}.png")) == 7
    assert ListedImages([(longer + suffix, 7)]).of(Found(f"{shorter}.png")) == 7
    other = ListedImages([(f"x/{longer}", 7)])
    assert other.of(Found(f"y/{longer}.png")) is None
    assert [(name, error.reason) for name, error in other.absent()] == [(f"x/{longer}", "image_missing")]


def test_mhist_reads_partition_and_votes(tmp_path: Path, png: Callable[[int], bytes], read_source) -> None:
    folder = tmp_path / "mhist"
    for number, name in enumerate(("aaa", "aab", "aac", "extra")):
        write(folder / "images" / f"MHIST_{name}.png", png(number))
    header = "Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition"
    rows = [
        "MHIST_aaa.png,SSA,6,train",
        "MHIST_aab.png,HP,0,test",
        "MHIST_aac.png,TA,1,test",
        "MHIST_gone.png,HP,1,train",
        "MHIST_short.png,HP",
    ]
    write(folder / "annotations.csv", "\r\n".join([header, *rows]) + "\r\n")
    built = read_source("mhist", folder)
    assert {(record.label, record.split, record.extra["votes_ssa"]) for record in built.records} == {("SSA", "train", 6), ("HP", "test", 0)}
    assert built.rejects == {
        "images/MHIST_aac.png": "unknown_class",
        "images/MHIST_extra.png": "not_in_table",
        "MHIST_gone.png": "image_missing",
        "annotations.csv#4": "wrong_columns",
    }
    assert "groups_unknown" in built.artefact.plan.facts


def test_mhist_without_its_columns_is_refused_before_the_run(tmp_path: Path, png: Callable[[int], bytes], read_source) -> None:
    folder = tmp_path / "mhist"
    write(folder / "images" / "MHIST_aaa.png", png(1))
    write(folder / "annotations.csv", "Image Name,Label\nMHIST_aaa.png,HP\n")
    with pytest.raises(InputError, match="the column Majority Vote Label, Partition is missing"):
        read_source("mhist", folder)


@pytest.fixture
def sicap(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    folder = tmp_path / "SICAPv2"
    names = [f"16B000185{slide}_Block_Region_1_0_0_xini_6803_yini_59786" for slide in range(5)]
    for number, name in enumerate(names):
        write(folder / "images" / f"{name}.jpg", jpeg(number))
    write(folder / "masks" / f"{names[0]}.png", encode_png(np.full((16, 16), 3, np.uint8)))
    header = ("image_name", "NC", "G3", "G4", "G5", "G4C")
    train = [(f"{names[0]}.jpg", 0, 0, 1, 0, 1), (f"{names[1]}.jpg", 0, 1, 1, 0, 0), (f"{names[2]}.jpg", 1.0, 0, 0, 0, 0)]
    write_xlsx(folder / "partition/Test/Train.xlsx", [header, *train])
    write_xlsx(folder / "partition/Test/Test.xlsx", [header, (f"{names[3]}.jpg", 0, 0, 0, 0, 0), ("gone.jpg", 1, 0, 0, 0, 0)])
    write_xlsx(folder / "partition/Validation/Val1/Test.xlsx", [header, train[2]])
    return folder


def test_sicapv2_keeps_every_pattern_and_its_mask(sicap: Path, read_source) -> None:
    built = read_source("sicapv2", sicap)
    found = {record.slide: record for record in built.records}
    assert (found["16B0001850"].label, found["16B0001850"].labels) == ("G4", ("G4", "G4C"))
    assert (decode_image(found["16B0001850"].mask) == 3).all()
    assert (found["16B0001851"].label, found["16B0001851"].labels) == (None, ("G3", "G4"))
    assert found["16B0001852"].split == "train"
    assert sorted(built.rejects.values()) == ["image_missing", "no_label", "not_in_partition"]


def test_sicapv2_folds_and_single_grades(sicap: Path, read_source) -> None:
    built = read_source("sicapv2", sicap, "options.validation=Val1", "options.grades=single")
    assert {(record.label, record.split) for record in built.records} == {("G4", "train"), ("NC", "val")}
    assert "several_grades" in built.rejects.values()
    assert built.artefact.classes == ("NC", "G4")
    with pytest.raises(InputError, match="Val2"):
        read_source("sicapv2", sicap, "options.validation=Val2")


def test_a_damaged_sheet_is_named(sicap: Path, read_source) -> None:
    (sicap / "partition/Test/Train.xlsx").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"Train\.xlsx: not readable as an Excel sheet"):
        read_source("sicapv2", sicap)


def test_skincancer_reads_sets_and_the_misspelt_column(tmp_path: Path, jpeg: Callable[..., bytes], read_source) -> None:
    tumour, normal = "tumor_skin_epithelial_bcc", "nontumor_skin_dermis_dermis"
    for number, name in enumerate((f"{tumour}/1.jpg", f"{normal}/1.jpg", f"{normal}/2.jpg")):
        write(tmp_path / "in/data/tiles" / name, jpeg(number))
    rows = [
        "file,class,set,malignicy",
        f"data/tiles/{tumour}/1.jpg,{tumour},Test,tumor",
        f"data/tiles/{normal}/1.jpg,{normal},Train,nontumor",
        f"data/tiles/{normal}/2.jpg,{normal},Holdout,nontumor",
    ]
    write(tmp_path / "in/data/tiles-v2.csv", "\n".join(rows))
    built = read_source("skincancer", tmp_path / "in")
    assert {(record.label, record.split, record.extra["malignicy"]) for record in built.records} == {
        (tumour, "test", "tumor"),
        (normal, "train", "nontumor"),
    }
    assert list(built.rejects.values()) == ["unknown_split"]
    inner = read_source("skincancer", tmp_path / "in/data", "options.tumours_only=true")
    assert [record.label for record in inner.records] == [tumour]
    assert sorted(inner.rejects.values()) == ["not_a_tumour", "unknown_split"]


def test_spider_reads_central_patches_and_leaves_context_alone(tmp_path: Path, png: Callable[[int], bytes], read_source) -> None:
    folder = tmp_path / "spider-skin"
    for number, name in enumerate(("c1", "c2", "x1")):
        write(folder / "images" / f"{name}.png", png(number))
    entries = [
        {"slide_id": "s1", "image_name": "c1.png", "context_info": {"0_0": "x1.png"}, "class": "Nevus", "split": "train"},
        {"slide_id": "s2", "image_name": "c2.png", "class": "Wart", "split": "test"},
        {"slide_id": "s2", "image_name": "gone.png", "class": "Wart", "split": "test"},
        {"image_name": "c2.png", "class": "Wart", "split": "holdout"},
        "c1.png",
        {"slide_id": "s3", "image_name": "c2.png", "class": "Nevus", "split": "train"},
    ]
    write(folder / "metadata.json", json.dumps(entries))
    built = read_source("spider", folder, "options.organ=skin")
    assert {(record.label, record.group, record.split) for record in built.records} == {("Nevus", "s1", "train"), ("Wart", "s2", "test")}
    assert built.by_id()["spider/c1.png"].extra == {"magnification": 20, "organ": "skin", "context": {"0_0": "x1.png"}}
    assert built.rejects == {
        "gone.png": "image_missing",
        "c2.png": "unknown_split",
        "metadata.json#4": "not_an_object",
        "c2.png#5": "repeated_id",
    }
    assert built.artefact.classes == ("Nevus", "Wart")


def test_spider_says_that_its_archive_is_still_in_pieces(tmp_path: Path, read_source) -> None:
    write(tmp_path / "in/spider-skin.tar.aa", b"x")
    with pytest.raises(InputError, match="not joined yet"):
        read_source("spider", tmp_path / "in")
