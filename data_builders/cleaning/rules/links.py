"""Links, hashtags, names of accounts and emoji: what comes with captions from social media and web pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict, has_words, tidy

_LINK = re.compile(
    r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:)\]]|\b(?:doi\.org|youtu\.be|bit\.ly|t\.co|pic\.twitter\.com)/[^\s<>\"]*[^\s<>\".,;:)\]]",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"(?<![\w.@])@\w{2,}\b(?!\.\w)")
_HASHTAG = re.compile(r"(?<![\w#&])#(?=[^\W\d_])")
# Stars and ticks (U+2605, U+2606, U+2713) mark places in figures: they stay.
_EMOJI = re.compile(
    "[\U0001f000-\U0001f0ff\U0001f170-\U0001f251\U0001f300-\U0001faff\u2600-\u2604\u2607-\u2712\u2714-\u27bf\u2b50\u2b55]"
    "[\ufe0f\u200d\U0001f3fb-\U0001f3ff]*|[\ufe0f\u200d]"
)
_PARTS: tuple[tuple[str, Callable[[str], tuple[str, int]]], ...] = (
    ("link", lambda text: _LINK.subn(" ", text)),
    ("account", lambda text: _ACCOUNT.subn(" ", text)),
    ("hashtag", lambda text: _HASHTAG.subn("", text)),
    ("emoji", lambda text: _EMOJI.subn(" ", text)),
)


@dataclass(frozen=True)
class LinksRule:
    """`link` where a text holds one and `action` is reject, or where nothing else is left.

    Attributes:
        action: `strip` takes them out (of a hashtag only its sign) and counts them; `reject` drops texts with a link, an account or an
            emoji.
    """

    action: Literal["strip", "reject"] = "strip"

    def __call__(self, text: str) -> Verdict:
        """The text without them, or a drop."""
        changes: dict[str, int] = {}
        for name, take_out in _PARTS:
            text, count = take_out(text)
            if count:
                changes[name] = count
        if self.action == "reject" and set(changes) - {"hashtag"}:
            return Dropped("link", f"it holds {', '.join(sorted(set(changes) - {'hashtag'}))}")
        if not changes:
            return Kept(text)
        text = tidy(text)
        return Kept(text, changes) if has_words(text) else Dropped("link", f"nothing is left without {', '.join(sorted(changes))}")
