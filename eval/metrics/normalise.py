"""How answers are made comparable.

In order: Unicode NFKC; lower case; a hyphen, slash or underscore becomes a space; other punctuation goes, but for what carries meaning
in pathology (`+`, `%`, `<`, `>`, `=`, and `.` or `,` between digits); white space is squeezed; one leading article (a, an, the) goes.

Unlike SQuAD's normaliser (Rajpurkar et al. 2016), articles inside stay ("type A thymoma" is not "type thymoma") and "HER2 3+"
keeps its plus.
"""

from __future__ import annotations

import re
import unicodedata

_SPACES = re.compile(r"[-‐-―_/\s]+")
_DROPPED = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[^\w\s+%<>=.,]")
_ARTICLE = re.compile(r"^(?:a|an|the) (?=\S)")


def normalise(text: str) -> str:
    """The text as it is compared; normalising twice changes nothing more."""
    lowered = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = _SPACES.sub(" ", _DROPPED.sub("", _SPACES.sub(" ", lowered))).strip()
    while (shorter := _ARTICLE.sub("", words)) != words:
        words = shorter
    return words


def tokens(text: str) -> list[str]:
    """The words of the normalised text."""
    return normalise(text).split()
