import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eosin.artefacts import open_artefact, verify
from eosin.errors import ConfigError
from eosin.records import Conversation, ImageText, Message, Part, Slide

Build = Callable[..., Path]
Write = Callable[..., Path]
CLEAN = {"builder": "clean"}


def common(name: str, split: str = "train") -> dict[str, Any]:
    return {"id": f"s/{name}", "source": "s", "licence": "CC0-1.0", "group": f"g{name}", "split": split}


def pair(name: str, *captions: str, split: str = "train", **extra: Any) -> ImageText:
    return ImageText(**common(name, split), image=b"not looked at", captions=captions, extra=extra)


def talk(name: str, question: str, said: str, task: str = "open", **more: Any) -> Conversation:
    messages = (Message("user", (Part("image"), Part("text", question))), Message("assistant", (Part("text", said),)))
    return Conversation(**common(name), images=(b"not looked at",), messages=messages, task=task, **more)


def slide(name: str, report: str | None) -> Slide:
    return Slide(**common(name), path=f"{name}.svs", width=10, height=10, report=report)


def rejects(path: Path) -> dict[str, str]:
    rows = pq.read_table(path / "rejects" / "rejects.parquet").to_pylist()
    return {row["key"].removeprefix("s/"): row["reason"] for row in rows}


PAIRS = [
    pair("good", "Figure 1. Nests of atypical cells in a myxoid stroma 😀."),
    pair("several", "H&E, x40", "Sheets of plasma cells.", "Sheets of plasma cells.", "Fig 2"),
    pair("gone", "x200", "See text for details."),
    pair("scan", "CT scan of a nodule in the left lung"),
    pair("named", "Dr. Verylongname saw nests of atypical cells"),
    pair("none"),
    pair("short", "Fat.", split="test"),
    pair("kept", "Adipose tissue between muscle fibres.", split="test", note=1),
]


def test_captions_are_cleaned_one_by_one_and_nothing_is_lost_in_silence(build: Build, write_artefact: Write) -> None:
    out = build(CLEAN, f"data={write_artefact(PAIRS, classes=['a'])}") / "image_text"
    artefact = open_artefact(out)
    found = {record.id.removeprefix("s/"): record for record in artefact.records(ImageText)}
    assert found["good"].captions == ("Nests of atypical cells in a myxoid stroma.",)
    assert found["good"].extra["cleaned"] == {"emoji": 1, "figure_number": 1}
    assert found["several"].captions == ("Sheets of plasma cells.",)
    assert found["several"].extra["cleaned"] == {"dropped_boilerplate": 1, "dropped_magnification_only": 1, "dropped_repeated": 1}
    assert (found["kept"].extra, found["kept"].split, found["kept"].image) == ({"note": 1}, "test", b"not looked at")
    why = {
        "gone": "magnification_only",
        "scan": "not_histology_radiology",
        "named": "patient_data",
        "none": "no_caption",
        "short": "too_short",
    }
    assert rejects(out) == why
    assert artefact.manifest["counts"]["in"] == len(PAIRS)
    assert artefact.classes == ("a",)
    assert verify(artefact) == []
    assert not any(b"Verylongname" in path.read_bytes() for path in out.rglob("*") if path.is_file())


TELLING = "Mrs. Susan Verylongname, MRN 4482913, has nests"


@pytest.mark.parametrize(("action", "left"), [("reject", "[patient_data]"), ("mask", "Mrs. [name], MRN [record_number], has nests")])
def test_what_extra_tells_of_a_patient_goes_with_the_caption(build: Build, write_artefact: Write, action: str, left: str) -> None:
    more = {"noisy_text": [TELLING, "Nests of cells"], "roi": {"text": TELLING}, "image_id": "S22-12345", "width": 3}
    rows = [pair("two", TELLING, "Nests of atypical cells in a myxoid stroma.", **more)]
    out = build(CLEAN, f"data={write_artefact(rows)}", f"rules.patient_data.action={action}") / "image_text"
    extra = next(open_artefact(out).records(ImageText)).extra
    assert (extra["noisy_text"], extra["roi"]) == ([left, "Nests of cells"], {"text": left})
    assert (extra["image_id"], extra["width"]) == ("S22-12345", 3)
    assert extra["cleaned"]["extra_patient_data"] >= 2
    assert not any(word in path.read_bytes() for path in out.rglob("*.parquet") for word in (b"Verylongname", b"4482913"))


@pytest.mark.parametrize("kind", ["conversations", "slides"])
def test_other_kinds_lose_what_extra_tells_of_a_patient(build: Build, write_artefact: Write, kind: str) -> None:
    record = talk("a", "What?", "Nests of cells.", extra={"why": TELLING})
    row = record if kind == "conversations" else Slide(**common("a"), path="a.svs", report="Nests of cells.", extra={"why": TELLING})
    out = build(CLEAN, f"data={write_artefact([row])}") / kind
    extra = next(open_artefact(out).records(type(row))).extra
    assert "Verylongname" not in extra["why"]
    assert "4482913" not in extra["why"]


def test_cleaning_what_is_clean_changes_nothing(build: Build, write_artefact: Write) -> None:
    once = build(CLEAN, f"data={write_artefact(PAIRS)}", out="once") / "image_text"
    twice = build(CLEAN, f"data={once}", out="twice") / "image_text"
    assert list(open_artefact(twice).records(ImageText)) == list(open_artefact(once).records(ImageText))


def test_thresholds_and_lists_are_those_of_the_recipe(build: Build, write_artefact: Write, tmp_path: Path) -> None:
    lists = tmp_path / "lists.yaml"
    lists.write_text("version: 1\nlists: {histology: [stroma], muscle: [muscle*]}\n")
    data = write_artefact(PAIRS)
    changed = ["rules.length.min_words=1", "rules.patient_data.action=mask", f"rules.modality.words={lists}", "splits=[test]"]
    out = build(CLEAN, f"data={data}", *changed) / "image_text"
    assert [record.captions for record in open_artefact(out).records(ImageText)] == [("Fat.",)]
    assert rejects(out) == {"kept": "not_histology_muscle"}
    assert open_artefact(out).plan.settings["rules"]["modality"]["words"]["lists"]["muscle"] == ["muscle*"]
    everything = build(CLEAN, f"data={data}", "rules.modality=null", "rules.patient_data=null", out="all") / "image_text"
    assert set(rejects(everything)) == {"gone", "none", "short"}
    with pytest.raises(ConfigError, match="allowed: strip, reject"):
        build(CLEAN, f"data={data}", "rules.links.action=burn", out="wrong")


COMPOUND = "Renal oncocytoma. (A) Nests of round cells; (B) a central scar with vessels."


@pytest.mark.parametrize(
    ("panels", "captions", "why"),
    [
        ("keep", {"whole": COMPOUND, "b": COMPOUND, "c": COMPOUND}, {}),
        (
            "take",
            {"b": "Renal oncocytoma. a central scar with vessels."},
            {"whole": "compound_unknown_panel", "c": "compound_unknown_panel"},
        ),
        ("reject", {}, {"whole": "compound", "b": "compound", "c": "compound"}),
    ],
)
def test_compound_captions(build: Build, write_artefact: Write, panels: str, captions: dict[str, str], why: dict[str, str]) -> None:
    plain = "Nests of cells in a stroma."
    rows = [pair("plain", plain, panel="A"), pair("whole", COMPOUND), pair("b", COMPOUND, panel="b"), pair("c", COMPOUND, panel="C")]
    out = build(CLEAN, f"data={write_artefact(rows)}", f"panels={panels}") / "image_text"
    found = {record.id.removeprefix("s/"): record.captions[0] for record in open_artefact(out).records(ImageText)}
    assert found == {"plain": plain, **captions}
    assert ((out / "rejects").exists() and rejects(out)) == (why or False)


@pytest.mark.parametrize(("panels", "why"), [("take", {"b": "compound_gap"}), ("reject", {"b": "compound_gap"}), ("keep", {})])
def test_no_panel_is_given_text_that_may_be_of_one_whose_letter_is_left_out(
    build: Build, write_artefact: Write, panels: str, why: dict[str, str]
) -> None:
    rows = [pair("b", "(A) Nests of round cells; (B) a central scar; (D) necrosis of glands.", panel="B"), PAIRS[0]]
    out = build(CLEAN, f"data={write_artefact(rows)}", f"panels={panels}") / "image_text"
    assert ((out / "rejects").exists() and rejects(out)) == (why or False)


def test_conversations_keep_short_answers_and_lose_what_names_a_patient(build: Build, write_artefact: Write) -> None:
    rows = [
        talk("yes", "Is it benign? https://a.b/c", "Yes", "closed", answer="Yes", options=("Yes", "No")),
        talk("count", "How many?", "12"),
        talk("caption", "Describe it.", "x40", "caption"),
        talk("named", "What did Dr. Verylongname see?", "Cancer."),
        talk("mojibake", "Which pathway?", "TGFÎ²", answer="TGFÎ²"),
    ]
    out = build(CLEAN, f"data={write_artefact(rows)}") / "conversations"
    found = {record.id.removeprefix("s/"): record for record in open_artefact(out).records(Conversation)}
    assert found["yes"].messages[0].text == "Is it benign?"
    assert (found["yes"].messages[1].text, found["yes"].options, found["yes"].extra) == ("Yes", ("Yes", "No"), {"cleaned": {"link": 1}})
    assert found["count"].messages == rows[1].messages
    assert found["mojibake"].messages[1].text == found["mojibake"].answer == "TGFβ"
    assert rejects(out) == {"caption": "magnification_only", "named": "patient_data"}
    assert not any(b"Verylongname" in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_reports_keep_what_a_slide_shows_and_the_rest_apart(build: Build, write_artefact: Write) -> None:
    report = "Pathologist: Anna Vermeer\nHistory: seen on 04-10-2024.\nMicroscopy: Nests of atypical cells. CK7 is positive."
    rows = [slide("one", report), slide("two", "Gross: grey."), slide("three", None)]
    out = build(CLEAN, f"data={write_artefact(rows)}") / "slides"
    found = {record.id.removeprefix("s/"): record for record in open_artefact(out).records(Slide)}
    assert found["one"].report == "Nests of atypical cells."
    assert found["one"].extra["cleaned"] == {"masked_date": 1, "masked_name": 1}
    assert found["one"].extra["dropped"] == [
        {"sentence": "[name]", "reason": "administrative"},
        {"sentence": "seen on [date].", "reason": "clinical"},
        {"sentence": "CK7 is positive.", "reason": "immunohistochemistry"},
    ]
    assert found["three"] == rows[2]
    assert rejects(out) == {"two": "nothing_visible"}
    assert not any(b"Vermeer" in path.read_bytes() for path in out.rglob("*") if path.is_file())


@pytest.mark.parametrize(("given", "kept"), [(True, True), ("yes", "yes"), ({"x": "text"}, {"x": "text"}), ("no", "no")])
def test_what_a_publisher_calls_as_we_do_is_kept_beside_ours(build: Build, write_artefact: Write, given: Any, kept: Any) -> None:
    row = pair("one", "Figure 1. Nests of atypical cells in a myxoid stroma.", cleaned=given, cleaned_given=1)
    (found,) = open_artefact(build(CLEAN, f"data={write_artefact([row], 'pairs')}", out="pairs-out") / "image_text").records(ImageText)
    assert found.extra == {"cleaned_given_": kept, "cleaned_given": 1, "cleaned": {"figure_number": 1}}
    report = Slide(**common("r"), path="r.svs", report="Nests of cells. CK7 is positive.", extra={"dropped": given})
    (told,) = open_artefact(build(CLEAN, f"data={write_artefact([report], 'reports')}", out="reports-out") / "slides").records(Slide)
    assert told.extra == {"dropped_given": kept, "dropped": [{"sentence": "CK7 is positive.", "reason": "immunohistochemistry"}]}


def test_two_processes_make_the_same_bytes_as_one(build: Build, write_artefact: Write) -> None:
    data = write_artefact(PAIRS)
    one, two = (build(CLEAN, f"data={data}", out=f"w{workers}", workers=workers) / "image_text" for workers in (1, 2))
    assert json.loads((one / "manifest.json").read_text())["files"] == json.loads((two / "manifest.json").read_text())["files"]
