"""A folder is checked before a long run: what is missing is said with where it comes from, and a few items are tried."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.source import Card, Item, Refused, Section, Source
from eosin.errors import ImageError, InputError
from eosin.images import decode_image, without_texts
from eosin.records import Conversation, ImageText, LabelledImage, Record, Reject, unwritable

TRIED = 20
PLACES = 100


def missing_files(card: Card, folder: Path) -> list[str]:
    """Each required file that the folder lacks, with where it comes from."""
    return [
        f"{expected.pattern} is missing ({expected.holds}); it comes from {expected.origin}"
        for expected in card.files
        if expected.required and not expected.found(folder)
    ]


def check_folder(source: Source[Any]) -> list[Section]:
    """The source's sections, once the folder has all it needs and some of its first items could be read.

    Raises:
        InputError: a file is missing, or none of the first items became a record; the message says what and why.
    """
    problems = missing_files(source.card, source.folder) + source.problems()
    if problems:
        raise InputError(f"{source.folder} cannot be read as {source.card.name}:\n  " + "\n  ".join(problems))
    sections = list(source.sections())
    if not sections:
        raise InputError(f"{source.folder}: nothing in it to read as {source.card.name}")
    reasons: Counter[str] = Counter()
    first = ""
    for item in _some_items(source, sections):
        found = record_or_reject(item.build, item.key)
        if isinstance(found, Record):
            return sections
        reasons[found.reason] += 1
        first = first or f"{found.key}: {found.message}"
    if reasons:
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise InputError(f"{source.folder}: none of the first {sum(reasons.values())} items could be read ({told}); the first is {first}")
    return sections


def _some_items(source: Source[Any], sections: list[Section]) -> Iterator[Item]:
    """The first items, then some from all over: of a release that was fetched in part, the first may all be missing."""
    yield from itertools.islice(itertools.chain.from_iterable(map(source.items, sections)), TRIED)
    step = max(1, len(sections) // PLACES)
    for section in sections[step::step]:
        yield from itertools.islice(source.items(section), TRIED)


def record_or_reject(build: Any, key: str) -> Record | Reject:
    """What an item becomes; its images are decoded once, so that no damaged one is passed on, and lose the texts that lie beside pixels."""
    try:
        record: Record = build()
        for image in _images_of(record):
            decode_image(image)
        record = _without_texts(record)
    except (Refused, ImageError) as error:
        return Reject(key, error.reason, error.message)
    except InputError as error:
        return Reject(key, "invalid_record", str(error))
    except RecursionError:
        return Reject(key, "nested_too_deep", "its fields are nested too deep to be read")
    why = unwritable(record)
    return record if why is None else Reject(key, *why)


def repeated(key: str) -> Reject:
    """What the second record of a key becomes."""
    return Reject(key, "repeated_id", f"{key}: a record before it has the same key; the first one counts")


def _without_texts(record: Record) -> Record:
    """The record with images that tell no more than their pixels: scanners and cameras write names and cases into EXIF and comments."""
    if isinstance(record, Conversation):
        return dataclasses.replace(record, images=tuple(map(without_texts, record.images)))
    if isinstance(record, ImageText | LabelledImage):
        return dataclasses.replace(record, image=without_texts(record.image))
    return record


def _images_of(record: Record) -> tuple[bytes, ...]:
    if isinstance(record, Conversation):
        return record.images
    if isinstance(record, ImageText):
        return (record.image,)
    if isinstance(record, LabelledImage):
        return (record.image,) if record.mask is None else (record.image, record.mask)
    return ()
