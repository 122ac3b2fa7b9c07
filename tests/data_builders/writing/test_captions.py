"""`write_captions`: describe, revise, summarise, verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eosin.artefacts import open_artefact, verify
from eosin.data_builders.writing.prompts import load_prompt
from eosin.data_builders.writing.tokens import clip_tokens
from eosin.errors import ConfigError
from eosin.records import ImageText

Build = Callable[..., Path]


def read(out: Path) -> list[ImageText]:
    return list(open_artefact(out / "image_text").records(ImageText))


def rejects(out: Path) -> list[tuple[str, str]]:
    table = pq.read_table(out / "image_text" / "rejects" / "rejects.parquet").to_pylist()
    return [(row["key"], row["reason"]) for row in table]


def test_a_picture_is_described_revised_and_summarised(build: Build, recipe: Any, captioned: Any, server: Any) -> None:
    out = build(recipe("write_captions", images=str(captioned(5))))
    records = read(out)
    assert [record.id for record in records] == [f"toy/{number:03d}" for number in range(5)]
    first = records[0]
    assert "There is bone." not in first.extra["description"]
    assert first.extra["edits"] == {"applied": 1, "absent": 1, "ambiguous": 0, "idle": 0}
    assert clip_tokens(first.captions[0]) <= 77
    assert (first.organ, first.stain, first.group) == ("colon", "H&E", "case-0")
    assert first.provenance is not None
    assert first.provenance.prompt == "+".join(load_prompt(name).hash for name in ("describe", "revise", "summarise"))
    artefact = open_artefact(out / "image_text")
    assert artefact.manifest["results"] == {
        "answers": {"describe": 5, "revise": 5, "summarise": 5},
        "edits": {"applied": 5, "absent": 5, "ambiguous": 0, "idle": 0},
    }
    assert verify(artefact) == []
    assert len(server.bodies) == 15


def test_the_describer_sees_the_picture_and_the_summariser_only_words(
    build: Build, recipe: Any, captioned: Any, server: Any, kit: Any
) -> None:
    build(recipe("write_captions", images=str(captioned(1))))
    kinds = {kit.asked(body): isinstance(body["messages"][-1]["content"], list) for body in server.bodies}
    assert kinds == {"description": True, "operations": True, "caption": False}
    told = kit.texts_of(server.bodies[0], "user")[0]
    assert "Organ: colon\n" in told
    assert "glands of case" not in told


def test_what_is_told_is_chosen_by_the_recipe(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    build(recipe("write_captions", images=str(captioned(1)), tell=["caption"]))
    assert "Caption: glands of case 0" in kit.texts_of(server.bodies[0], "user")[0]


def test_a_caption_too_long_for_clip_goes_back_with_its_length(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if kit.asked(body) == "caption" and len(body["messages"]) < 4:
            return {"caption": "crowded glands " * 50}
        return dict(kit.good_answer(body))

    server.answer = answer
    (record,) = read(build(recipe("write_captions", images=str(captioned(1)))))
    assert record.extra["answers"]["summarise"] == 2
    assert f"{clip_tokens('crowded glands ' * 50)} CLIP tokens; at most 77" in kit.texts_of(server.bodies[-1], "user")[1]


def test_a_caption_that_stays_too_long_is_rejected(build: Build, recipe: Any, captioned: Any, server: Any, kit: Any) -> None:
    server.answer = lambda body: {"caption": "glands " * 90} if kit.asked(body) == "caption" else kit.good_answer(body)
    assert rejects(build(recipe("write_captions", images=str(captioned(2))))) == [("toy/000", "too_long"), ("toy/001", "too_long")]


def test_edits_that_leave_no_description_go_back_and_are_rejected_at_last(
    build: Build, recipe: Any, captioned: Any, server: Any, kit: Any
) -> None:
    said = "Crowded glands with dark nuclei in a loose stroma."
    bad = {"operations": [{"op": "delete", "find": said}]}

    def answer(body: dict[str, Any], patient: bool = True) -> dict[str, Any]:
        if kit.asked(body) == "operations":
            return {"operations": []} if patient and len(body["messages"]) > 3 else bad
        return {"description": said} if kit.asked(body) == "description" else dict(kit.good_answer(body))

    server.answer = answer
    (record,) = read(build(recipe("write_captions", images=str(captioned(1)))))
    assert (record.extra["description"], record.extra["answers"]["revise"]) == (said, 2)
    server.answer = lambda body: answer(body, patient=False)
    out = build(recipe("write_captions", {"model": "other"}, images=str(captioned(1))), out="never")
    assert rejects(out) == [("toy/000", "no_description_left")]


def test_from_labels_alone_the_label_must_be_found_again_with_its_name_hidden(
    build: Build, recipe: Any, labelled: Any, server: Any, kit: Any
) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if kit.asked(body) == "description":
            return {"description": "This Colon Adenocarcinoma has crowded glands and dark nuclei throughout."}
        return dict(kit.good_answer(body))

    server.answer = answer
    more = {"tell": ["setting", "label"], "describe": "describe-label", "revise": "", "verify": "verify"}
    out = build(recipe("write_captions", images=str(labelled(6)), **more))
    # The stand-in always finds adenocarcinoma: pictures of normal colon are not described by it.
    assert [record.extra["label"] for record in read(out)] == ["colon_aca"] * 3
    assert {reason for _, reason in rejects(out)} == {"label_not_found"}
    verdicts = [kit.texts_of(body, "user")[0] for body in server.bodies if kit.asked(body) == "label"]
    assert all("This [...] has crowded glands" in text.partition("The description:")[2] for text in verdicts)
    assert any("Diagnosis: normal colon tissue" in kit.texts_of(body, "user")[0] for body in server.bodies)


def test_a_label_that_is_none_of_the_classes_is_refused(build: Build, recipe: Any, labelled: Any, server: Any, kit: Any) -> None:
    server.answer = lambda body: {"label": "melanoma"} if kit.asked(body) == "label" else kit.good_answer(body)
    more = {"tell": ["label"], "describe": "describe-label", "verify": "verify"}
    assert {reason for _, reason in rejects(build(recipe("write_captions", images=str(labelled(2)), **more)))} == {"no_such_label"}


def test_verify_without_a_label_is_refused(build: Build, recipe: Any, captioned: Any) -> None:
    with pytest.raises(ConfigError, match="add label to tell"):
        build(recipe("write_captions", images=str(captioned(1)), verify="verify"))


def test_another_budget_address_or_pace_is_the_same_artefact(build: Build, recipe: Any, captioned: Any, server: Any) -> None:
    images = str(captioned(3))
    out = build(recipe("write_captions", images=images))
    sent = len(server.bodies)
    changed = recipe("write_captions", {"concurrency": 1, "timeout": 9.0, "budget": {"requests": 1}}, images=images)
    build(changed, "writer.url=http://127.0.0.1:9/v1")
    assert len(server.bodies) == sent
    with pytest.raises(Exception, match="another plan"):
        build(recipe("write_captions", {"model": "another"}, images=images))
    assert len(read(out)) == 3


def test_a_new_prompt_for_one_step_pays_for_that_step_alone(
    build: Build, recipe: Any, captioned: Any, server: Any, tmp_path: Path, kit: Any
) -> None:
    images = str(captioned(3))
    build(recipe("write_captions", images=images))
    (tmp_path / "shorter.yaml").write_text(
        "version: 2\nimages: false\nuser: 'Shorter: {{description}}'\n"
        "schema: {type: object, required: [caption], properties: {caption: {type: string}}}\n"
    )
    server.bodies.clear()
    build(recipe("write_captions", images=images, summarise=str(tmp_path / "shorter.yaml")), "--overwrite")
    assert [kit.asked(body) for body in server.bodies] == ["caption"] * 3


def test_a_budget_stops_the_build_and_a_larger_one_finishes_it_with_the_same_bytes(
    build: Build, recipe: Any, captioned: Any, server: Any
) -> None:
    images = str(captioned(6))
    straight = build(recipe("write_captions", images=images), out="straight")
    server.bodies.clear()
    with pytest.raises(Exception, match=r"writer\.budget\.requests"):
        build(recipe("write_captions", {"budget": {"requests": 7}}, images=images), out="limited")
    out = build(recipe("write_captions", {"budget": {"requests": 18}}, images=images), out="limited")
    assert len(server.bodies) == 18
    assert [path.read_bytes() for path in sorted((out / "image_text" / "data").iterdir())] == [
        path.read_bytes() for path in sorted((straight / "image_text" / "data").iterdir())
    ]
