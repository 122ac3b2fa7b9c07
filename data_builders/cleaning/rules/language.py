"""Language by script and by stop words.

Detectors of language are wrong about short captions ("invasive ductal carcinoma" is Italian to one of them), so a short text is judged by
its script alone. A longer one is judged by the words that a language cannot do without.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict
from eosin.data_builders.cleaning.word_lists import WordLists
from eosin.errors import ConfigError

_WORD = re.compile(r"[^\W\d_]+")
# Greek letters name markers and units in every language.
_SCRIPTS = ("LATIN", "GREEK", "MICRO")
_FEWEST = 3


@dataclass(frozen=True)
class LanguageSettings:
    """Which languages.

    Attributes:
        allowed: of the lists in `words`.
        words: stop words by language: a file, or a name below `eosin.configs/cleaning`.
        min_characters: shorter texts are judged by their script alone.
        other_script: the largest share of letters that are neither Latin nor Greek.
    """

    allowed: tuple[str, ...] = ("en",)
    words: str = "stop_words"
    min_characters: int = 100
    other_script: float = 0.2


@dataclass(frozen=True)
class LanguageRule:
    """`language`."""

    words: WordLists
    allowed: tuple[str, ...] = ("en",)
    min_characters: int = 100
    other_script: float = 0.2

    def __post_init__(self) -> None:
        unknown = [name for name in self.allowed if name not in self.words.lists]
        if unknown or not self.allowed:
            raise ConfigError(
                f"language: allowed is {', '.join(self.allowed) or 'empty'}; there are lists for {', '.join(self.words.lists)}"
            )
        if not 0 <= self.other_script <= 1 or self.min_characters < 0:
            raise ConfigError("language: other_script lies in [0, 1], and min_characters is not negative")

    def __call__(self, text: str) -> Verdict:
        """Keep or drop; the text is not changed."""
        letters = [character for character in text if character.isalpha()]
        other = sum(not character.isascii() and not unicodedata.name(character, "").startswith(_SCRIPTS) for character in letters)
        if letters and other / len(letters) > self.other_script:
            return Dropped("language", f"{other} of {len(letters)} letters are of another script")
        if len(text) < self.min_characters:
            return Kept(text)
        words = [word.casefold() for word in _WORD.findall(text)]
        counts = {name: sum(word in terms for word in words) for name, terms in _stop_words(tuple(self.words.lists.items()))}
        best = max(counts, key=lambda name: (counts[name], name in self.allowed))
        if best not in self.allowed and counts[best] >= _FEWEST and counts[best] > 1.5 * max(counts[name] for name in self.allowed):
            return Dropped("language", f"it reads as {best}; allowed: {', '.join(self.allowed)}")
        return Kept(text)


@functools.lru_cache(maxsize=4)
def _stop_words(lists: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((name, frozenset(terms)) for name, terms in lists)
