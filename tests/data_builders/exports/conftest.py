"""Records with everything in them that an export could lose, and how to read them back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eosin.artefacts import Artefact, Plan, Task
from eosin.data_builders.cli import main
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Box, Conversation, ImageText, LabelledImage, Message, Part, Provenance, Record, Region


def encoded(number: int, form: str = "JPEG", **options: Any) -> bytes:
    """A picture of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def turned(number: int) -> bytes:
    """A JPEG that says it lies on its side: readers that do not look show it otherwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(number, exif=exif)


def common(name: str, split: str = "train") -> dict[str, Any]:
    return {"id": f"s/{name}", "source": "s", "licence": "CC-BY-4.0", "group": "P 1", "split": split}


def ask(*parts: str) -> Message:
    """A question: `image` stands for one."""
    return Message("user", tuple(Part("image") if part == "image" else Part("text", part) for part in parts))


def reply(text: str) -> Message:
    return Message("assistant", (Part("text", text),))


PAIRS: list[ImageText] = [
    ImageText(
        **common("case.7/tile 1.v2.jpg"),
        slide="W1",
        mpp=0.5,
        provenance=Provenance("p", "m"),
        extra={"ä": [1, {"b": None}]},
        image=encoded(1),
        captions=("Naïve T-Zellen, 40×.", "second"),
        organ="colon",
        stain="H&E",
        region=Region(1, 2, 3, 4),
    ),
    ImageText(**common("png"), image=encoded(2, "PNG"), captions=("a line\nand another",)),
    ImageText(**common("bitmap"), image=encoded(3, "BMP"), captions=("b",)),
    ImageText(**common("turned"), image=turned(4), captions=("c",)),
    ImageText(**common("held/out", "test"), image=encoded(5), captions=("d",)),
]
LABELLED: list[LabelledImage] = [
    LabelledImage(
        **common("1"), image=encoded(1), label="TUM", labels=("x", "y"), boxes=(Box(0, 0.25, 0.5, 1, "gland"),), mask=encoded(9, "PNG")
    ),
    LabelledImage(**common("2"), image=encoded(2, "PNG"), label="ADI"),
    LabelledImage(**common("3"), image=encoded(3)),
]
CONVERSATIONS: list[Conversation] = [
    Conversation(
        **common("q.1"),
        images=(encoded(1),),
        messages=(ask("image", "What is it?"), reply("Fat."), ask("Sure?"), reply("Yes.")),
        task="open",
        answer="Fat",
        options=("Fat", "Bone"),
        mpp=0.25,
        extra={"form": "class"},
    ),
    Conversation(**common("q.2"), images=(encoded(1),), messages=(ask("Look.", "image"), reply("[0, 1, 2, 3]")), task="grounding"),
    Conversation(
        **common("q.3"), images=(encoded(1), encoded(2, "PNG")), messages=(ask("image", "or", "image", "?"), reply("Ä")), task="mcq"
    ),
    Conversation(**common("q.4"), images=(), messages=(ask("What is fat?"), reply("Adipose tissue.")), task="open"),
    Conversation(**common("q.5", "val"), images=(turned(4),), messages=(ask("image", "Up?"), reply("No.")), task="closed", answer="no"),
]

Write = Callable[..., Artefact]


@pytest.fixture
def pairs() -> list[ImageText]:
    """Pairs; two of them with images that other readers would show otherwise, or not at all."""
    return PAIRS


@pytest.fixture
def labelled() -> list[LabelledImage]:
    """Labelled images with and without all that they can hold."""
    return LABELLED


@pytest.fixture
def conversations() -> list[Conversation]:
    """Conversations over no image, one and several."""
    return CONVERSATIONS


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Records as an artefact: `write(records, classes=[...])`, a shard a split."""

    def make(records: Iterable[Record], **facts: Any) -> Artefact:
        held = list(records)
        splits = [split for split in ("train", "val", "test") if any(record.split == split for record in held)]
        tasks = tuple(Task("given", 0, sum(record.split == split for record in held), split) for split in splits)
        plan = Plan(held[0].kind, "build", {"ids": [record.id for record in held]}, (), tasks, facts)
        step = Step("given", plan, lambda task: [record for record in held if record.split == task.split])
        return run_step(step, tmp_path / "data", LocalEngine())

    return make


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    """Run a shipped export recipe: `export("webdataset", artefact, "key=value", out="name")` gives the artefact's folder."""

    def run(name: str, data: Artefact, *overrides: str, out: str = "out", workers: int = 1) -> Path:
        arguments = [f"data/export-{name}", f"data={data.path}", *overrides, "--out", str(tmp_path / out), "--workers", str(workers)]
        main(arguments)
        return tmp_path / out / name

    return run


_INNER: dict[str, Callable[[Any], Any]] = {
    "captions": tuple,
    "labels": tuple,
    "options": tuple,
    "region": lambda value: Region(**value),
    "provenance": lambda value: Provenance(**value),
    "boxes": lambda value: tuple(Box(**box) for box in value),
    "messages": lambda value: tuple(Message(turn["role"], tuple(Part(**part) for part in turn["content"])) for turn in value),
}


@pytest.fixture
def restore() -> Callable[..., Record]:
    """A record from the JSON of an export and what was beside it."""

    def make(record_type: type[Record], columns: dict[str, Any], **beside: Any) -> Record:
        return record_type(**{name: _INNER.get(name, lambda value: value)(value) for name, value in columns.items()}, **beside)

    return make
