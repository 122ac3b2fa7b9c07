"""LLaVA's JSON as four publishers ship it, with the faults that are in it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.errors import ConfigError, InputError

Jpeg = Callable[..., bytes]
UUID = "0a1b2c3d-1111-4222-8333-444455556666"


def turns(question: str, answer: str, names: tuple[str, str] = ("human", "gpt")) -> list[dict[str, str]]:
    return [{"from": names[0], "value": question}, {"from": names[1], "value": answer}]


def test_llava_a_list_with_a_byte_order_mark_and_every_deviation(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg")):
        (folder / "images" / name).write_bytes(jpeg(number))
    (folder / "images" / "broken.jpg").write_bytes(jpeg(3)[:90])
    records = [
        {"id": "1", "image": "a.jpg", "conversations": turns("<image>\nIs this colon?", "Yes."), "patient": "P1"},
        {"id": "1", "image": "a.jpg", "conversatons": turns("What is this?\n<image>", "Colon", ("user", "assistant")), "patient": "P1"},
        {"id": "3", "image": ["a.jpg", "b.jpg"], "conversations": turns("Compare <image> with <image>.", "Alike."), "patient": "P2"},
        {"id": "4", "conversations": turns("What is H&E?", "A stain."), "patient": "P3"},
        {"id": "5", "image": ["a.jpg", "b.jpg"], "conversations": turns("Compare <image>.", "Alike."), "patient": "P2"},
        {"id": "6", "image": "gone.jpg", "conversations": turns("<image> What?", "Colon"), "patient": "P2"},
        {"id": "7", "image": "broken.jpg", "conversations": turns("<image> What?", "Colon"), "patient": "P2"},
        {"id": "8", "image": "a.jpg", "conversations": turns("<image> What?", "Colon")},
        {"id": "9", "image": 7, "conversations": turns("<image> What?", "Colon"), "patient": "P2"},
        "not an object",
    ]
    (folder / "train.json").write_text("\ufeff" + json.dumps(records, indent=1).replace("\n", "\r\n"), newline="")
    built = read_source("llava", folder, "options.group=patient")
    assert [(record.task, record.answer, record.group, record.split) for record in built.records] == [
        ("closed", "yes", "P1", "train"),
        ("open", "Colon", "P1", "train"),
        ("open", "Alike.", "P2", "train"),
        ("open", "A stain.", "P3", "train"),
    ]
    assert [part.type for part in built.records[2].messages[0].content] == ["text", "image", "text", "image", "text"]
    assert built.records[2].images == (jpeg(0), jpeg(1))
    assert built.records[3].images == ()
    assert built.records[0].id == "llava/train.json#0"
    assert built.records[0].extra["id"] == "1"
    assert built.rejects == {
        "train.json#4": "image_count",
        "train.json#5": "image_missing",
        "train.json#6": "truncated",
        "train.json#7": "no_group",
        "train.json#8": "wrong_image",
        "train.json#9": "broken_json",
    }
    assert "groups_unknown" not in built.artefact.plan.facts


def test_llava_records_that_share_an_image_are_one_group(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate("abcdef"):
        (folder / f"{name}.jpg").write_bytes(jpeg(number))
    shown = [["d.jpg"], ["d.jpg", "c.jpg"], ["b.jpg"], ["c.jpg", "b.jpg", "e.jpg"], ["a.jpg"], ["f.jpg", "e.jpg"]]
    for part, lines in (("one", shown[:3]), ("two", [7, *shown[3:]])):
        tokens = ["<image>" * len(names) if isinstance(names, list) else "" for names in lines]
        records = [{"image": names, "conversations": turns(f"{token} What?", "Colon")} for names, token in zip(lines, tokens, strict=True)]
        (folder / f"{part}.json").write_text(json.dumps(records))
    built = read_source("llava", folder)
    assert [record.group for record in built.records] == ["b.jpg"] * 4 + ["a.jpg", "b.jpg"]
    assert built.rejects == {"two.json#0": "wrong_image"}


def test_llava_lines_with_splits_of_their_own_and_a_broken_line(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "a.jpg").write_bytes(jpeg(1))
    lines = [
        json.dumps({"image": "a.jpg", "conversations": turns("What?", "Colon"), "fold": fold}) for fold in ("training", "validation", "?")
    ]
    (folder / "data.jsonl").write_text("\r\n".join([*lines, '{"image": "a.jpg", "conv']) + "\r\n", newline="")
    built = read_source("llava", folder, "options.images=pictures", "options.split=fold")
    assert [record.split for record in built.records] == ["train", "val"]
    assert built.rejects == {"data.jsonl#2": "unknown_split", "data.jsonl#3": "broken_json"}
    assert "options.group" in built.artefact.plan.facts["groups_unknown"]


def test_pathgen_instruct_finds_tiles_in_both_spellings_and_never_another_slides_tile(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "pathgen"
    slides = [f"TCGA-AA-000{number}-01Z-00-DX1.{UUID}" for number in (1, 2, 3)]
    (folder / slides[0]).mkdir(parents=True)
    (folder / slides[0] / "11264_29952.jpg").write_bytes(jpeg(1))
    (folder / f"{slides[1]}_0_672.png").write_bytes(jpeg(2))
    asking = "Which pattern is shown? A) Cribriform B) Solid C) Papillary (micro) D) Lepidic Answer with the option's letter."
    records = [
        {"wsi_id": slides[0], "image": f"{slides[0]}/11264_29952.jpg", "type": "OPEN", "conversations": turns("<image>\nWhat?", "Glands.")},
        {"wsi_id": slides[1], "image": f"{slides[1]}/0_672.jpg", "type": "CLOSE", "conversations": turns(asking + "\n<image>", "C")},
        {"WSI_id": slides[1], "image": f"{slides[1]}/0_672.jpg", "type": "CLOSE", "conversations": turns(asking, "E")},
        {"wsi_id": slides[2], "image": f"{slides[2]}/11264_29952.jpg", "type": "OPEN", "conversations": turns("<image>\nWhat?", "Fat.")},
        {"wsi_id": slides[1], "image": f"{slides[1]}/0_672.jpg", "type": "CLOSE", "conversations": turns("<image>Is it benign?", "No")},
    ]
    for record in records:
        record["position"] = ["11264", "29952"]
    (folder / "PathGen-Instruct.json").write_text(json.dumps(records))
    built = read_source("pathgen_instruct", folder)
    first, second, third = built.records
    assert (first.group, first.slide, first.task) == ("TCGA-AA-0001", slides[0], "open")
    assert first.images == (jpeg(1),)
    assert (second.task, second.answer) == ("mcq", "Papillary (micro)")
    assert second.options == ("Cribriform", "Solid", "Papillary (micro)", "Lepidic")
    assert second.images == (jpeg(2),)
    assert (third.task, third.answer) == ("closed", "no")
    assert built.rejects == {"PathGen-Instruct.json#2": "answer_not_an_option", "PathGen-Instruct.json#3": "image_missing"}


def test_quilt_instruct_is_grouped_by_video_and_reads_one_of_its_overlapping_files(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "quilt"
    folder.mkdir()
    image = f"-a_B_roi_c1_roi_{UUID}.jpg"
    (folder / image).write_bytes(jpeg(1))
    spoken = [{"role": "user", "content": "What?\n<image>"}, {"role": "assistant", "content": "A nevus."}]
    records = [
        {"id": 7, "image": image, "conversations": turns("<image>\nWhat?", "A nevus.")},
        {"id": 7, "image": image, "conversations": spoken},
        {"id": 8, "image": "frame.jpg", "conversations": spoken},
    ]
    (folder / "quilt_instruct_107k.json").write_text(json.dumps(records))
    (folder / "quilt_instruct_ablation_40k.json").write_text(json.dumps(records[:1]))
    built = read_source("quilt_instruct", folder)
    assert [record.group for record in built.records] == ["-a_B_roi_c1"] * 2
    assert [[part.type for part in record.messages[0].content] for record in built.records] == [["image", "text"], ["text", "image"]]
    assert built.rejects == {"quilt_instruct_107k.json#2": "no_group"}
    assert len(read_source("quilt_instruct", folder, "options.file=quilt_instruct_ablation_40k.json").records) == 1


@pytest.fixture
def llava_med(tmp_path: Path, jpeg: Jpeg) -> Path:
    folder = tmp_path / "llava_med"
    for place in ("instruct", "eval", "images"):
        (folder / place).mkdir(parents=True)
    for number in (1, 2):
        (folder / "images" / f"pair{number}.jpg").write_bytes(jpeg(number))
    domains = {"chest_xray": False, "mri": False, "histology": True, "gross": False, "ct_scan": False}
    records = [
        {"id": "pair1", "image": "pair1.jpg", "domain": domains, "conversatons": turns("What?\n<image>", "Glands.")},
        {
            "id": "pair2",
            "image": "pair2.jpg",
            "domain": {**domains, "histology": 0, "mri": 1},
            "conversations": turns("<image> What?", "Brain."),
        },
        {"id": "pair3", "image": "pair3.jpg", "domain": domains, "conversations": turns("<image> What?", "Fat.")},
    ]
    (folder / "instruct" / "llava_med_instruct_60k_inline_mention.json").write_text(json.dumps(records))
    question = {"question_id": 0, "type": "conversation", "text": "What?\n<image>", "gpt4_answer": "Glands.", "image": "pair1.jpg"}
    (folder / "eval" / "llava_med_eval_qa50_qa.jsonl").write_text(json.dumps({**question, "domain": domains}) + "\n")
    return folder


def test_llava_med_is_grouped_by_article_where_the_url_list_is_there(llava_med: Path, read_source) -> None:
    alone = read_source("llava_med", llava_med)
    assert [record.group for record in alone.records] == ["pair1", "pair2"]
    assert "llava_med_image_urls.jsonl" in alone.artefact.plan.facts["groups_unknown"]
    assert alone.rejects == {"instruct/llava_med_instruct_60k_inline_mention.json#2": "image_missing"}
    rows = [
        {"pair_id": "pair1", "pmc_tar_url": "https://example.org/oa/00/PMC77.tar.gz", "image_file_path": "PMC77/x.jpg"},
        {"pair_id": "pair3", "pmc_tar_url": "https://example.org/oa/00/PMC78.tar.gz", "image_file_path": "PMC78/x.jpg"},
    ]
    (llava_med / "llava_med_image_urls.jsonl").write_text("\n".join(map(json.dumps, rows)))
    built = read_source("llava_med", llava_med)
    assert [(record.group, record.split) for record in built.records] == [("PMC77", "train")]
    assert list(built.rejects.values()) == ["no_group", "image_missing"]
    assert "groups_unknown" not in built.artefact.plan.facts


def test_llava_med_keeps_a_domain_and_reads_the_evaluation_questions(llava_med: Path, read_source) -> None:
    built = read_source("llava_med", llava_med, "options.domain=histology")
    assert [record.extra["id"] for record in built.records] == ["pair1"]
    assert sorted(built.rejects.values()) == ["image_missing", "other_domain"]
    [asked] = read_source("llava_med", llava_med, "options.files=llava_med_eval_*").records
    assert (asked.split, asked.answer, asked.messages[0].text) == ("test", "Glands.", "What?")
    with pytest.raises(ConfigError, match=r"options\.domain"):
        read_source("llava_med", llava_med, "options.domain=histo")
    with pytest.raises(InputError, match=r"options\.files may name another of: llava_med_eval_qa50_qa\.jsonl"):
        read_source("llava_med", llava_med, "options.files=nothing.json")
