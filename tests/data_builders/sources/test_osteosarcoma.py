"""Osteosarcoma: the publisher's table with its own spellings, or folders a class."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.errors import InputError


@pytest.fixture
def release(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    root = tmp_path / "in"
    names = (
        "Training-Set-1/set1/Case-3-A17-7799-34542.jpg",
        "Training-Set-1/set2/Case-48-P5-C20-44108-28521.jpg",
        "Training-Set-2/set3/P9-B28-22141-15533.jpg",
        "Training-Set-2/set3/P9-B28-22141-1.jpg",
        "Training-Set-2/set3/Case-4-A1-5-6.jpg",
        "Training-Set-2/set4/P5-C21-1-2.jpg",
        "Training-Set-2/set4/P7-A1-22-141.jpg",
        "Training-Set-2/set4/P7-A1-221-41.jpg",
    )
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(number))
    rows = [
        "image.name,classification,circularity",
        "Case 3 A17- 7799-34542,Non-Tumor,0.5",
        "Case-48 -P5-C20-44108-28521,viable,0.5",
        "P9-B28-22141-15533,viable: non-viable,0.1",
        "Case-4-A1-5-6,Fat,0.1",
        "P5-C21-1-2,Non-Viable-Tumor,0.1",
        "P5-C21-9-9,Viable,0.1",
        "P7-A1-22-141,Viable,0.1",
        "P7-A1-221-41,Non-Tumor,0.1",
        "P5-C21-8-8",
    ]
    (root / "ML_Features_1144.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n", newline="")
    return root


def test_table_and_files_meet_whatever_the_blanks(release: Path, read_source) -> None:
    built = read_source("osteosarcoma", release)
    assert {(record.label, record.group, record.slide) for record in built.records} == {
        ("Non-Tumor", "Case-3", "Case-3-A17"),
        ("Viable", "Case-48", "Case-48-P5-C20"),
        ("Non-Viable-Tumor", "Case-48", "P5-C21"),
        ("Viable", "P7", "P7-A1"),
        ("Non-Tumor", "P7", "P7-A1"),
    }
    assert sorted(built.rejects.values()) == ["image_missing", "mixed_class", "not_in_table", "unknown_class", "wrong_columns"]


def test_mixed_tiles_are_what_the_options_say(release: Path, read_source) -> None:
    viable = read_source("osteosarcoma", release, "options.mixed=viable")
    assert [record.label for record in viable.records if record.group == "P9"] == ["Viable"]
    kept = read_source("osteosarcoma", release, "options.mixed=keep")
    assert "viable: non-viable" in kept.artefact.classes


def test_class_folders_with_a_splits_table_are_read(tmp_path: Path, jpeg: Callable[..., bytes], read_source) -> None:
    for number, name in enumerate(("Non-Tumor/Case-3-A17-7799-34542.jpg", "Viable/P9-B28-22141-15533.jpg")):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(jpeg(number))
    (tmp_path / "in" / "splits.csv").write_text(
        "path,label,split,group\nNon-Tumor/Case-3-A17-7799-34542.jpg,Non-Tumor,dev,Case-3-A17\n", encoding="utf-8"
    )
    built = read_source("osteosarcoma", tmp_path / "in")
    assert {(record.label, record.group, record.split) for record in built.records} == {
        ("Non-Tumor", "Case-3-A17", "val"),
        ("Viable", "P9", "none"),
    }


def test_where_the_splits_table_and_the_folder_disagree_the_tile_is_a_reject(
    tmp_path: Path, jpeg: Callable[..., bytes], read_source
) -> None:
    names = ("Non-Tumor/Case-3-A17-7799-1.jpg", "Viable/Case-4-A17-7799-2.jpg", "Viable/P9-B28-22141-3.jpg")
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(jpeg(number))
    rows = [
        "path,label,split,group",
        f"{names[0]},Non-tumor,train,g1",
        f"{names[1]},Non-Tumor,train,g2",
        f"{names[2]},Viable,test,g3",
        f"{names[2]},Viable,test,g4",
        "Viable/gone.jpg,Viable,test,g5",
    ]
    (tmp_path / "in" / "splits.csv").write_text("\n".join(rows))
    built = read_source("osteosarcoma", tmp_path / "in")
    assert [(record.label, record.group) for record in built.records] == [("Non-Tumor", "g1")]
    assert built.rejects == {names[1]: "label_conflict", names[2]: "listed_twice", "Viable/gone.jpg": "image_missing"}
    (tmp_path / "in" / "splits.csv").write_text("\n".join([*rows, "Viable/gone.jpg,Viable,train,g5"]))
    with pytest.raises(InputError, match="'g5' is in test and in train"):
        read_source("osteosarcoma", tmp_path / "in")


def test_a_splits_table_with_a_split_of_another_name_is_refused(release: Path, read_source) -> None:
    (release / "splits.csv").write_text("path,label,split,group\na.jpg,Viable,holdout,P9\n")
    with pytest.raises(InputError, match=r"the row of a\.jpg lacks"):
        read_source("osteosarcoma", release)


def test_a_table_without_the_class_column_is_said_before_the_run(release: Path, read_source) -> None:
    (release / "ML_Features_1144.csv").write_text("image.name,circularity\na,1\n")
    with pytest.raises(InputError, match="the column classification or class or label is missing"):
        read_source("osteosarcoma", release)


@pytest.fixture
def class_folders(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Published tiles in class folders where EOSIN_REAL_DATA names them, else invented ones with names of the same scheme."""
    real = Path(os.environ.get("EOSIN_REAL_DATA", tmp_path)) / "tiles" / "osteosarcoma_ut"
    if real.is_dir():
        return real
    for number, name in enumerate(("Viable/Case-48-P5-C20-44108-28521.jpg", "Non-Viable-Tumor/P9-B28-22141-15533.jpg")):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(jpeg(number))
    return tmp_path / "in"


def test_every_tile_in_class_folders_is_read(class_folders: Path, read_source) -> None:
    built = read_source("osteosarcoma", class_folders)
    assert len(built.records) == len(list(class_folders.glob("*/*.jpg")))
    assert not built.rejects


def test_a_copied_row_and_a_label_in_the_authors_own_words_reject_nothing(tmp_path: Path, jpeg: Callable[..., bytes], read_source) -> None:
    path = tmp_path / "in" / "Viable" / "Case-4-A17-7799-2.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(jpeg(1))
    (tmp_path / "in" / "splits.csv").write_text("path,label,split,group\n" + f"Viable/{path.name},Living tumour,test,g1\n" * 2)
    built = read_source("osteosarcoma", tmp_path / "in")
    assert [(record.label, record.group, record.split) for record in built.records] == [("Viable", "g1", "test")]
    assert not built.rejects
