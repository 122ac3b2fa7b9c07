"""Patients, articles and videos are recognised wherever publishers write them."""

import pytest

from eosin.data_builders.audit.identifiers import identifiers


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF-D8FB-45CF-B4BD-C6B76294C291", "patient:TCGA-3C-AALI"),
        ("tcga-3c-aali", "patient:TCGA-3C-AALI"),
        ("slides/TCGA-3C-AALI.svs", "patient:TCGA-3C-AALI"),
        ("PMC3029351_fig2", "article:PMC3029351"),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=3", "video:dQw4w9WgXcQ"),
        ("https://youtu.be/dQw4w9WgXcQ", "video:dQw4w9WgXcQ"),
        ("dQw4w9WgXcQ", "video:dQw4w9WgXcQ"),
        ("quilt/dQw4w9WgXcQ", "video:dQw4w9WgXcQ"),
        ("frames/dQw4w9WgXcQ_roi_0a1b2c3d-0000-4000-8000-000000000000.jpg", "video:dQw4w9WgXcQ"),
        ("-b_C-d_roi__image_1111-2222.jpg", "video:-b_C-d_roi_"),
    ],
)
def test_a_name_is_found(text: str, name: str) -> None:
    assert name in identifiers("s", text, ())


@pytest.mark.parametrize(
    "text", ["xTCGA-3C-AALI9", "adenocarcin", "12345678901", "PMC12", "colon_aca/1", "endothelium", "microscopic_image_1.jpg"]
)
def test_other_words_are_not_names(text: str) -> None:
    assert identifiers("s", text, ()) == {f"group:s/{text}"}


@pytest.mark.parametrize("source", ["quilt_1m", "quilt_instruct", "quilt_vqa"])
@pytest.mark.parametrize("text", ["abc1def2gh_", "frames/abc1def2gh__roi_1111-2222.jpg", "ABC1DEF2GH__image_1.jpg"])
def test_sources_that_group_by_video_need_no_letters_of_both_cases(source: str, text: str) -> None:
    assert any(name.casefold() == "video:abc1def2gh_" for name in identifiers(source, text, ()))


def test_a_group_counts_within_its_source_only() -> None:
    assert not identifiers("a", "17", ()) & identifiers("b", "17", ())


def test_ids_and_slides_name_patients_too() -> None:
    assert "patient:TCGA-AB-1234" in identifiers("s", "g", ("s/TCGA-AB-1234-01A.jpg", ""))


def test_a_video_is_one_whether_a_group_or_an_image_is_named_after_it() -> None:
    image, video = "AbCdEfGhIjK_roi_1111-2222.jpg", "AbCdEfGhIjK"
    by_group = identifiers("llava", image, ("llava/data.json#0", ""))
    by_id = identifiers("mine", "7", (f"mine/{image}", ""))
    assert by_group & by_id & identifiers("quilt_1m", video, ("quilt_1m/0", "")) == {f"video:{video}"}
