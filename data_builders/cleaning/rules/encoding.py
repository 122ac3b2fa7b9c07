"""Text that was decoded with the wrong character set is mended; invisible characters and repeated spaces go."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict, has_words
from eosin.errors import MissingDependency

# Controls but tab and line feed, soft hyphen, zero-width characters but the joiner (emoji need it), byte-order mark.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff\ufffd]")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" *\n *(?:\n *)+")


@dataclass(frozen=True)
class EncodingRule:
    """`empty` where no letter is left.

    ftfy is called without Unicode normalisation and keeps ligatures and curly quotes: they are no damage, and NFC changes units such as
    the Angstrom sign.
    """

    def __call__(self, text: str) -> Verdict:
        """The mended text.

        Raises:
            MissingDependency: ftfy is not installed.
        """
        try:
            from ftfy import TextFixerConfig, fix_text
        except ImportError as error:
            raise MissingDependency("ftfy", "data") from error
        config = TextFixerConfig(normalization=None, fix_latin_ligatures=False, uncurl_quotes=False, fix_character_width=False)
        mended = fix_text(text.replace("\r\n", "\n").replace("\r", "\n"), config)
        changes = {"mojibake": 1} if mended != text.replace("\r\n", "\n").replace("\r", "\n") else {}
        mended = _LINES.sub("\n\n", _SPACES.sub(" ", _INVISIBLE.sub("", mended))).strip()
        if not has_words(mended):
            return Dropped("empty", "no letter in it")
        return Kept(mended, changes)
