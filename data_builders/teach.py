"""`teach`: labelled images, from whatever builder, become image-text pairs and conversations about them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eosin.artefacts import Artefact
from eosin.commands import open_inputs
from eosin.config import input_path, load
from eosin.data_builders.teaching import TeachingConfig, conversations_step, pairs_step, vocabulary_of
from eosin.errors import InputError
from eosin.labels import LabelSet, load_label_set
from eosin.pipeline import Step


@dataclass(frozen=True)
class TeachConfig:
    """What is made from labelled images.

    Attributes:
        images: each of them with a label.
        labels: the label set that says the classes in words: a name or a file; `auto`: the one the images came with.
        teaching: captions and conversations.
    """

    builder: Literal["teach"] = "teach"
    images: str = input_path("labelled_images")
    labels: str = "auto"
    teaching: TeachingConfig = field(default_factory=TeachingConfig)


def teach_steps(config: TeachConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The steps of this builder; each finished artefact is sent back in.

    Raises:
        InputError: the images have no classes, as those labelled with several labels or boxes alone.
        ConfigError: no label set fits, or a phrasing does not hold together.
    """
    images = open_inputs(config).artefacts["images"]
    if not images.classes:
        raise InputError(f"{images.path}: these images have no classes to ask about")
    came_with = images.plan.facts.get("label_set")
    own = config.labels == "auto" and came_with is not None
    labels = load(LabelSet, came_with or {}) if own else load_label_set(config.labels, images.classes)
    vocabulary = vocabulary_of(config.teaching, labels)
    yield pairs_step("image_text", images, vocabulary, config.teaching)
    yield conversations_step("conversations", images, vocabulary, config.teaching)
