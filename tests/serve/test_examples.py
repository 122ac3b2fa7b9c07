"""The tiles the page offers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.errors import ArtefactError
from eosin.records import Conversation, LabelledImage, Message, Part, Record
from eosin.serve.examples import read_examples


def artefact(folder: Path, kind: str, splits: dict[str, Sequence[Record]]) -> Path:
    tasks = tuple(Task("toy", 0, len(records), split) for split, records in splits.items())
    plan = Plan(kind, "test", {}, tasks=tasks)
    with ArtefactWriter(folder, plan) as writer:
        for name, task in writer.pending():
            write_shard(folder, kind, name, task.split, list(splits[task.split]))
        writer.finish()
    return folder


def labelled(kit: Any, number: int, label: str, split: str) -> LabelledImage:
    common = {"id": f"toy/{split}-{number}", "source": "toy", "licence": "CC0-1.0", "group": f"g{number}", "split": split}
    return LabelledImage(image=kit.picture((number, 0, 0)), label=label, **common)


def asked(kit: Any, number: int, answer: str | None, images: int = 1) -> Conversation:
    parts = (*(Part("image") for _ in range(images)), Part("text", f"question {number}"))
    turns = (Message("user", parts), Message("assistant", (Part("text", answer or ""),)))
    common = {"id": f"toy/{number}", "source": "toy", "licence": "CC0-1.0", "group": f"g{number}", "split": "test"}
    return Conversation(images=(kit.picture((number, 0, 0)),) * images, messages=turns, task="open", answer=answer, **common)


def test_held_out_tiles_come_one_of_each_class_before_any_class_twice(tmp_path: Path, kit: Any) -> None:
    test = [labelled(kit, number, label, "test") for number, label in enumerate("AAABBC")]
    folder = artefact(tmp_path / "a", "labelled_images", {"test": test, "train": [labelled(kit, 9, "D", "train")]})
    examples = read_examples(folder, 5)
    assert [example.label for example in examples] == ["A", "B", "C", "A", "B"]
    assert examples[0].image == kit.picture((0, 0, 0))
    assert examples[0].question is None


def test_conversations_bring_their_questions_and_only_tiles_with_one_picture_and_an_answer(tmp_path: Path, kit: Any) -> None:
    records = [asked(kit, 0, "yes"), asked(kit, 1, None), asked(kit, 2, "tumour", images=2), asked(kit, 3, "no")]
    examples = read_examples(artefact(tmp_path / "c", "conversations", {"test": records}))
    assert [(example.label, example.question) for example in examples] == [("yes", "question 0"), ("no", "question 3")]


def test_nothing_to_show_and_other_kinds_are_refused(tmp_path: Path, kit: Any) -> None:
    with pytest.raises(ArtefactError, match="no tile to show"):
        read_examples(artefact(tmp_path / "c", "conversations", {"test": [asked(kit, 1, None)]}))
    with ArtefactWriter(tmp_path / "m", Plan("clip_model", "test", {})) as writer:
        writer.finish()
    with pytest.raises(ArtefactError, match="labelled_images or conversations"):
        read_examples(tmp_path / "m")
