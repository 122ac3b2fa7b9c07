"""Tiles for the page to start from: a few of a data artefact, held-out ones first, each class once before any comes twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eosin.artefacts import Artefact, open_artefact
from eosin.errors import ArtefactError
from eosin.records import Conversation, LabelledImage

KINDS = ("labelled_images", "conversations")
_SPLITS = ("test", "val", "none", "train")
_SCANNED = 4096


@dataclass(frozen=True)
class Example:
    """A tile to try.

    Attributes:
        image: encoded.
        label: what is written under it: its class, or the right answer to `question`.
        question: what to ask about it, where the artefact has one.
    """

    image: bytes
    label: str
    question: str | None = None


def read_examples(path: Path, count: int = 8) -> list[Example]:
    """Up to `count` examples of a `labelled_images` or `conversations` artefact, the same ones each time.

    Raises:
        ArtefactError: it is of another kind or holds no record with one image.
    """
    artefact = open_artefact(path, *KINDS)
    split = next((name for name in _SPLITS if artefact.manifest["splits"].get(name)), None)
    source = _labelled(artefact, split) if artefact.kind == "labelled_images" else _asked(artefact, split)
    found = _one_of_each(islice(source, _SCANNED), count)
    if not found:
        raise ArtefactError(f"{path} holds no tile to show as an example; name another artefact of kind {' or '.join(KINDS)}")
    return found


def _labelled(artefact: Artefact, split: str | None) -> Iterator[Example]:
    for record in artefact.records(LabelledImage, split):
        yield Example(record.image, record.label or ", ".join(record.labels) or "no label")


def _asked(artefact: Artefact, split: str | None) -> Iterator[Example]:
    for record in artefact.records(Conversation, split):
        question = next((message.text for message in record.messages if message.role == "user"), "")
        if len(record.images) == 1 and record.answer and question:
            yield Example(record.images[0], record.answer, question)


def _one_of_each(examples: Iterable[Example], count: int) -> list[Example]:
    """In rounds: the first of each label, then the second, until there are `count`."""
    by_label: dict[str, list[Example]] = {}
    for example in examples:
        held = by_label.setdefault(example.label, [])
        if len(held) < count:
            held.append(example)
    rounds = (held[number] for number in range(count) for held in by_label.values() if number < len(held))
    return list(islice(rounds, count))
