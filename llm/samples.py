"""Training samples from artefacts: image-text pairs become a question for a caption, conversations stay what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eosin.artefacts import Artefact
from eosin.errors import ArtefactError
from eosin.records import Conversation, ImageText, Message, Part
from eosin.seeds import generator

_BOX = re.compile(r"\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]")


@dataclass(frozen=True)
class Sample:
    """What one record teaches.

    Attributes:
        id: of the record.
        variants: conversations that teach the same; each pass takes one.
        images: encoded.
        upright: the text speaks of places in the image (boxes), so it must not be flipped or turned.
    """

    id: str
    variants: tuple[tuple[Message, ...], ...]
    images: tuple[bytes, ...]
    upright: bool = False


def read_samples(data: Sequence[Artefact], prompts: Sequence[str], seed: int) -> Iterator[Sample]:
    """The train split of each artefact, in order.

    Args:
        data: `image_text` and `conversations` artefacts.
        prompts: what a caption answers; drawn by (seed, record, caption).
        seed: of the draws.

    Raises:
        ArtefactError: an artefact has no records of split train.
    """
    number = 0
    for artefact in data:
        if artefact.kind == ImageText.kind:
            for pair in artefact.records(ImageText, "train"):
                yield _from_pair(pair, prompts, seed, number)
                number += 1
            continue
        for talk in artefact.records(Conversation, "train"):
            yield _from_conversation(talk)
            number += 1
    if not number:
        raise ArtefactError("data: no records of split train were found")


def read_texts(data: Sequence[Artefact], prompts: Sequence[str]) -> Iterator[str]:
    """All text that the samples hold; images are not read."""
    yield from prompts
    for artefact in data:
        if artefact.kind == ImageText.kind:
            for pair in artefact.records(ImageText, "train", _columns("image", "captions")):
                yield from pair.captions
            continue
        for talk in artefact.records(Conversation, "train", _columns("images", "messages", "task")):
            for message in talk.messages:
                yield from (part.text for part in message.content if part.text)


def _columns(*own: str) -> list[str]:
    # The images belong to the record's own checks (one image part, one image), so they cannot be left out.
    return ["id", "source", "licence", "group", *own]


def _from_pair(pair: ImageText, prompts: Sequence[str], seed: int, number: int) -> Sample:
    variants = []
    for place, caption in enumerate(pair.captions):
        prompt = prompts[int(generator(seed, number, place).integers(len(prompts)))]
        question = Message("user", (Part("image"), Part("text", prompt)))
        variants.append((question, Message("assistant", (Part("text", caption),))))
    return Sample(pair.id, tuple(variants), (pair.image,), any(_BOX.search(caption) for caption in pair.captions))


def _from_conversation(talk: Conversation) -> Sample:
    upright = talk.task == "grounding" or any(_BOX.search(message.text) for message in talk.messages)
    return Sample(talk.id, (talk.messages,), talk.images, upright)
