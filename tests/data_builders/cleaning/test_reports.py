import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.cleaning.reports import load_report_words, report_pieces, visible_report
from eosin.data_builders.cleaning.sections import split_sections
from eosin.data_builders.cleaning.sentences import split_sentences
from eosin.data_builders.cleaning.word_lists import WordLists
from eosin.errors import ConfigError

WORDS = load_report_words()
ENGLISH = """Pathologist: V. Verne
Date of Report: October 4, 2024
Clinical Information: Nodule in the left lung, known with emphysema.

MACROSCOPY (April 1, 2024):
Received in formalin, a fragment of 2.2 x 1.9 cm.
MICROSCOPY:
Date: April 2
Lung tissue with nests of atypical cells. Tumour extends over 9 mm. Nuclei are enlarged, e.g. at the edge, with nucleoli, diameter 14 mm.
Mitoses: 5 per 2 mm2. Tumor cells are positive for CK7 and TTF-1. The margins are free.
Immunohistochemistry:
Strong and diffuse staining.
CONCLUSION:
Adenocarcinoma.
0 of 12 lymph nodes positive. pT2 N0. EGFR: no mutation found.
Addendum (April 9): The nests are atypical.
Electronically signed by Dr. Verne.
"""
DUTCH = (
    "SAMENVATTING: Patholoog: PPan Datum ontvangst: 01/04/2019 CONCLUSIE: Botbiopten: botweefsel met een adenocarcinoom, "
    "grootste afmeting 12 mm. TTF-1 is positief. 4 okt 2024 AANVULLING (Lbu): buisvorming is aanwezig. "
    "MACROSCOPIE: vers ontvangen, grijs weefsel. "
    "T.i. 1b. PPan MICROSCOPIE: 2 april. De kernen zijn vergroot, bijv. aan de rand."
    " Immunohistochemie: sterke kleuring. ISO: het lab is bekend."
)


def test_fields_of_masks_and_counts_of_nodes_are_no_findings() -> None:
    report = "DOB: [date_of_birth]. Accession #: [case_number]. Lymph nodes 0/12 negative. 2 of 14 nodes hold tumour. 3/5 nuclei are large."
    found = visible_report(f"{report} Nests beside those seen on [date] in the dermis.", WORDS)
    assert found.text == "3/5 nuclei are large. Nests beside those seen on [date] in the dermis."
    assert [piece.reason for piece in found.dropped] == ["administrative", "administrative", "nodes", "nodes"]


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("Ki-67 is 30%.", "immunohistochemistry"),
        ("PD-L1 TPS 50%.", "immunohistochemistry"),
        ("MSI-H.", "molecular"),
        ("PPa 12.", "fragment"),
    ],
)
def test_a_short_result_is_dropped_for_what_it_speaks_of(sentence: str, reason: str) -> None:
    found = visible_report(f"{sentence} Nests of atypical cells.", WORDS)
    assert (found.text, [piece.reason for piece in found.dropped]) == ("Nests of atypical cells.", [reason])


def test_of_an_english_report_what_a_section_shows_is_kept() -> None:
    found = visible_report(ENGLISH, WORDS)
    assert found.text == (
        "Lung tissue with nests of atypical cells. Nuclei are enlarged, e.g. at the edge, with nucleoli.\nMitoses: 5 per 2 mm2.\n"
        "Adenocarcinoma."
    )
    why = {piece.text: piece.reason for piece in found.dropped}
    assert why["Tumour extends over 9 mm."] == why["diameter 14 mm."] == "measurement"
    assert why["Nodule in the left lung, known with emphysema."] == "clinical"
    assert why["Received in formalin, a fragment of 2.2 x 1.9 cm."] == "gross"
    assert why["Tumor cells are positive for CK7 and TTF-1."] == why["Strong and diffuse staining."] == "immunohistochemistry"
    assert why["The margins are free."] == "margins"
    assert why["0 of 12 lymph nodes positive."] == "nodes"
    assert why["EGFR: no mutation found."] == "molecular"
    assert why["pT2 N0."] in ("staging", "fragment")
    assert why["The nests are atypical."] == "addendum"
    assert why["V. Verne"] == why["October 4, 2024"] == "administrative"


def test_of_a_dutch_report_on_one_line_the_same() -> None:
    found = visible_report(DUTCH, WORDS)
    assert found.text == "Botbiopten: botweefsel met een adenocarcinoom.\nDe kernen zijn vergroot, bijv. aan de rand."
    why = {piece.text: piece.reason for piece in found.dropped}
    assert why["buisvorming is aanwezig."] == "addendum"
    assert why["TTF-1 is positief."] == why["sterke kleuring."] == "immunohistochemistry"
    assert why["grootste afmeting 12 mm."] == "measurement"


def test_without_headings_sentences_are_judged_by_their_words_alone() -> None:
    found = visible_report("A 54-year-old man. Sheets of plasma cells, CD138 positive. Amyloid in vessel walls.", WORDS)
    assert found.text == "Amyloid in vessel walls."
    assert [piece.reason for piece in found.dropped] == ["history", "immunohistochemistry"]


def test_a_heading_inside_a_sentence_is_none() -> None:
    sections = split_sections("Microscopy: the diagnosis was hard, gross: no. PD-L1 immunohistochemistry: positive", WORDS.headings)
    assert [section.name for section in sections] == ["visible"]
    with pytest.raises(ConfigError, match="a list called visible is wanted"):
        split_sections("", WordLists(1, {"gross": ("gross",)}))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Seen by Dr. Verne, e.g. in No. 3 of 2.5 mm. Next.", 2),
        ("Atypia, cf. Fig. 2, is present. It is mild! Is it? Yes.", 4),
        ("T.i. 1b. Afwijkingen i.v.m. ontsteking. M.n. links.", 3),
        ("Gezien door G. Van Veen. Einde.", 2),
        ("A line that is broken\nfor the page. Next line\nSamples I: yes", 3),
        ("Biobank: No. Submission follows.", 2),
        ("Grade II. The stroma (see above.) is loose... and wide.", 2),
    ],
)
def test_abbreviations_initials_and_decimals_end_no_sentence(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


LINE = st.one_of(
    st.sampled_from(
        [
            "MICROSCOPY:",
            "Conclusion: ",
            "Macroscopie:\n",
            "Date: ",
            "CONCLUSIE: ",
            " Immunohistochemistry:",
            "AANVULLING (x); ",
            "\n",
            "\n\n",
            "Nests of atypical cells. ",
            "Tumour, 14 mm, is grey. ",
            "CK7 positive. ",
            "Fig. 2 (3 mm) shows e.g. nuclei; ",
            "large nuclei, over 3 cm. ",
        ]
    ),
    st.text("abc ABC.,;:()0123456789\n", max_size=12),
)
REPORT = st.lists(LINE, max_size=14).map("".join)


@given(REPORT)
def test_no_character_of_a_report_is_lost(report: str) -> None:
    assert "".join(split_sentences(report)) == report
    assert "".join(piece.text for piece in report_pieces(report, WORDS)) == report


@given(REPORT)
def test_what_was_found_visible_stays_visible(report: str) -> None:
    once = visible_report(report, WORDS)
    assert visible_report(once.text, WORDS).text == once.text


def real_reports() -> list[Path]:
    root = os.environ.get("EOSIN_REAL_DATA")
    return sorted(Path(root, "text", "dragon_reports").glob("*/Task0[01]*.md")) if root else []


def own_reports(folder: Path) -> list[Path]:
    for name, text in (("english.md", ENGLISH), ("dutch.md", DUTCH)):
        (folder / name).write_text(f"# sample\n```\n{text}\n```\n")
    return sorted(folder.glob("*.md"))


def test_reports_as_they_are_written_lose_their_stains_and_sizes_and_no_character(tmp_path: Path) -> None:
    for path in real_reports() or own_reports(tmp_path):
        report = path.read_text(encoding="utf-8").split("```")[1]
        found = visible_report(report, WORDS)
        assert "".join(piece.text for piece in report_pieces(report, WORDS)) == report
        for word in ("TTF", "PD-L1", "CK7", "mutati", " mm.", "formalin", "ISO 15189", "ANONYMIZED", "biobank"):
            assert word not in found.text, (path, word)
        if "icro" in report or "MICRO" in report:
            assert "tumor" in found.text.casefold() or "carcinoom" in found.text or "carcinoma" in found.text
            assert len(found.text) < 0.8 * len(report)
