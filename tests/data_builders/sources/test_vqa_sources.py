"""Question sets about images, in their publishers' layouts, with the faults that are in them."""

import csv
import hashlib
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eosin.errors import ConfigError, InputError

Jpeg = Callable[..., bytes]
UUID = "0a1b2c3d-1111-4222-8333-444455556666"


def parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> None:
    """As `datasets` writes it: images as {bytes, path}, in small row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {name: image if name == "image" else pa.string() for name in rows[0]}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds)), path, row_group_size=group)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def pathvqa(tmp_path: Path, jpeg: Jpeg) -> Path:
    root = tmp_path / "release" / "pvqa"
    for number, split in enumerate(("train", "val", "test")):
        (root / "images" / split).mkdir(parents=True)
        (root / "images" / split / f"{split}_0000.jpg").write_bytes(jpeg(number))
    return root


def test_pathvqa_original_pickles_keep_typing_errors_and_split_by_file(pathvqa: Path, jpeg: Jpeg, read_source) -> None:
    for split in ("train", "val", "test"):
        rows = [
            {"image": f"{split}_0000", "question": "Is there necrosis?", "answer": "yes"},
            {"image": f"{split}_0000", "question": "What is shown?", "answer": "adenocarcimona "},
            {"image": f"{split}_0000", "question": "What is shown?", "answer": "adenocarcinoma"},
            {"image": f"{split}_0009", "question": "What is shown?", "answer": "fat"},
            {"image": f"{split}_0000", "question": "What?", "answer": None},
        ]
        (pathvqa / "qas" / split).mkdir(parents=True)
        (pathvqa / "qas" / split / f"{split}_qa.pkl").write_bytes(pickle.dumps(rows))
    (pathvqa / "qas" / "trainval_ans2label.pkl").write_bytes(b"never opened")
    built = read_source("pathvqa", pathvqa.parent)
    assert [(record.task, record.answer) for record in built.records if record.split == "val"] == [
        ("closed", "yes"),
        ("open", "adenocarcimona"),
        ("open", "adenocarcinoma"),
    ]
    assert {record.split: record.group for record in built.records} == {"train": sha(jpeg(0)), "val": sha(jpeg(1)), "test": sha(jpeg(2))}
    assert sorted(built.rejects.values()) == ["image_missing"] * 3 + ["wrong_columns"] * 3
    assert "pathvqa/pvqa/qas/test/test_qa.pkl#0" in built.by_id()


def test_pathvqa_a_pickle_that_is_a_program_stops_the_build(pathvqa: Path, read_source) -> None:
    (pathvqa / "qas" / "train").mkdir(parents=True)
    (pathvqa / "qas" / "train" / "train_qa.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="unsafe pickle: GLOBAL"):
        read_source("pathvqa", pathvqa.parent)


def test_pathvqa_lxmert_nests_questions_by_image(pathvqa: Path, read_source) -> None:
    rows = [
        {"img_id": "test_0009", "labelf": {"pvqa": []}, "sentf": {"pvqa": []}},
        {
            "img_id": "test_0000",
            "labelf": {"pvqa": [{"keratin": 0.3, "squamous pearl": 1}, {"no": 1}, {}]},
            "sentf": {"pvqa": ["What is seen?", "Is it benign?", "What else?"]},
        },
        {"img_id": "test_0000", "labelf": {"pvqa": []}, "sentf": {"pvqa": ["One too many?"]}},
    ]
    (pathvqa / "pvqa_test.json").write_text(json.dumps(rows, indent=2))
    built = read_source("pathvqa", pathvqa.parent)
    assert [(record.id.rpartition("/")[2], record.answer, record.split) for record in built.records] == [
        ("pvqa_test.json#1.0", "squamous pearl", "test"),
        ("pvqa_test.json#1.1", "no", "test"),
    ]
    assert built.rejects == {"pvqa/pvqa_test.json#1.2": "wrong_columns", "pvqa/pvqa_test.json#2": "wrong_columns"}


def test_pathvqa_parquet_has_no_names_and_is_grouped_by_the_images_bytes(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "hf"
    for split, first in (("train", 0), ("validation", 5), ("test", 9)):
        rows = [
            {"image": {"bytes": jpeg(first), "path": None}, "question": "is it benign?", "answer": "no"},
            {"image": {"bytes": jpeg(first), "path": None}, "question": "what is it?", "answer": "a cyst"},
            {"image": {"bytes": jpeg(first + 1)[:80], "path": None}, "question": "what is it?", "answer": "a cyst"},
        ]
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)
    built = read_source("pathvqa", folder)
    assert {(record.split, record.task, record.group) for record in built.records} == {
        ("train", "closed", sha(jpeg(0))),
        ("train", "open", sha(jpeg(0))),
        ("val", "closed", sha(jpeg(5))),
        ("val", "open", sha(jpeg(5))),
        ("test", "closed", sha(jpeg(9))),
        ("test", "open", sha(jpeg(9))),
    }
    assert set(built.rejects.values()) == {"truncated"}
    with pytest.raises(InputError, match="no file of the layout lxmert"):
        read_source("pathvqa", folder, "options.layout=lxmert")
    with pytest.raises(ConfigError):
        read_source("pathvqa", folder, "options.layout=json")


def test_pathmmu_reads_the_archive_and_names_images_that_were_never_released(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "pathmmu"
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("images/aa.jpg", jpeg(1))

    def question(number: int, image: str, answer: str = "B) a (rare) cyst") -> dict[str, Any]:
        options = ["A) a duct", "B) a (rare) cyst", "C) fat"]
        return {"No": number, "img": image, "question": "What?", "options": options, "answer": answer, "explanation": "Because."}

    data = {
        "SocialPath": {"test": [question(1, "gone.jpg")], "test_tiny": [question(1, "gone2.jpg")]},
        "PubMed": {"val": [question(1, "aa.jpg")], "test": [question(1, "aa.jpg", "D) none")], "test_tiny": [question(1, "aa.jpg", "C")]},
        "EduContent": {"test": [question(3, "lost.jpg")]},
    }
    data["PubMed"]["test_tiny"] += [question(2, "aa.jpg")] * 1000
    (folder / "data.json").write_text("\ufeff" + json.dumps(data))
    built = read_source("pathmmu", folder)
    found = {record.id: record for record in built.records}
    assert set(found) == {"pathmmu/PubMed/val/1", "pathmmu/PubMed/test_tiny/1", "pathmmu/PubMed/test_tiny/2"}
    # The last of them lies in another task than the first.
    repeated = {f"PubMed/test_tiny/2#{number}": "repeated_id" for number in range(2, 1001)}
    first, tiny = found["pathmmu/PubMed/val/1"], found["pathmmu/PubMed/test_tiny/1"]
    assert (first.answer, first.task, first.split, first.group) == ("a (rare) cyst", "mcq", "val", "aa.jpg")
    assert first.messages[0].text == "What?\nA. a duct\nB. a (rare) cyst\nC. fat\nAnswer with the letter."
    assert (tiny.answer, tiny.split, tiny.extra["subset"], tiny.extra["explanation"]) == ("fat", "test", "test_tiny", "Because.")
    assert built.rejects == {
        "SocialPath/test/1": "image_not_released",
        "SocialPath/test_tiny/1": "image_not_released",
        "PubMed/test/1": "answer_not_an_option",
        "EduContent/test/3": "image_missing",
        **repeated,
    }
    (folder / "data.json").write_text(json.dumps({"PubMed": {"holdout": []}}))
    with pytest.raises(InputError, match="holdout"):
        read_source("pathmmu", folder)


def table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def test_pmc_vqa_reads_both_versions_and_the_misspelt_column(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "pmc"
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(("PMC11_Fig4_41.jpg", "PMC12_Fig1_2.jpg", "figure.jpg")):
        (folder / "images" / name).write_bytes(jpeg(number))
    choices = ["Choice A", "Choice B", "Choice C", "Choice D"]
    said = [" A:CT ", " B:H&E ", " C:MRI ", " D:X-ray "]
    rows = [
        ["PMC11_Fig4_41.jpg", "Which stain?", "H&E ", *said, "B"],
        ["PMC11_Fig4_41.jpg", "Which stain?", "MRI", *said, "B"],
        ["figure.jpg", "Which stain?", "H&E", *said, "B"],
        ["PMC12_Fig1_2.jpg", "Which stain?", "x", " A:x ", " B:x ", " C:y ", " D:z ", "A"],
        ["PMC12_Fig1_2.jpg", "Which stain?", "H&E", *said],
        ["PMC11_Fig4_41.jpg", "Which stain?", "Haematoxylin", *said, "B"],
    ]
    table(folder / "test.csv", ["Figure_path", "Question", "Anwser", *choices, "Answer_label"], rows)
    table(folder / "test_clean.csv", ["Figure_path", "Question", "Answer", *choices, "Answer_label"], rows[:1])
    newer = [["0", "PMC12_Fig1_2.jpg", "A section.", "Which stain?", *said, "D", "train"]]
    table(folder / "train_2.csv", ["index", "Figure_path", "Caption", "Question", *choices, "Answer", "split"], newer)
    built = read_source("pmc_vqa", folder)
    first, reworded = built.records
    assert (reworded.answer, reworded.extra["Answer"]) == ("H&E", "Haematoxylin")
    assert "Answer" not in first.extra
    assert (first.answer, first.options, first.group, first.split) == ("H&E", ("CT", "H&E", "MRI", "X-ray"), "PMC11", "test")
    assert built.rejects == {
        "test.csv#1": "answer_ambiguous",
        "test.csv#2": "no_group",
        "test.csv#3": "answer_ambiguous",
        "test.csv#4": "wrong_columns",
    }
    [second] = read_source("pmc_vqa", folder, "options.version=v2").records
    assert (second.answer, second.split, second.group, second.extra["Caption"]) == ("X-ray", "train", "PMC12", "A section.")
    assert len(read_source("pmc_vqa", folder, "options.version=clean").records) == 1
    with pytest.raises(ConfigError, match=r"options\.version"):
        read_source("pmc_vqa", folder, "options.version=v3")


def test_quilt_vqa_closed_questions_are_scored_by_their_word(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "quilt_vqa"
    folder.mkdir()
    image = f"vid-1_x_roi_roi_{UUID}.jpg"
    with zipfile.ZipFile(folder / "quilt_vqa.zip", "w") as archive:
        archive.writestr(f"images/{image}", jpeg(1))
        archive.writestr("images/frame.jpg", jpeg(2))
    base = {"image": image, "question": "Is it malignant?", "context": "So here we ask."}
    rows = [
        {**base, "id": 0, "answer": "No, it is a nevus.", "answer_type": "CLOSED", "yes_no_answer": "No"},
        {**base, "id": 1, "answer": "It is a nevus.", "answer_type": "OPEN"},
        {**base, "id": 2, "answer": "Perhaps.", "answer_type": "CLOSE", "yes_no_answer": ""},
        {**base, "id": 3, "answer": "A nevus.", "answer_type": "OPEN", "image": "gone.jpg"},
        {**base, "id": 4, "answer": "A nevus.", "answer_type": "other", "image": "frame.jpg"},
    ]
    (folder / "quiltvqa_test_w_ans.json").write_text(json.dumps(rows))
    lines = [{"question_id": 0, "image": image, "text": "Is it malignant?\n<image>"}]
    (folder / "quiltvqa_test_wo_ans.jsonl").write_text("\n".join(map(json.dumps, lines)))
    built = read_source("quilt_vqa", folder)
    closed, opened, unnamed = built.records
    assert (unnamed.task, unnamed.group) == ("open", sha(jpeg(2)))
    assert (closed.task, closed.answer, closed.group, closed.split) == ("closed", "no", "vid-1_x_roi", "test")
    assert closed.extra["answer"] == "No, it is a nevus."
    assert (opened.task, opened.answer) == ("open", "It is a nevus.")
    assert list(built.rejects.values()) == ["no_answer", "image_missing"]
    [asked] = read_source("quilt_vqa", folder, "options.file=quiltvqa_test_wo_ans.jsonl").records
    assert (asked.answer, len(asked.messages), asked.messages[0].text) == (None, 1, "Is it malignant?")


def test_quilt_vqa_parquet_is_test_although_it_is_called_train(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "quilt_vqa"
    cell = {"bytes": jpeg(1), "path": None}
    named = {"bytes": jpeg(2), "path": f"v2_00000000_roi_{UUID}.jpg"}
    rows = [
        {"image": cell, "question": "Is it?", "answer": "Yes, it is.", "answer_type": "CLOSED", "context": ""},
        {"image": named, "question": "What?", "answer": "A nevus.", "answer_type": "OPEN", "context": ""},
    ]
    parquet(folder / "data" / "train-00000-of-00001.parquet", rows)
    built = read_source("quilt_vqa", folder)
    assert [(record.split, record.answer, record.group) for record in built.records] == [
        ("test", "yes", sha(jpeg(1))),
        ("test", "A nevus.", "v2_00000000"),
    ]


def test_mm_skin_joins_the_panels_of_a_figure_and_leaves_out_what_was_not_fetched(
    tmp_path: Path, jpeg: Jpeg, read_source, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mm_skin"
    (folder / "dataset").mkdir(parents=True)
    for name in ("bk2_1_56_a.png", "bk2_1_56_b.png"):
        (folder / "dataset" / name).write_bytes(jpeg(1))
    (folder / "Dataframe" / "test" / "vqa").mkdir(parents=True)
    training = folder / "Dataframe" / "Pretrain" / "vqa_MM.json"
    training.parent.mkdir()
    training.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 11171849\n")
    rows = [
        ["dataset/bk2_1_56_a.png", 'What does ""x"" mean?', "No, it is flat."],
        ["dataset/bk2_1_56_b.png", "Is it raised?", "No"],
        ["dataset/bk9_1.png", "Is it raised?", "No"],
    ]
    table(folder / "Dataframe" / "test" / "vqa" / "MM-Skin_test.csv", ["image", "question", "answer"], rows)
    built = read_source("mm_skin", folder)
    assert [(record.group, record.task, record.split) for record in built.records] == [
        ("bk2_1_56", "open", "test"),
        ("bk2_1_56", "closed", "test"),
    ]
    assert list(built.rejects.values()) == ["image_missing"]
    assert "git-LFS pointer" in capsys.readouterr().err
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A papule."}]
    training.write_text(json.dumps([{"image": "dataset/bk2_1_56_a.png", "conversations": turns}]))
    assert sorted(record.split for record in read_source("mm_skin", folder).records) == ["test", "test", "train"]


def test_kvasir_vqa_reads_parquet_or_a_table_and_groups_by_image(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "parquet"
    row = {
        "image": {"bytes": jpeg(1), "path": None},
        "source": "HyperKvasir",
        "question": "Is there a polyp?",
        "answer": "Yes",
        "img_id": "cl1",
    }
    rows = [row, {**row, "question": "Colours?", "answer": "pink; red"}, {**row, "img_id": None}]
    parquet(folder / "data" / "00000.parquet", rows)
    built = read_source("kvasir_vqa", folder)
    assert [(record.task, record.answer, record.group, record.split) for record in built.records] == [
        ("closed", "yes", "cl1", "none"),
        ("open", "pink; red", "cl1", "none"),
    ]
    assert built.records[0].extra["source"] == "HyperKvasir"
    assert list(built.rejects.values()) == ["wrong_columns"]
    folder = tmp_path / "table"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "cl1.jpg").write_bytes(jpeg(1))
    table(
        folder / "metadata.csv",
        ["source", "question", "answer", "img_id"],
        [["HyperKvasir", "A polyp?", "No", "cl1"], ["x", "?", "1", "cl2"]],
    )
    built = read_source("kvasir_vqa", folder)
    assert [(record.answer, record.images) for record in built.records] == [("no", (jpeg(1),))]
    assert list(built.rejects.values()) == ["image_missing"]


def test_refpath_boxes_become_text_and_bad_ones_are_named(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "refpath"
    (folder / "refpath_image").mkdir(parents=True)
    (folder / "refpath_image" / "7.jpg").write_bytes(jpeg(1, 100))
    base = {"image_id": "7.jpg", "image": "refpath_image/7.jpg", "bbox_id": 1, "height": 100, "width": 100}
    rows = [
        {**base, "bbox": [10, 20, 50, 100], "expression": ["[a gland in the centre.]", "the gland"]},
        {**base, "bbox": [10, 20, 100.5, 60], "expression": ["a vessel"]},
        {**base, "bbox": [10, 20, 5, 60], "expression": ["a vessel"]},
        {**base, "bbox": [10, 20, 140, 60], "expression": ["a vessel"]},
        {**base, "bbox": [10, 20, 50], "expression": ["a vessel"]},
        {**base, "bbox": [10, 20, 50, 60], "expression": []},
        {**base, "bbox": [10, 20, 50, 60], "expression": ["x"], "width": 200},
        {**base, "bbox": [10, 20, 50, 60], "expression": ["x"], "image": "refpath_image/8.jpg"},
        {**base, "bbox": [10, 20, 50, 60], "expression": ["x"], "width": "100", "height": None},
    ]
    (folder / "refpath_testA.jsonl").write_text("\r\n".join(map(json.dumps, rows)), newline="")
    (folder / "refpath_train.jsonl").write_text(json.dumps(rows[1]) + "\n")
    built = read_source("refpath", folder)
    found = {record.id.removeprefix("refpath/refpath_"): record for record in built.records}
    assert set(found) == {"testA.jsonl#0.0", "testA.jsonl#0.1", "testA.jsonl#1", "testA.jsonl#8", "train.jsonl#0"}
    first = found["testA.jsonl#0.0"]
    assert (first.task, first.answer, first.split, first.group) == ("grounding", "[100, 200, 500, 999]", "test", "7.jpg")
    assert "a gland in the centre?" in first.messages[0].text
    assert first.messages[1].text == first.answer
    assert (first.extra["subset"], first.extra["bbox"]) == ("testA", [10, 20, 50, 100])
    assert found["testA.jsonl#1"].answer == "[100, 200, 999, 599]"
    reasons = [built.rejects[f"refpath_testA.jsonl#{number}"] for number in range(2, 8)]
    assert reasons == ["wrong_box", "wrong_box", "wrong_box", "wrong_columns", "size_differs", "image_missing"]
    (folder / "more.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(InputError, match="must tell one of train, val, testA, testB"):
        read_source("refpath", folder)
