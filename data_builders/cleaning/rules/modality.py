"""Pictures that are not histology, by the words of their captions: radiology, endoscopy, gross specimens, plots, diagrams."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict
from eosin.data_builders.cleaning.word_lists import WordLists, pattern_of
from eosin.errors import ConfigError

HISTOLOGY = "histology"


@dataclass(frozen=True)
class ModalitySettings:
    """Which lists.

    Attributes:
        words: a file, or a name below `eosin.configs/cleaning`; the list `histology` speaks for a picture, every other against it.
        lead: words at the start of a caption that say what the picture is.
    """

    words: str = "modality"
    lead: int = 5


@dataclass(frozen=True)
class ModalityRule:
    """`not_histology_NAME`, NAME the list that spoke against it.

    A caption is dropped where another modality is named and no word of histology, or where it begins with another modality: "CT scan of
    the tumour; histology proved it" shows the scan, "Histology of the nodule seen on CT" the section.
    """

    words: WordLists
    lead: int = 5

    def __post_init__(self) -> None:
        if HISTOLOGY not in self.words.lists:
            raise ConfigError(f"modality: the word lists need one called {HISTOLOGY}; they are {', '.join(self.words.lists)}")

    def __call__(self, text: str) -> Verdict:
        """Keep or drop; the text is not changed."""
        patterns = _patterns(tuple(self.words.lists.items()))
        found = {name: match.start() for name, pattern in patterns if (match := pattern.search(text))}
        histology = found.pop(HISTOLOGY, None)
        if not found:
            return Kept(text)
        first = min(found, key=lambda name: (found[name], name))
        if histology is None:
            return Dropped(f"not_histology_{first}", f"it speaks of {first} and of no histology")
        if found[first] < histology and len(text[: found[first]].split()) < self.lead:
            return Dropped(f"not_histology_{first}", f"it begins with {first}")
        return Kept(text)


@functools.lru_cache(maxsize=8)
def _patterns(lists: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, pattern_of(terms)) for name, terms in lists)
