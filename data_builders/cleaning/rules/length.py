"""Length in words and in tokens of CLIP."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict
from eosin.errors import ConfigError

# How CLIP cuts text before byte pairs (Radford et al. 2021): runs of letters, single digits, runs of other marks.
_PIECES = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_+")
_LETTERS_A_TOKEN = 6


@dataclass(frozen=True)
class LengthRule:
    """`too_short` and `too_long`.

    Attributes:
        min_words: fewer are too short.
        max_words: more are too long; 0 for no limit.
        max_tokens: more, by `estimate_tokens`, are too long; 0 for no limit. CLIP cuts after 77.
    """

    min_words: int = 4
    max_words: int = 0
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if self.min_words < 0 or self.max_tokens < 0 or (self.max_words and self.max_words < self.min_words) or self.max_words < 0:
            raise ConfigError(
                f"length: min_words {self.min_words}, max_words {self.max_words}, max_tokens {self.max_tokens}; none may be negative, "
                "and max_words is 0 or at least min_words"
            )

    def __call__(self, text: str) -> Verdict:
        """Keep or drop; the text is not changed."""
        words = sum(any(character.isalnum() for character in word) for word in text.split())
        if words < self.min_words:
            return Dropped("too_short", f"{words} words; at least {self.min_words} are wanted")
        if self.max_words and words > self.max_words:
            return Dropped("too_long", f"{words} words; at most {self.max_words} are wanted")
        if self.max_tokens and (tokens := estimate_tokens(text)) > self.max_tokens:
            return Dropped("too_long", f"about {tokens} tokens; at most {self.max_tokens} are wanted")
        return Kept(text)


def estimate_tokens(text: str) -> int:
    """About how many tokens CLIP's tokenizer makes of a text, with the two at its ends; no vocabulary is needed."""
    return 2 + sum(math.ceil(len(piece) / _LETTERS_A_TOKEN) if piece[0].isalpha() else 1 for piece in _PIECES.findall(text))
