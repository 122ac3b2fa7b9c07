"""LC25000: groups come from a file, or there are none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.errors import InputError


@pytest.fixture
def release(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    root = tmp_path / "lung_colon_image_set"
    for number, place in enumerate(
        ("colon_image_sets/colon_aca/colonca1", "colon_image_sets/colon_n/colonn1", "lung_image_sets/lung_n/lungn1")
    ):
        path = root / f"{place}.jpeg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(number))
    return tmp_path


def test_without_a_groups_file_every_tile_is_read_and_splits_by_group_are_refused(release: Path, read_source) -> None:
    built = read_source("lc25000", release)
    assert {record.label for record in built.records} == {"colon_aca", "colon_n", "lung_n"}
    assert {record.split for record in built.records} == {"none"}
    assert "random split" in built.artefact.plan.facts["groups_unknown"]
    assert built.artefact.classes == ("colon_aca", "colon_n", "lung_n")


def test_a_groups_file_gives_groups_and_splits_and_tiles_it_does_not_name_are_rejected(release: Path, read_source) -> None:
    (release / "groups.csv").write_text("\ufefffile,group,split\r\ncolon_aca/colonca1.jpeg,g7,test\r\nlungn1.jpeg,g9,train\r\n")
    built = read_source("lc25000", release, "options.groups=groups.csv")
    assert {(record.group, record.split) for record in built.records} == {("g7", "test"), ("g9", "train")}
    assert built.rejects == {"lung_colon_image_set/colon_image_sets/colon_n/colonn1.jpeg": "no_group"}
    assert "groups_unknown" not in built.artefact.plan.facts


def test_a_groups_file_that_is_not_there_is_an_error(release: Path, read_source) -> None:
    with pytest.raises(InputError, match=r"groups\.csv is not a file"):
        read_source("lc25000", release, "options.groups=groups.csv")


ROWS = "path,label,split,group\ncolon_aca/colonca1.jpeg,colon_aca,valid,g1\n"


def test_where_table_and_folder_disagree_the_image_is_a_reject(release: Path, read_source) -> None:
    more = "colonn1.jpeg,lung_n,train,g2\nlungn1.jpeg,lung_n,train,g3\nlungn1.jpeg,lung_n,train,g4\ngone.jpeg,lung_n,train,g5\n"
    (release / "splits.csv").write_text(ROWS + more)
    built = read_source("lc25000", release)
    assert [(record.label, record.group, record.split) for record in built.records] == [("colon_aca", "g1", "val")]
    assert {key.rpartition("/")[2]: reason for key, reason in built.rejects.items()} == {
        "colonn1.jpeg": "label_conflict",
        "lungn1.jpeg": "listed_twice",
        "gone.jpeg": "image_missing",
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [("lungn1.jpeg,lung_n,train,g1", "'g1' is in val and in train"), ("lungn1.jpeg,lung_n,holdout,g3", r"the row of lungn1\.jpeg lacks")],
)
def test_a_torn_group_or_an_unknown_split_is_an_error(release: Path, read_source, row: str, message: str) -> None:
    (release / "splits.csv").write_text(ROWS + row)
    with pytest.raises(InputError, match=message):
        read_source("lc25000", release)


def test_a_copied_row_and_labels_in_the_authors_own_words_reject_nothing(release: Path, read_source) -> None:
    rows = ["colonca1.jpeg,Colon adenocarcinoma,val,g1"] * 2 + ["colonn1.jpeg,Colon_N,train,g2", "lungn1.jpeg,lung_aca,train,g3"]
    (release / "splits.csv").write_text("\n".join(["path,label,split,group,note,note", *(f"{row},," for row in rows)]))
    built = read_source("lc25000", release)
    assert {(record.label, record.group, record.split) for record in built.records} == {
        ("colon_aca", "g1", "val"),
        ("colon_n", "g2", "train"),
    }
    assert list(built.rejects.values()) == ["label_conflict"]
