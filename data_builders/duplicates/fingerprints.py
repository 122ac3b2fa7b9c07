"""The step that reads every image and text once: what later steps compare, a tenth of a per cent of the bytes or less."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.data_builders.duplicates.image_hash import SIDE, grey_picture, image_print
from eosin.data_builders.duplicates.overlay import SIDE as GREY_SIDE
from eosin.data_builders.duplicates.texts import sketch
from eosin.errors import ImageError
from eosin.images import Pixels, decode_image
from eosin.pipeline import Step, chunked
from eosin.records import RECORD_TYPES, Conversation, Fingerprint, ImageText, LabelledImage, Record

DATA_KINDS = ("image_text", "labelled_images", "conversations")
RECORDS_A_TASK = 1000
_SHOWN_LETTERS = 300
# Of the hashes, spectra, grey pictures and sketches: another one makes other fingerprints.
VERSION = 1
# Enough pixels for the statistics of colour; every one would only take longer.
_COLOUR_STEP = 4

Source = ImageText | LabelledImage | Conversation


def fingerprints_step(name: str, data: Artefact) -> Step:
    """A `fingerprints` artefact: a row an image, in the order of the data, and one for a record without any."""
    tasks = [task for split, count in data.manifest["splits"].items() for task in chunked("records", split, count, RECORDS_A_TASK)]
    facts = {"title": f"fingerprints of {data.plan.facts.get('title', data.kind)}"}
    plan = Plan("fingerprints", "build", {"version": VERSION}, (data.ref("data"),), tuple(tasks), facts)
    return Step(name, plan, TakeFingerprints(data), {"data": str(data.path.resolve())})


@dataclass(frozen=True)
class TakeFingerprints:
    """Reads a task's records; picklable."""

    data: Artefact

    def __call__(self, task: Task) -> Iterator[Record]:
        """The fingerprints of each record's images, its text with the first; one record in memory at a time."""
        record_type: type[Any] = RECORD_TYPES[self.data.kind]
        table = RecordTable(self.data, record_type, task.split, cached_groups=1)
        for row in range(task.start, task.stop):
            yield from fingerprints_of(table[row])


def images_of(record: Source) -> tuple[bytes, ...]:
    """The encoded images of a record."""
    return record.images if isinstance(record, Conversation) else (record.image,)


def text_of(record: Source) -> str:
    """All that a record says: captions, or messages."""
    if isinstance(record, ImageText):
        return "\n".join(record.captions)
    if isinstance(record, Conversation):
        return "\n".join(message.text for message in record.messages)
    return ""


def fingerprints_of(record: Source) -> Iterator[Fingerprint]:
    """One for each image of a record, or one without any."""
    text = text_of(record)
    said: dict[str, Any] = {"text": text[:_SHOWN_LETTERS], "words": sketch(text)}
    common: dict[str, Any] = {name: getattr(record, name) for name in ("source", "licence", "group", "split", "slide", "mpp")}
    common |= {"record": record.id, "label": getattr(record, "label", None)}
    images = images_of(record)
    if not images:
        yield Fingerprint(id=record.id, place=-1, **common, **said)
    for place, image in enumerate(images):
        name = record.id if len(images) == 1 else f"{record.id}#{place}"
        yield Fingerprint(id=name, place=place, **common, **(said if place == 0 else {}), **_image_columns(image))


def _image_columns(image: bytes) -> dict[str, Any]:
    """What is known of an image; one that cannot be decoded has the digest of its bytes, and the reason."""
    columns: dict[str, Any] = {"file": hashlib.sha256(image).digest()}
    try:
        pixels = decode_image(image)
    except ImageError as error:
        return {**columns, "extra": {"problem": error.reason}}
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    columns |= {"width": width, "height": height, "pixels": digest.digest(), "colour": optical_densities(pixels)}
    printed = image_print(grey_picture(pixels, SIDE)[None])
    if printed.blank[0]:
        return {**columns, "extra": {"problem": "blank"}}
    columns["signs"] = printed.signs[0].astype("<u8").tobytes()
    columns["spectrum"] = printed.spectra[0].astype("<f2").tobytes()
    columns["grey"] = grey_picture(pixels, GREY_SIDE).tobytes()
    return columns


def optical_densities(pixels: Pixels) -> tuple[float, ...]:
    """Mean, then standard deviation, of the optical density of red, green and blue (Beer-Lambert: what a stain adds is linear in it)."""
    table = -np.log10((np.arange(256) + 1) / 256)
    density = table[pixels[::_COLOUR_STEP, ::_COLOUR_STEP].reshape(-1, 3)]
    return tuple(float(value) for value in np.round(np.concatenate([density.mean(0), density.std(0)]), 5))
