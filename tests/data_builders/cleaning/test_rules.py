import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.cleaning.captions import CaptionRules
from eosin.data_builders.cleaning.rules.boilerplate import BoilerplateRule
from eosin.data_builders.cleaning.rules.encoding import EncodingRule
from eosin.data_builders.cleaning.rules.language import LanguageRule
from eosin.data_builders.cleaning.rules.length import LengthRule, estimate_tokens
from eosin.data_builders.cleaning.rules.links import LinksRule
from eosin.data_builders.cleaning.rules.magnification import MagnificationRule
from eosin.data_builders.cleaning.rules.modality import ModalityRule
from eosin.data_builders.cleaning.rules.patient_data import PATTERNS, PatientDataRule, mask
from eosin.data_builders.cleaning.verdict import Dropped, Kept, judge, tidy
from eosin.data_builders.cleaning.word_lists import WordLists, load_word_lists, pattern_of
from eosin.errors import ConfigError

DUTCH = (
    "De tumor is opgebouwd uit velden van atypische cellen met een ruim eosinofiel cytoplasma en vergrote kernen, waarin hier en daar "
    "ook prominente nucleoli aanwezig zijn."
)


def reason(verdict: Kept | Dropped) -> str:
    return verdict.reason if isinstance(verdict, Dropped) else ""


def text(verdict: Kept | Dropped) -> str:
    assert isinstance(verdict, Kept), verdict
    return verdict.text


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        ("TGFÎ² in tumour cells â€“ strong", "TGFβ in tumour cells – strong"),
        ("a\u00adtypi\u200bcal\ufeff cells,  5\u00a0mm", "atypical cells, 5 mm"),
        ("ﬁne “curly” CD4⁺ ≥ 2 × 3 Å", "ﬁne “curly” CD4⁺ ≥ 2 × 3 Å"),
        ("one\r\ntwo\rthree\n\n\n\nfour", "one\ntwo\nthree\n\nfour"),
    ],
)
def test_broken_encodings_are_mended_and_nothing_else_is_touched(given: str, mended: str) -> None:
    assert text(EncodingRule()(given)) == mended


def test_a_text_without_letters_is_empty() -> None:
    assert reason(EncodingRule()(" 12 … \ufffd")) == "empty"


def test_length_counts_words_and_tokens() -> None:
    rule = LengthRule(min_words=3, max_words=5, max_tokens=12)
    assert reason(rule("two – words")) == "too_short"
    assert reason(rule("three short words")) == ""
    assert reason(rule("six words are one too many")) == "too_long"
    assert reason(rule("immunohistochemical pseudostratification lymphangioleiomyomatosis cystadenocarcinoma")) == "too_long"
    with pytest.raises(ConfigError, match="max_words is 0 or at least min_words"):
        LengthRule(min_words=9, max_words=5)


def test_the_estimate_of_tokens_is_near_that_of_clips_tokenizer() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    captions = [
        "Sheets of epithelioid cells with eosinophilic cytoplasm and enlarged, pleomorphic nuclei; some with prominent nucleoli.",
        "Invasive ductal carcinoma of the breast, grade 2, with desmoplastic stroma (H&E, x200).",
        "Colonic mucosa with a tubular adenoma: crowded glands lined by pseudostratified, hyperchromatic nuclei, low-grade dysplasia.",
        "Cortical and spongy bone trabeculae with focal increased osteoclast activity in 3 of 12 fields.",
    ]
    real = [len(tokenizer.encode(caption)) + 2 for caption in captions]
    estimated = [estimate_tokens(caption) for caption in captions]
    assert abs(sum(estimated) / sum(real) - 1) < 0.15
    assert all(abs(guess / count - 1) < 0.3 for guess, count in zip(estimated, real, strict=True))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Read https://x.org/a?b=c now: Dermatofibroma 😍🔬 #dermpath @some_one", "Read now: Dermatofibroma dermpath"),
        ("Tumour (see www.site.com/x).", "Tumour (see)."),
        ("Nests (★) and ✓ marks → arrow; a#b, 5 & 6", "Nests (★) and ✓ marks → arrow; a#b, 5 & 6"),
    ],
)
def test_links_accounts_and_emoji_go_and_the_rest_stays(given: str, kept: str) -> None:
    assert text(LinksRule()(given)) == kept


def test_links_can_reject_and_do_where_nothing_is_left() -> None:
    assert reason(LinksRule()("https://t.co/abc 😀")) == "link"
    assert reason(LinksRule("reject")("carcinoma http://a.b")) == "link"
    assert reason(LinksRule("reject")("#carcinoma of the colon")) == ""


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Figure 3. Sheets of cells (H&E, x200). Scale bar: 50 µm.", "Sheets of cells (H&E, x200)."),
        ("Fig. 2A-C: Low power view. Scale bars = 100 μm and 20 µm. Reproduced with permission from a publisher.", "Low power view."),
        ("Supplementary Figure S4 | Glands.", "Glands."),
        ("FIGURE 12 Tumour cells [12, 13] (see text for details).", "Tumour cells."),
        ("Spindle cells, bar = 20 µm, in a myxoid stroma.", "Spindle cells, in a myxoid stroma."),
        ("Glands. © 2010 The Publisher. All rights reserved.", "Glands."),
        ("Figurative growth of 3 figures in bars of cells.", "Figurative growth of 3 figures in bars of cells."),
        (
            "The tumour forms bars of cells; it was described by Smith et al. in 2003.",
            "The tumour forms bars of cells; it was described by Smith et al. in 2003.",
        ),
    ],
)
def test_boilerplate_goes_and_the_rest_stays(given: str, kept: str) -> None:
    assert text(BoilerplateRule()(given)) == kept


@pytest.mark.parametrize("given", ["Figure 3.", "Scale bar, 50 µm (see text).", "See text for details.", "Image courtesy of a friend."])
def test_boilerplate_alone_is_no_caption(given: str) -> None:
    assert reason(BoilerplateRule()(given)) == "boilerplate"


@pytest.mark.parametrize(
    "given",
    [
        "x40",
        "H&E, 200x",
        "Original magnification ×400.",
        "(HE stain, 10 ×)",
        "Hematoxylin and eosin, low power",
        "Higher magnification of the same field.",
    ],
)
def test_magnification_alone_is_no_caption(given: str) -> None:
    assert reason(MagnificationRule()(given)) == "magnification_only"


@pytest.mark.parametrize("given", ["Lipoma, x40", "H&E, 200x, nests", "HER2 stain", "PASD-positive globules"])
def test_magnification_beside_a_finding_is_one(given: str) -> None:
    assert text(MagnificationRule()(given)) == given


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("CT scan of the chest with a nodule; histology proved cancer", "not_histology_radiology"),
        ("Axial T2-weighted sequence", "not_histology_radiology"),
        ("Polyp at colonoscopy", "not_histology_endoscopy"),
        ("The cut surface is grey", "not_histology_gross"),
        ("Kaplan-Meier curves of both arms", "not_histology_plot"),
        ("Schematic of the method", "not_histology_diagram"),
        ("Histology of the nodule that was seen on CT", ""),
        ("Polyp found at colonoscopy: glands with elongated nuclei", "not_histology_endoscopy"),
        ("Section of a polyp that was found at colonoscopy: crowded nuclei", ""),
        ("Signet ring cells in a mucinous background", ""),
        ("pet animals act in a petri dish, sectional growth", ""),
    ],
)
def test_other_pictures_are_known_by_their_words(given: str, why: str) -> None:
    assert reason(ModalityRule(load_word_lists("modality"))(given)) == why


def test_language_goes_by_script_when_short_and_by_stop_words_when_long() -> None:
    rule = LanguageRule(load_word_lists("stop_words"))
    for short in ("invasive ductal carcinoma", "H&E stain, x40", "carcinoma in situ", "TGF-β and µm"):
        assert reason(rule(short)) == ""
    assert reason(rule("浸潤性導管癌 x40")) == "language"
    assert reason(rule("Железистая ткань")) == "language"
    assert reason(rule(DUTCH)) == "language"
    assert reason(LanguageRule(load_word_lists("stop_words"), ("en", "nl"))(DUTCH)) == ""
    english = "Sections show a well-differentiated adenocarcinoma with glands that are lined by columnar cells, and a desmoplastic stroma."
    assert reason(rule(english)) == ""
    assert reason(LanguageRule(load_word_lists("stop_words"), ("nl",))(english)) == "language"
    with pytest.raises(ConfigError, match="there are lists for en, nl"):
        LanguageRule(load_word_lists("stop_words"), ("tlh",))


@pytest.mark.parametrize("language", ["en", "nl", "de", "fr", "es", "it", "pt"])
def test_every_stop_word_is_a_word(language: str) -> None:
    assert all(isinstance(word, str) and word.islower() for word in load_word_lists("stop_words").lists[language])


@pytest.mark.parametrize(
    ("given", "masked"),
    [
        ("Dr. J. van der Berg saw it", "Dr. [name] saw it"),
        ("Patient name: Anna Vermeer, carcinoma", "Patient name: [name], carcinoma"),
        ("Pathologist: Violet Marinus", "Pathologist: [name]"),
        ("mail a.b@lab.example.org now", "mail [email] now"),
        ("DOB: 01/02/1950", "DOB: [date_of_birth]"),
        ("geboren op 3 mei 1949 te", "geboren op [date_of_birth] te"),
        ("MRN: 00123456", "MRN: [record_number]"),
        ("patiëntnummer 1234567", "patiëntnummer [record_number]"),
        ("Accession no. S22-12345", "Accession no. [case_number]"),
        ("see T 24-817623 and T24-817631", "see [case_number] and [case_number]"),
        ("call 020-1234567 or (555) 123-4567 or +31 20 123 4567", "call [phone] or [phone] or [phone]"),
        ("Tel: 12 34 56 78", "Tel: [phone]"),
        ("Patient: DOE, JANE. Nests in Jane Doe and DOE, JANE.", "Patient: [name]. Nests in [name] and [name]."),
        ("PATIENT NAME: Jane Q. Public, in nests", "PATIENT NAME: [name], in nests"),
        ("Naam: Jansen, P. en klieren", "Naam: [name] en klieren"),
        ("De heer Van den Berg, T12-34567.", "De heer [name], [case_number]."),
        ("Electronically signed by Robert Brown, M.D. Nests.", "Electronically signed by [name], M.D. Nests."),
        ("read by Robert Brown, MD", "read by [name], MD"),
        ("Accession #: S-12-3456. Nests.", "Accession #: [case_number]. Nests."),
        ("Mrs. Brown has brown granules, says Brown", "Mrs. [name] has brown granules, says [name]"),
        ("on October 4, 2024 and 04-10-2024 and 2024-10-04", "on [date] and [date] and [date]"),
    ],
)
def test_patient_data_is_masked_where_it_stands(given: str, masked: str) -> None:
    assert mask(given)[0] == masked
    assert reason(PatientDataRule()(given)) == "patient_data"


@pytest.mark.parametrize(
    "given",
    [
        "Gleason score 3 + 4 = 7, 12 of 40 fields, 2.2 cm x 1.9 cm x 1.6 cm",
        "TCGA-A1-A0SB stays, so do PD-L1 (22C3), TTF-1, CK20, SARS-CoV-2, HMB-45 and p16",
        "published in 2010; WHO 2021 grade 3; 100-200 cells; ratio 1/2/3",
        "Patient: unknown",
        "MR Imaging of the breast, signed out by the second reader",
        "Hodgkin, Reed-Sternberg and Langerhans cells; a drug-induced change",
    ],
)
def test_what_is_no_patient_data_is_left(given: str) -> None:
    assert mask(given) == (given, {})


def test_a_drop_for_patient_data_does_not_repeat_it() -> None:
    verdict = PatientDataRule()("Dr. Verylongname, MRN 5554443")
    assert isinstance(verdict, Dropped)
    assert "Verylongname" not in verdict.message
    assert "5554443" not in verdict.message


def test_kinds_of_patient_data_are_a_closed_set() -> None:
    assert text(PatientDataRule("mask", ("email",))("Dr. Xu, a@b.nl")) == "Dr. Xu, [email]"
    with pytest.raises(ConfigError, match="no kind shoe_size; allowed: email"):
        PatientDataRule(kinds=("shoe_size",))


def test_a_word_list_matches_whole_words_endings_and_capitals_as_written() -> None:
    pattern = pattern_of(["CT", "nod*", "cut surface", "*onderzoek"])
    assert [found.group(0) for found in pattern.finditer("CT ct Nodule denode cut\n surface")] == ["CT", "Nodule", "cut\n surface"]
    assert pattern.fullmatch("pa aanvullend onderzoek")
    with pytest.raises(ConfigError, match="empty term"):
        WordLists(1, {"a": ("*",)})


def test_rules_are_left_out_by_null_and_their_lists_are_in_the_plan() -> None:
    assert len(CaptionRules().chain()) == 8
    rules = CaptionRules(modality=None, length=None, patient_data=None)
    assert len(rules.chain()) == 5
    assert rules.settings()["modality"] is None
    assert "het" in rules.settings()["language"]["words"]["lists"]["nl"]


WRITING = st.text(alphabet=st.sampled_from("aA bcé,.;:()[]#@x×0123456789µ-/\n\u200bÎ²Dr. Fig H&E©☺"), max_size=80)


@given(WRITING)
def test_cleaning_twice_is_cleaning_once(given: str) -> None:
    rules = CaptionRules(patient_data=PatientDataRule("mask"), length=None).chain()
    once = judge(given, rules)
    if isinstance(once, Kept):
        again = judge(once.text, rules)
        assert isinstance(again, Kept)
        assert again.text == once.text


@given(WRITING)
def test_tidying_and_masking_settle(given: str) -> None:
    assert tidy(tidy(given)) == tidy(given)
    assert mask(mask(given)[0])[0] == mask(given)[0]
    assert set(mask(given)[1]) <= set(PATTERNS)
