"""Prompt templates for zero-shot classification, editable in `eosin.configs/prompts/*.yaml`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eosin.artefacts.plan import canonical_json
from eosin.config import load_recipe
from eosin.errors import ConfigError
from eosin.labels import LabelSet


@dataclass(frozen=True)
class PromptSet:
    """Templates with `{name}` in them, for the name of a class."""

    templates: tuple[str, ...]
    title: str = ""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("a prompt set needs at least one template")
        for template in self.templates:
            if "{name}" not in template:
                raise ConfigError(f"the prompt template {template!r} must hold {{name}}")


def load_prompts(name: str) -> PromptSet:
    """The prompt set `name`: a file, or a name below `eosin.configs`, such as `prompts/histology`.

    Raises:
        ConfigError: there is none, or a template has no place for the class.
    """
    return load_recipe(PromptSet, name)


def prompts_of(labels: LabelSet, prompts: PromptSet) -> dict[str, tuple[str, ...]]:
    """Every prompt of every class: each template with each of the class's names."""
    return {
        label: tuple(template.replace("{name}", name) for name in found.names for template in prompts.templates)
        for label, found in labels.classes.items()
    }


def hash_of(prompts: Mapping[str, Sequence[str]]) -> str:
    """sha256 over all prompts, classes in their order."""
    return hashlib.sha256(canonical_json([[label, list(texts)] for label, texts in prompts.items()])).hexdigest()
