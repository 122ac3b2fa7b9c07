"""What is known of each slide whose tiles were embedded: label, group, split, size, time and event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eosin.artefacts import Artefact
from eosin.errors import InputError
from eosin.eval.vectors import SlideReader
from eosin.records import Slide


@dataclass(frozen=True)
class SlideFacts:
    """A slide.

    Attributes:
        name: as its tiles call it.
        source, licence, group, split: as in every record.
        label: its class.
        extent: width and height at level 0; None where nobody recorded them.
        extra: such as time and event.
    """

    name: str
    source: str
    licence: str
    group: str
    split: str
    label: str | None
    extent: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def slide_facts(reader: SlideReader, slides: Artefact | None, split: str, target: str = "label") -> tuple[list[SlideFacts], dict[str, int]]:
    """The slides of a split that have tiles and, where `target` is `label`, one; by name; and why others are left out.

    Raises:
        InputError: nothing is left.
    """
    known = _recorded(slides, split) if slides else _from_tiles(reader, split)
    left_out = Counter[str]()
    found = []
    for facts in known:
        reason = "without tiles" if facts.name not in reader else "without a label" if facts.label is None and target == "label" else ""
        if reason:
            left_out[reason] += 1
        else:
            found.append(facts)
    if not found:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no slides"
        raise InputError(f"split {split!r}: no slide can be asked: {reasons}")
    return sorted(found, key=lambda facts: facts.name), {reason: count for reason, count in sorted(left_out.items()) if count > 0}


def _recorded(slides: Artefact, split: str) -> Iterator[SlideFacts]:
    for record in slides.records(Slide, split):
        label = record.labels[0] if len(record.labels) == 1 else None
        extent = (float(record.width), float(record.height)) if record.width and record.height else None
        common = {name: getattr(record, name) for name in ("source", "licence", "group", "split")}
        yield SlideFacts(record.slide or record.id.split("/", 1)[-1], **common, label=label, extent=extent, extra=record.extra)


def _from_tiles(reader: SlideReader, split: str) -> Iterator[SlideFacts]:
    """A slide has the label that all of its tiles carry.

    Raises:
        InputError: tiles of one slide carry different labels, or are of two groups.
    """
    for name in reader.slides:
        facts = reader.facts(name)
        labels, groups = {row["label"] for row in facts}, {row["group"] for row in facts}
        if len(labels) > 1 or len(groups) > 1:
            raise InputError(
                f"slide {name}: its tiles carry the labels {sorted(map(str, labels))} and groups {sorted(groups)}; name slides=ARTEFACT, "
                "which tells each slide's own label"
            )
        row = facts[0]
        yield SlideFacts(name, row["source"], row["licence"], row["group"], split, row["label"])
