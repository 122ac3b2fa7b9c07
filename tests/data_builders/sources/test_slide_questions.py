"""Questions about whole slides: no pixels, and parts that name a slide."""

import json
from pathlib import Path

from eosin.records import Part


def test_wsi_vqa_names_the_case_and_rejects_broken_choices(tmp_path: Path, read_source) -> None:
    folder = tmp_path / "WSI_captions"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / ".ipynb_checkpoints" / "WsiVQA_test-checkpoint.json").write_text("[]")
    rows = [
        {"Id": "TCGA-XX-A74U", "Question": "what is the diagnosis?", "Choice": ["dcis", "idc", "ilc.", "none"], "Answer": "ilc"},
        {"Id": "TCGA-XX-A74U", "Question": "is it invasive?", "Answer": "Yes"},
        {"Id": "TCGA-XX-A74U", "Question": "what is the grade?", "Choice": ["1", "2", "3", "2"], "Answer": "2"},
        {"Id": "TCGA-XX-A74U", "Question": "margins?", "Choice": ["unclear", "d: positive"], "Answer": "negative"},
        {"Question": "what?", "Answer": "x"},
    ]
    for split in ("train", "val", "test"):
        (folder / f"WsiVQA_{split}.json").write_text(json.dumps(rows[: 5 if split == "test" else 1]))
    built = read_source("wsi_vqa", tmp_path)
    assert [record.split for record in built.records].count("test") == 2
    record = built.by_id()["wsi_vqa/WSI_captions/WsiVQA_test.json#0"]
    assert (record.task, record.answer, record.slide, record.group) == ("mcq", "ilc.", "TCGA-XX-A74U", "TCGA-XX-A74U")
    assert record.images == ()
    assert record.messages[0].content[0] == Part("slide", "TCGA-XX-A74U")
    assert built.by_id()["wsi_vqa/WSI_captions/WsiVQA_test.json#1"].answer == "yes"
    assert [reason for key, reason in sorted(built.rejects.items())] == ["answer_ambiguous", "answer_not_an_option", "wrong_columns"]


def test_slide_instruct_reads_conversations_and_the_benchmarks_table(tmp_path: Path, read_source) -> None:
    folder = tmp_path / "slidechat"
    folder.mkdir()
    slide = "TCGA-XX-0001-01Z-00-DX1"

    def record(image: object, question: str) -> dict[str, object]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "A carcinoma."}]
        return {"id": "train::0", "image": image, "conversations": turns}

    captions = [record([f"./features/{slide}.csv"], "Describe it.\n<image>"), record([], "Describe it.")]
    (folder / "SlideInstruct_train_stage1_caption.json").write_text(json.dumps(captions))
    (folder / "SlideInstruct_train_stage2_vqa.json").write_text(json.dumps([record(f"{slide}.csv", "What is it?")]))
    header = "ID,Slide,Tumor,Broad Category,Narrow Category,Question,A,B,C,D,Answer,Output"
    rows = [f'1,{slide},BRCA,Microscopy,Grade,"Which grade, overall?",one,two,three,,B,C', "2,17,BCNB,Clinical,ER,Which?,pos,neg,,,E,A"]
    (folder / "SlideBench-VQA-TCGA.csv").write_text("\ufeff" + "\r\n".join([header, *rows]) + "\r\n", newline="")
    built = read_source("slide_instruct", folder)
    described = next(record for record in built.records if "stage1" in record.id)
    choice = next(record for record in built.records if record.task == "mcq")
    asked = next(record for record in built.records if "stage2" in record.id)
    assert [(part.type, part.text) for part in described.messages[0].content] == [("text", "Describe it."), ("slide", slide)]
    assert (described.split, described.slide, described.group, described.images) == ("train", slide, "TCGA-XX-0001", ())
    assert asked.messages[0].content[0].text == slide
    assert (choice.answer, choice.options, choice.split, choice.group) == ("two", ("one", "two", "three"), "test", "TCGA-XX-0001")
    assert choice.extra == {"ID": "1", "Tumor": "BRCA", "Broad Category": "Microscopy", "Narrow Category": "Grade"}
    assert built.rejects == {"SlideInstruct_train_stage1_caption.json#1": "no_group", "SlideBench-VQA-TCGA.csv#1": "answer_not_an_option"}


def test_a_blank_option_does_not_shift_the_letters(tmp_path: Path, read_source) -> None:
    rows = [
        "ID,Slide,Question,A,B,C,D,Answer",
        "1,17,Which?,one,,three,four,C",
        "2,17,Which?,one,,three,four,D",
        "3,17,Which?,one,,three,four,B",
        "4,17,Which?,one,,three,four,C) three",
        "5,17,Which?,yes,no,,,A",
    ]
    (tmp_path / "SlideBench-VQA-TCGA.csv").write_text("\n".join(rows))
    built = read_source("slide_instruct", tmp_path)
    assert [record.answer for record in built.records] == ["three", "four", "three", "yes"]
    assert built.records[0].options == ("one", "three", "four")
    assert built.records[0].messages[1].text == "B"
    assert built.rejects == {"SlideBench-VQA-TCGA.csv#2": "answer_not_an_option"}
