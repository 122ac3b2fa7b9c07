import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from eosin.data_builders.folder_listing import FolderLayout, list_folder
from eosin.data_builders.group_split import Shares
from eosin.errors import ConfigError, InputError

Folder = Callable[..., Path]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def table(root: Path, *rows: str, head: str = "path,label,split,group") -> Path:
    (root / "splits.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return root


def reasons(root: Path, layout: FolderLayout | None = None) -> dict[str, str]:
    return {reject.key: reject.reason for reject in list_folder(root, layout or FolderLayout(), 0).rejects}


def test_classes_are_folder_names_at_any_depth(tmp_path: Path) -> None:
    root = touch(tmp_path, "set/colon_sets/colon_n/a.jpeg", "set/colon_sets/colon_aca/b.JPG", "set/lung_sets/lung_n/c.png")
    assert list_folder(root, FolderLayout(), 0).classes == ["colon_aca", "colon_n", "lung_n"]
    assert list_folder(root, FolderLayout(label_from="path"), 0).classes == [
        "colon_sets/colon_aca",
        "colon_sets/colon_n",
        "lung_sets/lung_n",
    ]


def test_two_folders_of_one_name_are_not_merged_in_silence(tmp_path: Path) -> None:
    root = touch(tmp_path, "colon/tumour/a.png", "lung/tumour/b.png", "lung/normal/c.png")
    with pytest.raises(InputError, match=r"several folders are called 'tumour' \(colon/tumour, lung/tumour\).*label_from=path"):
        list_folder(root, FolderLayout(), 0)
    assert list_folder(root, FolderLayout(label_from="path"), 0).classes == ["colon/tumour", "lung/normal", "lung/tumour"]
    assert list_folder(root, FolderLayout(label_from="name"), 0).classes == ["normal", "tumour"]


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png", "b/1.png")
    entries = list_folder(root, FolderLayout(), 0).entries
    assert {(entry.path, entry.label, entry.group) for entry in entries} == {("a/1.png", "a", "a/1"), ("b/1.png", "b", "b/1")}


def test_groups_come_from_files_patients_or_a_pattern(tmp_path: Path) -> None:
    root = touch(tmp_path, "p1/tumour/case-7_1.png", "p1/tumour/case-7_2.png", "p2/tumour/case-8_1.png", "p2/tumour/odd.png")

    def groups(group: str) -> list[str]:
        layout = FolderLayout(label_from="name", group=group)
        return sorted({entry.group for entry in list_folder(root, layout, 0).entries})

    assert len(groups("file")) == 4
    assert groups("parent") == ["p1", "p2"]
    assert groups(r"(case-\d+)") == ["case-7", "case-8"]
    assert reasons(root, FolderLayout(label_from="name", group=r"(case-\d+)")) == {"p2/tumour/odd.png": "no_group"}


def test_no_group_is_in_two_splits(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{label}/case{number % 9}_{number}.png" for label in "ab" for number in range(40)))
    listing = list_folder(root, FolderLayout(group=r"(case\d)", shares=Shares(0.5, 0.2, 0.3)), 0)
    splits: dict[str, set[str]] = {}
    for entry in listing.entries:
        splits.setdefault(entry.group, set()).add(entry.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "test"} <= {entry.split for entry in listing.entries}


def test_folders_called_train_and_test_decide_when_asked_to(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/a/1.png", "train/b/2.png", "validation/a/3.png", "Test/a/4.png", "extra/a/5.png")
    listing = list_folder(root, FolderLayout(split_from="folder", label_from="name", split_names={"Test": "test"}), 0)
    assert {(entry.path, entry.label, entry.split) for entry in listing.entries} == {
        ("train/a/1.png", "a", "train"),
        ("train/b/2.png", "b", "train"),
        ("validation/a/3.png", "a", "val"),
        ("Test/a/4.png", "a", "test"),
    }
    assert [(reject.key, reject.reason) for reject in listing.rejects] == [("extra/a/5.png", "no_split_folder")]


def test_a_table_decides_class_split_and_group(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/1.png", "x/2.png"), "x/1.png,fat,train,p1", "./x\\2.png,mucus,test,p2")
    found = {(entry.path, entry.label, entry.split, entry.group) for entry in list_folder(root, FolderLayout(), 0).entries}
    assert found == {("x/1.png", "fat", "train", "p1"), ("x/2.png", "mucus", "test", "p2")}


def test_what_a_table_and_a_folder_do_not_share_is_rejected_by_name(tmp_path: Path) -> None:
    root = touch(tmp_path, "x/1.png", "x/extra.png", "x/notes.txt")
    table(root, "x/1.png,fat,train,p1", "x/1.png,fat,train,p1", "x/gone.png,fat,train,p1")
    assert sorted((reject.key, reject.reason) for reject in list_folder(root, FolderLayout(), 0).rejects) == [
        ("x/1.png", "listed_twice"),
        ("x/extra.png", "not_listed"),
        ("x/gone.png", "missing_file"),
        ("x/notes.txt", "not_an_image"),
    ]


def test_a_row_without_a_group_is_rejected(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/1.png", "x/2.png"), "x/1.png,fat,train,p1", "x/2.png,fat,train,")
    assert reasons(root) == {"x/2.png": "empty_cell"}


def test_an_unknown_split_names_the_key_that_mends_it(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/1.png"), "x/1.png,fat,dev,p1")
    with pytest.raises(InputError, match=r"line 2: split is 'dev'.*layout\.split_names\.dev=train"):
        list_folder(root, FolderLayout(), 0)
    assert list_folder(root, FolderLayout(split_names={"dev": "none"}), 0).entries[0].split == "none"


def test_a_table_with_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/1.png", "x/2.png"), "x/1.png,fat,train,p1", "x/2.png,fat,test,p1")
    with pytest.raises(InputError, match="group 'p1' is in train and in test"):
        list_folder(root, FolderLayout(), 0)


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/1.png"), "x/1.png,fat,train", head="path,label,split")
    with pytest.raises(InputError, match="the columns group are missing"):
        list_folder(root, FolderLayout(), 0)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png")
    (tmp_path / "splits.csv").write_bytes(b"path,label\xff\xfe\n")
    with pytest.raises(InputError, match="not readable as a table"):
        list_folder(tmp_path, FolderLayout(), 0)


def test_composed_and_decomposed_names_meet(tmp_path: Path) -> None:
    root = table(touch(tmp_path, "x/bu\u0308hler.png"), "x/b\u00fchler.png,fat,train,p1")
    assert [entry.path for entry in list_folder(root, FolderLayout(), 0).entries] == ["x/bu\u0308hler.png"]


def test_names_that_are_no_text_are_taken_under_a_written_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png")).write_bytes(b"x")
    groups = sorted(entry.group for entry in list_folder(tmp_path, FolderLayout(), 0).entries)
    assert groups == ["a/1", "a/\\udcff"]


def test_links_that_loop_are_not_followed_and_are_told(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "a/1.png")
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    (root / "self.png").symlink_to(root / "self.png")
    assert [entry.path for entry in list_folder(root, FolderLayout(), 0).entries] == ["a/1.png"]
    assert reasons(root) == {"a/again": "linked_folder", "self.png": "no_class_folder"}


def test_hidden_files_are_no_part_of_the_data(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png", "a/.1.png", ".cache/b/2.png")
    assert [entry.path for entry in list_folder(root, FolderLayout(), 0).entries] == ["a/1.png"]
    assert reasons(root) == {}


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lie in no class folder"):
        list_folder(touch(tmp_path, "1.png", "2.png"), FolderLayout(), 0)


def test_an_image_beside_the_class_folders_is_rejected(tmp_path: Path) -> None:
    assert reasons(touch(tmp_path, "a/1.png", "stray.png")) == {"stray.png": "no_class_folder"}


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image to take \(1 not_an_image\)"):
        list_folder(touch(tmp_path, "a/readme.txt"), FolderLayout(), 0)


def test_a_class_with_one_image_is_trained_on_and_told(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path, "a/1.png", *(f"b/{number}.png" for number in range(10))), FolderLayout(), 0)
    assert [entry.split for entry in listing.entries if entry.label == "a"] == ["train"]
    assert listing.warnings() == ["class a has one group: it is in train only; to train and to test it takes two"]


def test_a_class_that_is_tested_only_is_told(tmp_path: Path) -> None:
    root = touch(tmp_path, "x/1.png", "x/2.png", "x/3.png", "x/4.png")
    table(root, "x/1.png,fat,train,1", "x/2.png,fat,train,2", "x/3.png,mucus,test,3", "x/4.png,mucus,test,4")
    assert list_folder(root, FolderLayout(), 0).warnings() == ["class mucus is tested but never trained on"]


def test_neighbours_are_of_different_classes(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{label}/{number}.png" for label in "ab" for number in range(50)))
    labels = [entry.label for entry in list_folder(root, FolderLayout(), 0).entries]
    changes = sum(one != other for one, other in pairwise(labels))
    assert changes > 25


@pytest.mark.parametrize(
    ("group", "message"), [("(", "not a regular expression|nor a regular expression"), (r"case\d", "needs one group in brackets")]
)
def test_a_pattern_that_cannot_name_a_group_is_refused(group: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FolderLayout(group=group)
