"""The shipped recipes run as their own first lines say."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import open_artefact, verify
from eosin.data_builders.cli import main
from eosin.records import Conversation, ImageText


def command_of(recipe: str) -> list[str]:
    """The words behind `eosin build` in a recipe's comment."""
    text = resources.files("eosin.configs").joinpath(f"{recipe}.yaml").read_text()
    found = re.search(r"^#\s+eosin build (.+)$", text, re.MULTILINE)
    assert found is not None
    return found.group(1).split()


@pytest.fixture
def run(server: Any, tmp_path: Path) -> Callable[[str, Path], Path]:
    """Run a recipe's own command with its placeholders filled in."""

    def filled(recipe: str, source: Path) -> Path:
        places = {"images": source, "slides": source, "writer.url": server.url}
        names = [(word, word.partition("=")[0]) for word in command_of(recipe)]
        words = [f"{name}={places[name]}" if name in places else word for word, name in names]
        words[words.index("--out") + 1] = str(tmp_path / "out")
        main(words)
        return tmp_path / "out"

    return filled


def test_captions(run: Any, captioned: Any) -> None:
    artefact = open_artefact(run("data/write-captions", captioned(3)) / "image_text")
    assert verify(artefact) == []
    assert all(record.captions for record in artefact.records(ImageText))


def test_captions_from_labels(run: Any, labelled: Any, server: Any, kit: Any) -> None:
    artefact = open_artefact(run("data/write-labels", labelled(4)) / "image_text")
    assert artefact.manifest["counts"] == {"in": 4, "out": 2, "rejected": {"label_not_found": 2}}
    steps = {kit.asked(body) for body in server.bodies}
    assert steps == {"description", "operations", "label", "caption"}


def test_conversations(run: Any, labelled: Any) -> None:
    artefact = open_artefact(run("data/write-instructions", labelled(8)) / "conversations")
    assert {record.task for record in artefact.records(Conversation)} >= {"closed", "open", "mcq", "grounding"}


def test_conversations_about_slides(run: Any, slides: Path) -> None:
    artefact = open_artefact(run("data/write-reports", slides) / "conversations")
    records = list(artefact.records(Conversation))
    assert {record.task for record in records} >= {"closed", "open", "mcq", "report"}
    assert not any(record.images for record in records)
