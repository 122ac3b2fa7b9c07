"""Reports and cases: joined to their slides where they are at hand, and records without one where they are not."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.errors import InputError

MakeSlide = Callable[[Path], None]


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A slide of 512 x 256 pixels of half a micron."""
    path = tmp_path_factory.mktemp("slide") / "slide.tiff"
    write_pyramid(path, (512, 256), 0.5, iter([np.full((256, 512, 3), 200, dtype=np.uint8)]))
    return path.read_bytes()


@pytest.fixture
def put(slide_file: bytes) -> MakeSlide:
    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(slide_file)

    return write


def tcga(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        "patient_filename,text",
        'TCGA-AA-0001.11111111-2222-3333-4444-555555555555,"Colon, right:\n""mucinous"" adenocarcinoma."',
        "TCGA-BB-0002.66666666-2222-3333-4444-555555555555,Breast: ductal carcinoma.",
        "TCGA-CC-0003.77777777-2222-3333-4444-555555555555,",
        "notes,Something else.",
        "TCGA-AA-0001.11111111-2222-3333-4444-555555555555,The same report once more.",
    ]
    (folder / "TCGA_Reports.csv").write_text("\n".join(rows))
    return folder


REJECTS = {"TCGA-CC-0003.77777777-2222-3333-4444-555555555555": "no_report", "notes": "no_patient"}
REJECTS["TCGA-AA-0001.11111111-2222-3333-4444-555555555555#4"] = "repeated_id"


def test_tcga_reports_alone_are_records_that_claim_no_size(tmp_path: Path, read_source) -> None:
    built = read_source("tcga_reports", tcga(tmp_path / "t"))
    first, second = built.records
    assert (first.case, first.group) == ("TCGA-AA-0001", "TCGA-AA-0001")
    assert first.report == 'Colon, right:\n"mucinous" adenocarcinoma.'
    assert (first.path, first.slide, first.width, first.height, first.mpp) == ("", None, None, None, None)
    assert second.id == "tcga_reports/TCGA-BB-0002.66666666-2222-3333-4444-555555555555"
    assert built.rejects == REJECTS


def test_tcga_reports_go_with_every_diagnostic_slide_of_the_patient(tmp_path: Path, put: MakeSlide, read_source) -> None:
    for name in ("1/TCGA-AA-0001-01Z-00-DX1.a", "2/TCGA-AA-0001-01Z-00-DX2.b", "3/TCGA-AA-0001-01A-01-TS1.c"):
        put(tmp_path / "gdc" / f"{name}.svs")
    built = read_source("tcga_reports", tcga(tmp_path / "t"), f"options.slides={tmp_path / 'gdc'}")
    assert [(record.slide, record.path, record.width, record.height) for record in built.records] == [
        ("TCGA-AA-0001-01Z-00-DX1.a", "1/TCGA-AA-0001-01Z-00-DX1.a.svs", 512, 256),
        ("TCGA-AA-0001-01Z-00-DX2.b", "2/TCGA-AA-0001-01Z-00-DX2.b.svs", 512, 256),
        (None, "", None, None),
    ]
    assert built.records[0].mpp == pytest.approx(0.5)
    assert built.records[0].report == built.records[1].report
    assert built.rejects == REJECTS
    every = read_source("tcga_reports", tmp_path / "t", f"options.slides={tmp_path / 'gdc'}", "options.diagnostic_only=false")
    assert len(every.records) == 4
    with pytest.raises(InputError, match=r"options\.slides: .*gone is not a folder"):
        read_source("tcga_reports", tmp_path / "t", "options.slides=gone")


@pytest.mark.parametrize("form", ["list", "object"])
def test_reg2025_reports_go_with_their_slides(tmp_path: Path, put: MakeSlide, read_source, form: str) -> None:
    root = tmp_path / "r"
    put(root / "train" / "PIT_01_00001_01.tiff")
    put(root / "train" / "PIT_01_00002_01.tiff")
    (root / "train" / "PIT_01_00004_01.tiff").write_bytes(b"II*\x00 no more")
    report = "Breast, core-needle biopsy;\n  1. Invasive carcinoma\n  2. DCIS"
    names = {"PIT_01_00001_01.tiff": report, "PIT_01_00002_01": report, "PIT_01_00003_01.tiff": report, "PIT_01_00004_01.tiff": report}
    entries: object = names if form == "object" else [{"id": name, "report": text} for name, text in names.items()]
    (root / "train.json").write_text(json.dumps(entries))
    built = read_source("reg2025", root)
    first, second = built.records
    assert (first.id, first.report, first.split) == ("reg2025/PIT_01_00001_01", report, "train")
    assert (first.path, first.width, first.height) == ("train/PIT_01_00001_01.tiff", 512, 256)
    assert second.slide == "PIT_01_00002_01"
    assert sorted(built.rejects.values()) == ["slide_missing", "unsupported_format"]
    assert "patients" in built.artefact.plan.facts["groups_unknown"]
    alone = read_source("reg2025", root, "options.reports_alone=true")
    assert [record.path for record in alone.records if record.id.endswith("3_01")] == [""]


NOTICE = "##############################\nDISCLAIMER: \nTHIS REPORT HAS BEEN ANONYMIZED.\n##############################\n\n"


def test_dragon_reports_lose_their_english_notice_and_keep_their_language(tmp_path: Path, read_source) -> None:
    head = "# Task 4: Skin cases\nLabel: True\n\nNotes: no diagnosis.\n\nAnonymous sample report (see [x](y)):\n"
    for language, body in (("english", "MACROSCOPY:\nA #3 biopsy."), ("dutch", "MACROSCOPIE:\nEen biopt.")):
        text = f"{head}```\n{NOTICE}{body}\n```\n"
        (tmp_path / "d" / language).mkdir(parents=True)
        (tmp_path / "d" / language / "Task004_skin_clf.md").write_text("\ufeff" + text.replace("\n", "\r\n"), newline="")
    tokens = '# Task 26: Terms\n\nLabel tokenized: \n```\n["O", "B"]\n```\n\nAnonymous sample report:\n```\nGeen tumor.\n```\n\n'
    tokens += 'Anonymous sample report tokenized:\n```\n["Geen", "tumor"]\n```\n'
    (tmp_path / "d" / "dutch" / "Task026_terms_ner.md").write_text(tokens)
    (tmp_path / "d" / "dutch" / "Task027_empty.md").write_text("# Task 27: Empty\n")
    built = read_source("dragon", tmp_path / "d")
    found = {record.id.removeprefix("dragon/"): record for record in built.records}
    english, dutch, terms = found["en/Task004_skin_clf"], found["nl/Task004_skin_clf"], found["nl/Task026_terms_ner"]
    assert (english.report, dutch.report) == ("MACROSCOPY:\nA #3 biopsy.", "MACROSCOPIE:\nEen biopt.")
    assert english.group == dutch.group == "Task004_skin_clf"
    assert (english.labels, english.extra["notes"], english.extra["task"]) == (("True",), "no diagnosis.", "Skin cases")
    assert (dutch.extra["language"], dutch.extra["translated"], dutch.extra["anonymised"]) == ("nl", False, True)
    assert (terms.report, terms.extra["token_labels"], terms.extra["tokens"]) == ("Geen tumor.", ["O", "B"], ["Geen", "tumor"])
    assert terms.extra["anonymised"] is False
    assert built.rejects == {"nl/Task027_empty": "no_report"}
    assert len(read_source("dragon", tmp_path / "d", "options.language=en").records) == 1


def test_the_dragon_samples_are_all_read(tmp_path: Path, read_source) -> None:
    root = Path(os.environ.get("EOSIN_REAL_DATA", tmp_path)) / "text" / "dragon_reports"
    if not root.is_dir():
        for language in ("dutch", "english"):
            (root / language).mkdir(parents=True)
            (root / language / "Task001_x.md").write_text(f"# Task 1: X\nAnonymous sample report:\n```\n{NOTICE}Geen tumor.\n```\n")
    files = {f"{'en' if path.parent.name == 'english' else 'nl'}/{path.stem}" for path in root.glob("*/Task*.md")}
    built = read_source("dragon", root)
    assert {record.id.removeprefix("dragon/") for record in built.records} == files
    assert all(record.report and "DISCLAIMER" not in record.report and "```" not in record.report for record in built.records)
    assert built.rejects == {}


@pytest.mark.parametrize("form", ["json", "csv"])
def test_histai_slides_have_the_text_of_their_case(tmp_path: Path, put: MakeSlide, read_source, form: str) -> None:
    root = tmp_path / "h"
    put(root / "HISTAI-skin-b2" / "case_1" / "slide_H&E_0.tiff")
    put(root / "HISTAI-skin-b2" / "case_1" / "slide_40x_PAS_1.tiff")
    (root / "HISTAI-skin-b2" / "case_1" / "slide_H&E_2.tiff").write_bytes(b"broken")
    cases = [
        {
            "case_mapping": "histai/HISTAI-skin-b2/case_1",
            "conclusion": "Naevus.",
            "micro_protocol": "Nests.",
            "diagnosis": "",
            "icd10": "D22",
        },
        {"case_mapping": "histai/HISTAI-skin-b2/case_2", "conclusion": "Gone.", "micro_protocol": "", "diagnosis": "", "icd10": ""},
        {"case_mapping": "HISTAI-skin-b2/case_1", "conclusion": "Again.", "micro_protocol": "", "diagnosis": "", "icd10": ""},
        {"case_mapping": "histai/../../etc", "conclusion": "Out.", "micro_protocol": "", "diagnosis": "", "icd10": ""},
        {"case_mapping": "", "conclusion": "Whose?", "micro_protocol": "", "diagnosis": "", "icd10": ""},
    ]
    if form == "json":
        (root / "metadata.json").write_text(json.dumps(cases))
    else:
        lines = [",".join(cases[0]), *(",".join(f'"{value}"' for value in case.values()) for case in cases)]
        (root / "metadata.csv").write_text("\n".join(lines))
    built = read_source("histai", root)
    first, second = sorted(built.records, key=lambda record: record.path, reverse=True)
    assert (first.path, first.case) == ("HISTAI-skin-b2/case_1/slide_H&E_0.tiff", "HISTAI-skin-b2/case_1")
    assert first.report == "micro_protocol: Nests.\n\nconclusion: Naevus."
    assert (first.labels, first.width, first.extra["stain"], first.extra["magnification"]) == (("D22",), 512, "H&E", "20x")
    assert (second.extra["stain"], second.extra["magnification"]) == ("PAS", "40x")
    assert first.group == second.group
    assert built.rejects == {
        "HISTAI-skin-b2/case_1/slide_H&E_2": "unsupported_format",
        "HISTAI-skin-b2/case_2": "slide_missing",
        "HISTAI-skin-b2/case_1#2": "case_twice",
        "#3": "path_outside",
        "#4": "no_case",
    }
    chosen = read_source("histai", root, "options.he_only=true", "options.cases_alone=true")
    assert chosen.rejects["HISTAI-skin-b2/case_1/slide_40x_PAS_1"] == "other_stain"
    assert {record.path for record in chosen.records} == {first.path, ""}


def test_a_folder_of_slides_is_read_by_its_table(tmp_path: Path, put: MakeSlide, read_source) -> None:
    root = tmp_path / "s"
    put(root / "2024" / "a.svs")
    put(root / "b.tiff")
    put(tmp_path / "secret.svs")
    (root / "c.svs").write_bytes(b"")
    rows = [
        "Slide;Patient;Label;Report;MPP;Split;Block",
        "a;P1;tumour;Adenocarcinoma.;0,25;training;3",
        'b.tiff;P2;"a";;;test;',
        "c.svs;P3;;;;test;",
        "gone;P3;;;;test;",
        "../secret.svs;P3;;;;test;",
        "./b.tiff;P2;;;huge;test;",
        "2024/../b.tiff;P2;;;;test;",
        "././b.tiff;P2;;;;holdout;",
        "b.tiff;P2;normal;;;test;",
        ";P4;tumour;;;test;",
    ]
    (root / "slides.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    built = read_source("slides_csv", root)
    found = {record.slide: record for record in built.records}
    first, second = found["a"], found["b"]
    assert (first.path, first.case, first.group, first.split) == ("2024/a.svs", "P1", "P1", "train")
    assert (first.mpp, first.report, first.labels, first.extra) == (0.25, "Adenocarcinoma.", ("tumour",), {"Block": "3"})
    assert (second.mpp, second.report, second.width) == (pytest.approx(0.5), None, 512)
    reasons = ["bad_mpp", "no_slide", "path_outside", "path_outside", "slide_missing", "slide_twice", "unknown_split", "unsupported_format"]
    rejected = pq.read_table(built.artefact.path / "rejects" / "rejects.parquet").to_pylist()
    assert sorted(row["reason"] for row in rejected) == reasons
    assert "groups_unknown" not in built.artefact.plan.facts


def test_a_patient_in_two_splits_of_a_table_is_refused_before_the_run(tmp_path: Path, put: MakeSlide, read_source) -> None:
    put(tmp_path / "s" / "a.svs")
    (tmp_path / "s" / "slides.csv").write_text("slide,patient,split\na,P1,train\nb,P2,test\nc,P1,validation\n")
    with pytest.raises(InputError, match="'P1' is in train and in val"):
        read_source("slides_csv", tmp_path / "s")


def test_slides_without_a_patient_have_no_known_groups(tmp_path: Path, put: MakeSlide, read_source) -> None:
    put(tmp_path / "s" / "a.svs")
    (tmp_path / "s" / "slides.csv").write_text("slide,label\na,x;y\n")
    built = read_source("slides_csv", tmp_path / "s", "options.separator=;")
    assert built.records[0].labels == ("x", "y")
    assert built.records[0].group == "a"
    assert "no column group" in built.artefact.plan.facts["groups_unknown"]
