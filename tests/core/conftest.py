"""Records to write, of every kind."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from eosin.records import (
    Box,
    ClusterMember,
    Conversation,
    Embedding,
    Exported,
    Finding,
    Fingerprint,
    ImageText,
    LabelledImage,
    Message,
    Part,
    Prediction,
    Provenance,
    Record,
    Region,
    Slide,
    Tile,
)


def png(value: int = 0) -> bytes:
    """A small PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (value % 256, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def one_of_each() -> list[Record]:
    """One full record of every kind."""
    common = {"source": "s", "licence": "CC0-1.0", "group": "p1", "split": "train", "slide": "w", "mpp": 0.5, "extra": {"b": [1], "ä": "ü"}}
    turns = (Message("user", (Part("image"), Part("text", "What?"))), Message("assistant", (Part("text", "Fat."),)))
    return [
        ImageText(id="s/1", image=png(1), captions=("a", "b"), organ="colon", stain="H&E", region=Region(1, 2, 3, 4), **common),
        Conversation(id="s/2", images=(png(2),), messages=turns, task="mcq", answer="Fat", options=("Fat", "Bone"), **common),
        LabelledImage(id="s/3", image=png(3), label="ADI", labels=("x",), boxes=(Box(0, 0.25, 0.5, 1, "gland"),), mask=png(), **common),
        Slide(id="s/4", path="a.tiff", case="c", width=9, height=8, labels=("x",), report="r", **common),
        Tile(id="s/5", x=1, y=2, size=224, kept=False, reason="pen", **common),
        Embedding(id="s/6", vector=(0.6, 0.8), caption="c", label="l", thumbnail=png(6), **common),
        Prediction(
            id="s/7",
            question="s/2",
            benchmark="d",
            condition="plain",
            task="mcq",
            answer="Fat",
            options=("Fat", "Bone"),
            reply="A",
            finish_reason="stop",
            prompt_hash="h",
            image_hashes=("i",),
            model="m",
            scores=(0.1, 0.9),
            topic="class",
            provenance=Provenance("p", "m"),
            **common,
        ),
        Exported(id="s/8", path="files/train-00000.tar", key="train-00000007", **common),
        Fingerprint(
            id="s/9",
            record="s/1",
            place=0,
            label="ADI",
            text="a",
            width=9,
            height=8,
            file=b"f",
            pixels=b"p",
            signs=b"\x00\xff",
            spectrum=b"s",
            grey=b"g",
            words=b"w",
            colour=(0.5, 0.25),
            **common,
        ),
        ClusterMember(id="s/1", within="train", representative="s/3", method="hash", distance=4.0, **common),
        Finding(id="s/10", finding="near_image", data="0", record="s/1", against="1", other="s/3", score=0.5, detail="d", **common),
    ]
