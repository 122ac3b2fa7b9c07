"""`eosin build --list` and `eosin build --card NAME`: what can be read, and what is known of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from eosin.config import settings_of
from eosin.data_builders.sources.catalogue import SOURCES, find_source
from eosin.data_builders.sources.source import Card

KINDS = {
    "image_text": "image-text pairs",
    "conversations": "conversations",
    "labelled_images": "labelled images",
    "slides": "slides and reports",
}


def list_sources() -> str:
    """All sources, by kind: name, title, whether gated, licence."""
    lines = ["Sources: eosin build data/source source=NAME folder=DIR --out DIR; eosin build --card NAME tells more."]
    width = max(map(len, SOURCES))
    for kind, title in KINDS.items():
        cards = [source.card for source in SOURCES.values() if source.card.kind == kind]
        lines += ["", f"{title} ({len(cards)})"]
        lines += [f"  {card.name:<{width}}  {card.title}{' (gated)' if card.gated else ''}; {card.licence}" for card in cards]
    return "\n".join(lines)


def show_card(name: str) -> str:
    """One source's card as text.

    Raises:
        ConfigError: there is no such source.
    """
    source = find_source(name)
    return _card_text(source.card, source.Options)


def _card_text(card: Card, options: type[Any]) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in card.counts.items()) or "not told"
    rows = {
        "paper": card.paper,
        "homepage": card.homepage,
        "licence": card.licence + (" (gated: ask the publisher)" if card.gated else ""),
        "commercial": card.commercial,
        "becomes": card.kind,
        "counts": counts,
        "splits": card.splits,
        "groups": card.groups,
    }
    lines = [f"{card.name}: {card.title}", ""]
    lines += [f"{key:<11} {value}" for key, value in rows.items()]
    lines += ["", "files"]
    for expected in card.files:
        wanted = "" if expected.required else " (optional)"
        lines += [f"  {expected.pattern}{wanted}: {expected.holds}", f"      from {expected.origin}"]
    lines += ["", "known problems"] + [f"  - {problem}" for problem in card.problems] if card.problems else []
    if dataclasses.fields(options):
        lines += ["", "options (options.KEY=VALUE)"]
        lines += [f"  {line}" for line in yaml.safe_dump(settings_of(options()), sort_keys=False).splitlines()]
    lines += ["", "command", f"  eosin build data/source source={card.name} folder=DIR --out OUT", "", card.citation]
    return "\n".join(lines)
