import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eosin.artefacts import open_artefact, verify
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.images import decode_image
from eosin.records import Conversation, ImageText, LabelledImage

Build = Callable[..., Path]
Folder = Callable[..., Path]
RECIPE: dict[str, Any] = {"builder": "image_folder", "source": "tiles", "licence": "CC-BY-4.0", "labels": "auto"}


def rejects(artefact: Path) -> dict[str, str]:
    rows = pq.read_table(artefact / "rejects" / "rejects.parquet").to_pylist()
    return {row["key"]: row["reason"] for row in rows}


def test_what_a_file_tells_beside_its_pixels_is_taken_out(build: Build, image_folder: Folder) -> None:
    folder = image_folder(colon_aca=1, colon_n=1)
    path = next(folder.rglob("*.png"))
    plain, texts = path.read_bytes(), PngInfo()
    texts.add_text("Description", "PATIENT SUSAN BARKER")
    with Image.open(path) as image:
        image.save(path, pnginfo=texts)
    assert b"BARKER" in path.read_bytes()
    out = build(RECIPE, f"folder={folder}")
    found = {record.id: record.image for record in open_artefact(out / "labelled_images").records(LabelledImage)}
    name = f"tiles/{path.relative_to(folder).as_posix()}"
    assert b"BARKER" not in found[name]
    assert (decode_image(found[name]) == decode_image(plain)).all()


def test_a_folder_becomes_images_pairs_and_conversations(build: Build, image_folder: Folder) -> None:
    folder = image_folder(colon_aca=10, colon_n=10, lung_aca=10, lung_n=10, lung_scc=10)
    out = build(RECIPE, f"folder={folder}")
    images = open_artefact(out / "labelled_images", "labelled_images")
    records = list(images.records(LabelledImage))
    assert images.classes == ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
    assert {record.id for record in records} == {f"tiles/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.png")}
    assert {record.licence for record in records} == {"CC-BY-4.0"}
    assert images.manifest["splits"] == {"test": 10, "train": 35, "val": 5}
    pairs = {record.id: record for record in open_artefact(out / "image_text").records(ImageText)}
    assert len(pairs) == 50
    assert all(
        "lung" in " ".join(pairs[record.id].captions) or "pulmonary" in pairs[record.id].captions[0]
        for record in records
        if record.label == "lung_n"
    )
    assert {record.organ for record in pairs.values()} == {"colon", "lung"}
    talks = list(open_artefact(out / "conversations").records(Conversation))
    assert {talk.task for talk in talks} == {"open", "closed", "mcq", "caption", "report"}
    assert {talk.extra["image_id"] for talk in talks} == set(pairs)
    assert {talk.extra["form"] for talk in talks} == {"class", "organ", "finding", "caption", "report", "dialogue"}
    groups: dict[str, set[str]] = {}
    for talk in talks:
        groups.setdefault(talk.group, set()).add(talk.split)
    assert all(len(splits) == 1 for splits in groups.values())
    for name in ("labelled_images", "image_text", "conversations"):
        assert verify(open_artefact(out / name)) == []


def test_the_bytes_of_a_file_are_kept(build: Build, image_folder: Folder) -> None:
    folder = image_folder(a=3, b=3)
    out = build(RECIPE, f"folder={folder}")
    for record in open_artefact(out / "labelled_images").records(LabelledImage):
        assert record.image == (folder / record.id.removeprefix("tiles/")).read_bytes()


def test_broken_files_go_to_the_rejects_and_the_run_goes_on(build: Build, image_folder: Folder, png: Callable[[int], bytes]) -> None:
    folder = image_folder(a=6, b=6)
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "a" / "cut.png").write_bytes(png(1)[:60])
    (folder / "b" / "words.jpg").write_text("no picture")
    (folder / "b" / "wrong_suffix.jpg").write_bytes(png(2))
    (folder / "b" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "b" / "notes.txt").write_text("ours")
    images = build(RECIPE, f"folder={folder}") / "labelled_images"
    assert rejects(images) == {
        "a/empty.png": "empty",
        "a/cut.png": "truncated",
        "b/words.jpg": "unknown_format",
        "b/gone.png": "unreadable",
        "b/notes.txt": "not_an_image",
    }
    manifest = open_artefact(images).manifest
    assert manifest["counts"]["out"] == 13
    assert manifest["counts"]["in"] == 18


def test_a_table_of_splits_is_followed(build: Build, image_folder: Folder) -> None:
    folder = image_folder(x=4)
    rows = ["path,label,split,group", "x/x0.png,fat,train,p1", "x/x1.png,mucus,train,p1", "x/x2.png,fat,test,p2", "x/gone.png,fat,test,p3"]
    (folder / "splits.csv").write_text("\n".join(rows))
    images = build(RECIPE, f"folder={folder}") / "labelled_images"
    found = {(record.id, record.label, record.split, record.group) for record in open_artefact(images).records(LabelledImage)}
    assert found == {
        ("tiles/x/x0.png", "fat", "train", "p1"),
        ("tiles/x/x1.png", "mucus", "train", "p1"),
        ("tiles/x/x2.png", "fat", "test", "p2"),
    }
    assert rejects(images) == {"x/gone.png": "missing_file", "x/x3.png": "not_listed"}


def test_a_class_with_one_image_is_kept_and_told(build: Build, image_folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    out = build(RECIPE, f"folder={image_folder(rare=1, common=10)}")
    assert "class rare has one group" in capsys.readouterr().err
    assert sum(record.label == "rare" for record in open_artefact(out / "labelled_images").records(LabelledImage, "train")) == 1


def test_a_folder_of_broken_images_alone_is_an_error_that_says_where_to_look(build: Build, tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"none of its images could be read.*rejects"):
        build(RECIPE, f"folder={tmp_path / 'images'}")


def test_a_missing_or_empty_folder_is_an_error(build: Build, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        build(RECIPE, f"folder={tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        build(RECIPE, f"folder={tmp_path / 'empty'}")
    with pytest.raises(ConfigError, match="folder: this input is missing"):
        build(RECIPE)


def test_a_label_set_of_another_data_set_is_an_error(build: Build, image_folder: Folder) -> None:
    with pytest.raises(ConfigError, match="the label set lacks a, b"):
        build({**RECIPE, "labels": "lc25000"}, f"folder={image_folder(a=2, b=2)}")


def test_an_unknown_key_and_an_unknown_builder_are_errors(build: Build, image_folder: Folder) -> None:
    folder = image_folder(a=2, b=2)
    with pytest.raises(ConfigError, match=r"teaching\.captoins: unknown key; did you mean captions"):
        build(RECIPE, f"folder={folder}", "teaching.captoins=3")
    with pytest.raises(ConfigError, match="builder is 'folders'; allowed: phantoms, image_folder, source"):
        build({"builder": "folders"})


def test_workers_do_not_change_a_byte(build: Build, image_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_folder(a=8, b=8)
    monkeypatch.setattr("eosin.data_builders.image_folder.IMAGES_A_SHARD", 4)
    for workers, out in ((1, "one"), (2, "two")):
        build(RECIPE, f"folder={folder}", out=out, workers=workers)
    for name in ("labelled_images", "image_text", "conversations"):
        one, two = (open_artefact(folder.parent / out / name) for out in ("one", "two"))
        assert len(one.manifest["files"]) > 3
        assert one.digest == two.digest


def test_other_questions_replace_the_conversations_and_leave_the_images(build: Build, image_folder: Folder) -> None:
    folder = image_folder(a=4, b=4)
    out = build(RECIPE, f"folder={folder}")
    before = (out / "labelled_images" / "data" / "train-00000.parquet").stat().st_mtime_ns
    with pytest.raises(ArtefactError, match="--overwrite"):
        build(RECIPE, f"folder={folder}", "teaching.train.class_open=4")
    build(RECIPE, f"folder={folder}", "teaching.train.class_open=4", "--overwrite")
    assert (out / "labelled_images" / "data" / "train-00000.parquet").stat().st_mtime_ns == before
    settings = json.loads((out / "conversations" / "plan.json").read_text())["settings"]
    assert settings["train"]["class_open"] == 4.0


def test_the_label_set_stands_in_the_plan(build: Build, image_folder: Folder) -> None:
    out = build(RECIPE, f"folder={image_folder(HSIL=2, LSIL=2, NL=2, SCC=2)}")
    facts = open_artefact(out / "conversations").plan.facts
    assert facts["label_set"]["classes"]["HSIL"]["answer"] == "high-grade squamous intraepithelial lesion"


def test_odd_names_go_all_the_way(build: Build, image_folder: Folder, png: Callable[[int], bytes]) -> None:
    folder = image_folder(a=3, b=3)
    names = [b"a/gr\xc3\xbcn \xe2\x80\x9c1\xe2\x80\x9d.png", b"a/line\nbreak.png", b"a/\xff.png", b"b/UPPER.PNG", b"b/%s{value}.png"]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(png(90 + number))
    (folder / "b" / "loop").symlink_to(folder, target_is_directory=True)
    out = build(RECIPE, f"folder={folder}")
    ids = {record.id for record in open_artefact(out / "labelled_images").records(LabelledImage)}
    assert {
        "tiles/a/gr\u00fcn \u201c1\u201d.png",
        "tiles/a/line\nbreak.png",
        "tiles/a/\\udcff.png",
        "tiles/b/UPPER.PNG",
        "tiles/b/%s{value}.png",
    } <= ids
    assert len(ids) == 11
    assert rejects(out / "labelled_images") == {"b/loop": "linked_folder"}


def test_a_finished_set_is_not_made_again(build: Build, image_folder: Folder) -> None:
    folder = image_folder(a=3, b=3)
    out = build(RECIPE, f"folder={folder}")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    build(RECIPE, f"folder={folder}")
    assert before == {path: path.stat().st_mtime_ns for path in before}
