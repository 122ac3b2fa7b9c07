"""Which rules a caption goes through, in which order, with their thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eosin.config import settings_of
from eosin.data_builders.cleaning.rules.boilerplate import BoilerplateRule
from eosin.data_builders.cleaning.rules.encoding import EncodingRule
from eosin.data_builders.cleaning.rules.language import LanguageRule, LanguageSettings
from eosin.data_builders.cleaning.rules.length import LengthRule
from eosin.data_builders.cleaning.rules.links import LinksRule
from eosin.data_builders.cleaning.rules.magnification import MagnificationRule
from eosin.data_builders.cleaning.rules.modality import ModalityRule, ModalitySettings
from eosin.data_builders.cleaning.rules.patient_data import PatientDataRule
from eosin.data_builders.cleaning.verdict import Rule
from eosin.data_builders.cleaning.word_lists import load_word_lists


@dataclass(frozen=True)
class CaptionRules:
    """The rules in the order in which they are asked; `null` in a recipe leaves one out.

    What changes a text comes before what judges it, and length comes last: a caption is as long as what is left of it.
    """

    encoding: EncodingRule | None = field(default_factory=EncodingRule)
    links: LinksRule | None = field(default_factory=LinksRule)
    patient_data: PatientDataRule | None = field(default_factory=PatientDataRule)
    language: LanguageSettings | None = field(default_factory=LanguageSettings)
    boilerplate: BoilerplateRule | None = field(default_factory=BoilerplateRule)
    magnification: MagnificationRule | None = field(default_factory=MagnificationRule)
    modality: ModalitySettings | None = field(default_factory=ModalitySettings)
    length: LengthRule | None = field(default_factory=LengthRule)

    def chain(self) -> tuple[Rule, ...]:
        """Every rule, for captions, its word lists read.

        Raises:
            ConfigError: a word list is missing, or does not fit.
        """
        return (*self.of_turns(), *self.of_answers())

    def of_turns(self) -> tuple[Rule, ...]:
        """The rules for any text of a conversation, a question or a one-word answer.

        Raises:
            ConfigError: see `chain`.
        """
        return _there(self.encoding, self.links, self.patient_data, self._language())

    def of_answers(self) -> tuple[Rule, ...]:
        """The rules for answers that describe a picture, after those of `of_turns`.

        Raises:
            ConfigError: see `chain`.
        """
        return _there(self.boilerplate, self.magnification, self._modality(), self.length)

    def _language(self) -> LanguageRule | None:
        found = self.language
        if found is None:
            return None
        return LanguageRule(load_word_lists(found.words), found.allowed, found.min_characters, found.other_script)

    def _modality(self) -> ModalityRule | None:
        return None if self.modality is None else ModalityRule(load_word_lists(self.modality.words), self.modality.lead)

    def settings(self) -> dict[str, Any]:
        """What goes into the plan: thresholds, and the word lists themselves."""
        found: dict[str, Any] = settings_of(self)
        for name in ("language", "modality"):
            if found[name] is not None:
                found[name]["words"] = settings_of(load_word_lists(found[name]["words"]))
        return found


def _there(*rules: Rule | None) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule is not None)
