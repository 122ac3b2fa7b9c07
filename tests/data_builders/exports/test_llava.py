"""LLaVA's JSON and images, read back as its data loader reads them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.artefacts import Artefact, open_artefact, verify
from eosin.data_builders.cli import main
from eosin.data_builders.exports import llava
from eosin.data_builders.exports.llava import IMAGE_TOKEN, value_of
from eosin.errors import ArtefactError
from eosin.images import decode_image
from eosin.records import Conversation, ImageText, Message, Part, Record

Write = Callable[..., Artefact]
Export = Callable[..., Path]
Restore = Callable[..., Record]


def entries(out: Path, split: str = "train") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / f"files/{split}.json").read_text(encoding="utf-8"))
    return found


def images_of(out: Path, entry: dict[str, Any]) -> list[bytes]:
    names = entry.get("image", [])
    return [(out / "files" / name).read_bytes() for name in ([names] if isinstance(names, str) else names)]


def parts_of(value: str) -> tuple[Part, ...]:
    """A value taken apart at its image tokens, as LLaVA's tokenizer does it; the line breaks beside them go."""
    found: list[Part] = []
    for place, piece in enumerate(value.split(IMAGE_TOKEN)):
        if place:
            found.append(Part("image"))
        text = piece.removeprefix("\n") if place else piece
        text = text.removesuffix("\n") if place < value.count(IMAGE_TOKEN) else text
        if text:
            found.append(Part("text", text))
    return tuple(found)


def test_conversations_come_back_whole(write: Write, export: Export, restore: Restore, conversations: list[Conversation]) -> None:
    out = export("llava", write(conversations))
    back = []
    for entry in entries(out) + entries(out, "val"):
        roles = {"human": "user", "gpt": "assistant"}
        messages = tuple(Message(roles[turn["from"]], parts_of(turn["value"])) for turn in entry["conversations"])
        back.append(restore(Conversation, entry["eosin"], id=entry["id"], messages=messages, images=tuple(images_of(out, entry))))
    turned, expected = back.pop(), conversations[-1]
    assert back == conversations[:-1]
    assert {**vars(turned), "images": None} == {**vars(expected), "images": None}
    assert (decode_image(turned.images[0]) == decode_image(expected.images[0])).all()


def test_pairs_become_the_turns_of_pretraining_and_keep_all_captions(
    write: Write, export: Export, restore: Restore, pairs: list[ImageText]
) -> None:
    out = export("llava", write(pairs))
    for entry, record in zip(entries(out) + entries(out, "test"), pairs, strict=True):
        assert entry["conversations"] == [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": record.captions[0]}]
        back = restore(ImageText, entry["eosin"], id=entry["id"], image=b"")
        assert back == dataclasses.replace(record, image=b"")


def read_back(out: Path, *options: str) -> tuple[Artefact, dict[str, Conversation]]:
    back = out.parent / f"back-{len(list(out.parent.glob('back-*')))}"
    main(["data/source", "source=llava", f"folder={out / 'files'}", *options, "--out", str(back)])
    found = open_artefact(back / "conversations")
    return found, {record.id: record for record in found.records(Conversation)}


def test_the_source_reads_conversations_back_as_they_were(
    write: Write, export: Export, tmp_path: Path, conversations: list[Conversation]
) -> None:
    out = export("llava", write(conversations, groups_unknown="no patients are told"))
    (out / "files/val.json").rename(out / "files/others.json")
    found, back = read_back(out)
    assert found.manifest["counts"]["rejected"] == {}
    for record in conversations:
        # The last one's image lies on its side, and went out as it is seen.
        images = back[record.id].images if record is conversations[-1] else record.images
        assert back[record.id] == dataclasses.replace(record, images=images)
    assert found.plan.facts["groups_unknown"] == "no patients are told"
    _, named = read_back(out, "options.group=id")
    assert named["s/q.1"].group == "s/q.1"


def test_the_source_reads_pairs_back_as_questions_for_a_caption(
    write: Write, export: Export, tmp_path: Path, pairs: list[ImageText]
) -> None:
    found, back = read_back(export("llava", write(pairs)))
    assert "groups_unknown" not in found.plan.facts
    assert set(back) == {record.id for record in pairs}
    for record in pairs:
        one = back[record.id]
        common = ("source", "licence", "group", "split", "slide", "mpp", "provenance")
        assert [getattr(one, name) for name in common] == [getattr(record, name) for name in common]
        assert (one.task, one.answer, one.messages[0].content) == ("caption", record.captions[0], (Part("image"),))
        assert one.extra["captions"] == list(record.captions)
    assert back["s/case.7/tile 1.v2.jpg"].extra["ä"] == [1, {"b": None}]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("mpp", "wide", "broken_record"),
        ("mpp", 10**400, "broken_record"),
        ("slide", "\ud83d", "broken_text"),
        ("extra", [1], "broken_record"),
    ],
)
def test_columns_that_fit_no_record_are_a_reject(
    write: Write, export: Export, conversations: list[Conversation], column: str, value: Any, reason: str
) -> None:
    out = export("llava", write(conversations[:2]))
    first, second = entries(out)
    first["eosin"][column] = value
    (out / "files/train.json").write_text(json.dumps([first, second]))
    found, back = read_back(out)
    assert found.manifest["counts"]["rejected"] == {reason: 1}
    assert list(back) == ["s/q.2"]


def test_an_image_of_many_conversations_is_one_file(write: Write, export: Export, conversations: list[Conversation]) -> None:
    out = export("llava", write(conversations))
    assert len(list((out / "files/images").rglob("*.*"))) == 3
    first, second, third, none, *_ = entries(out)
    assert first["image"] == second["image"] == third["image"][0]
    assert "image" not in none


@pytest.mark.parametrize(
    ("reason", "messages"),
    [
        ("role", [("system", ["Be brief."]), ("user", ["a"]), ("assistant", ["b"])]),
        ("role", [("user", ["a"]), ("assistant", ["b"]), ("tool", ["c"]), ("assistant", ["d"])]),
        ("turns", [("user", ["a"]), ("user", ["b"]), ("assistant", ["c"])]),
        ("turns", [("assistant", ["a"]), ("user", ["b"])]),
        ("turns", [("user", ["a"])]),
        ("turns", []),
        ("slide", [("user", [Part("slide", "W1"), "a"]), ("assistant", ["b"])]),
        ("image_token", [("user", ["what is <image>?"]), ("assistant", ["b"])]),
        ("image_in_answer", [("user", ["a"]), ("assistant", ["b", Part("image")])]),
    ],
)
def test_what_llava_would_stumble_over_is_a_named_reject(
    write: Write, export: Export, conversations: list[Conversation], reason: str, messages: Sequence[tuple[str, list[Any]]]
) -> None:
    turns = tuple(
        Message(role, tuple(part if isinstance(part, Part) else Part("text", part) for part in parts)) for role, parts in messages
    )
    shown = sum(part.type == "image" for turn in turns for part in turn.content)
    odd = dataclasses.replace(conversations[0], id="s/odd", messages=turns, images=conversations[0].images * shown)
    artefact = open_artefact(export("llava", write([odd, *conversations])))
    assert artefact.manifest["counts"] == {"in": 6, "out": 5, "rejected": {reason: 1}}
    assert "s/odd" not in [entry["id"] for entry in entries(artefact.path)]


def test_a_split_without_any_entry_is_an_empty_list(write: Write, export: Export, conversations: list[Conversation]) -> None:
    assert entries(export("llava", write([dataclasses.replace(conversations[0], messages=(), images=())]))) == []


def test_many_parts_are_joined_in_their_order_whatever_finished_first(
    write: Write, export: Export, conversations: list[Conversation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava, "RECORDS_A_TASK", 2)
    data = write([dataclasses.replace(conversations[number % 4], id=f"s/{number:02d}") for number in range(11)])
    one, two = export("llava", data), export("llava", data, out="two", workers=2)
    assert [entry["id"] for entry in entries(one)] == [f"s/{number:02d}" for number in range(11)]
    names = [path.relative_to(one) for path in sorted(one.rglob("*")) if path.is_file() and path.name not in ("run.json", ".lock")]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    assert verify(open_artefact(one)) == []
    assert not (one / "_work").exists()


def test_a_run_that_ended_after_the_join_is_finished_and_one_without_its_parts_says_so(
    write: Write, export: Export, conversations: list[Conversation]
) -> None:
    data = write(conversations)
    out = export("llava", data)
    manifest = (out / "manifest.json").read_bytes()
    (out / "manifest.json").unlink()
    assert (export("llava", data) / "manifest.json").read_bytes() == manifest
    (out / "manifest.json").unlink()
    (out / "files/train.json").unlink()
    with pytest.raises(ArtefactError, match=r"train-000000000\.jsonl is gone; build the artefact again with --overwrite"):
        export("llava", data)


@given(st.lists(st.one_of(st.none(), st.text(min_size=1).filter(lambda text: IMAGE_TOKEN not in text)), max_size=6))
def test_the_images_of_a_message_keep_their_number_and_place(parts: list[str | None]) -> None:
    message = Message("user", tuple(Part("image") if part is None else Part("text", part) for part in parts))
    value = value_of(message)
    assert value.count(IMAGE_TOKEN) == parts.count(None)
    assert value.split("\n") == [line for part in parts for line in (IMAGE_TOKEN if part is None else part).split("\n")] or not parts
