import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.cleaning.panels import NotSplit, Panels, split_panels


def parts(caption: str) -> list[tuple[str, str]]:
    found = split_panels(caption)
    assert isinstance(found, Panels), found
    return [("".join(part.labels), part.text) for part in found.parts]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A, low power view. B, nests of cells.", [("A", "low power view."), ("B", "nests of cells.")]),
        ("(a) Tumour; (b) stroma; (c) vessels.", [("A", "Tumour"), ("B", "stroma"), ("C", "vessels.")]),
        ("Nevus. (A-C) Low power; (D) high power.", [("ABC", "Low power"), ("D", "high power.")]),
        ("A and B: Glands. C: Stroma.", [("AB", "Glands."), ("C", "Stroma.")]),
        ("Photomicrographs of (a) glands, (b) stroma and (c) fat.", [("A", "glands"), ("B", "stroma"), ("C", "fat.")]),
        ("Left: glands. Right: stroma (arrow).", [("left", "glands."), ("right", "stroma (arrow).")]),
        ("Upper left: fat; lower right: nerve.", [("upper left", "fat"), ("lower right", "nerve.")]),
        ("(A) Glands, higher power in (B). (B) Glands as in (A).", [("A", "Glands, higher power in (B)."), ("B", "Glands as in (A).")]),
        ("A. Vitamin A deficiency. B. Grade B lesion.", [("A", "Vitamin A deficiency."), ("B", "Grade B lesion.")]),
        ("A – fat. B – nerve.", [("A", "fat."), ("B", "nerve.")]),
        ("Panel A: glands. Panel B: stroma.", [("A", "glands."), ("B", "stroma.")]),
        ("A: glands\nB: stroma", [("A", "glands"), ("B", "stroma")]),
        ("Left: glands\nRight: fat", [("left", "glands"), ("right", "fat")]),
        ("(A) Low; (B) vessel (V) and nerve (N).", [("A", "Low"), ("B", "vessel (V) and nerve (N).")]),
        ("A. Glands. B. Pus. E. coli are seen.", [("A", "Glands."), ("B", "Pus. E. coli are seen.")]),
        ("A: Low power. B: High power. T: tumour; S: stroma.", [("A", "Low power."), ("B", "High power. T: tumour; S: stroma.")]),
        ("A, Skin biopsy. B, Immunostain. V, vessel.", [("A", "Skin biopsy."), ("B", "Immunostain. V, vessel.")]),
        ("(A) HE stain; (B) CD20. (O) oil immersion", [("A", "HE stain"), ("B", "CD20. (O) oil immersion")]),
        ("(A) Low power; (B) high power. Arrows, (N) necrosis.", [("A", "Low power"), ("B", "high power. Arrows, (N) necrosis.")]),
        ("(A) Glands. (B) Stroma as in (D).", [("A", "Glands."), ("B", "Stroma as in (D).")]),
    ],
)
def test_ways_of_writing_panels(caption: str, expected: list[tuple[str, str]]) -> None:
    assert parts(caption) == expected


def test_a_panel_is_told_with_what_is_said_of_all() -> None:
    found = split_panels("Renal oncocytoma. (A, B) Nests of cells; (C) central scar.")
    assert isinstance(found, Panels)
    assert found.of("b") == "Renal oncocytoma. Nests of cells"
    assert found.of("(C)") == "Renal oncocytoma. central scar."
    assert found.of("D") is None


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("Nests of cells in a myxoid stroma.", "no_labels"),
        ("A tumour of the left lung, right side spared.", "no_labels"),
        ("A, nests of cells.", "one_label"),
        ("B, nests. C, stroma.", "no_labels"),
        ("Glands (A) and stroma (B).", "labels_follow_text"),
        ("Tumour (A) and stroma (B) of the colon.", "labels_follow_text"),
        ("(A) (B) Glands.", "empty_panel"),
        ("(A) Glands; (B) stroma; (D) necrosis.", "gap"),
        ("(A) Glands. (C) Stroma.", "gap"),
        ("(a) Glands, (b) stroma and (d) necrosis.", "gap"),
        ("A, glands. B, stroma. D, necrosis.", "gap"),
        ("A, glands. B, stroma. E, necrosis. F, fat.", "gap"),
        ("(A) Glands; (B) stroma; (E-F) necrosis.", "gap"),
    ],
)
def test_what_cannot_be_split_says_why(caption: str, reason: str) -> None:
    assert split_panels(caption) == NotSplit(reason)  # type: ignore[arg-type]


LABEL = st.sampled_from(["A", "B", "C", "(A)", "(b)", "(a)", "(A-C)", "A and B", "Left", "Right", "upper left", "Z", "(Y-Z)"])
BIT = st.one_of(
    st.tuples(LABEL, st.sampled_from([", ", ": ", ". ", " ", ") ", " - "])).map("".join),
    st.text(string.ascii_letters + " ,.;()-\n", max_size=12),
)


@given(st.lists(BIT, max_size=10).map("".join))
def test_no_character_of_a_caption_is_lost(caption: str) -> None:
    found = split_panels(caption)
    if isinstance(found, Panels):
        assert found.prefix + "".join(part.mark + part.body for part in found.parts) == caption
        labels = [label for part in found.parts for label in part.labels]
        assert len(labels) == len(set(labels)) >= 2
        assert all(part.text for part in found.parts)


WORDS = st.lists(st.text(string.ascii_lowercase, min_size=2, max_size=8), min_size=1, max_size=5).map(lambda words: f"X{' '.join(words)}")


@given(st.lists(WORDS, min_size=2, max_size=6))
def test_what_was_joined_by_letters_comes_apart_again(texts: list[str]) -> None:
    for style in ("({}) ", "{}, ", "{}: "):
        caption = " ".join(f"{style.format(letter)}{text}." for letter, text in zip(string.ascii_uppercase, texts, strict=False))
        assert [text for _, text in parts(caption)] == [f"{text}." for text in texts]
