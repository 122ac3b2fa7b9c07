"""Captions that say how a picture was taken and not what it shows: "x40", "H&E, 200x", "Original magnification x100"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict, has_words

_HOW = re.compile(
    r"""
    [x×]\s?\d[\d.,]* | \d[\d.,]*\s?[x×]
    | \b(?:h\s?[&+/]?\s?e | ha?ematoxylin(?:[\s,&/-]+(?:and[\s-]+)?eosin)? | eosin | pas | giemsa | papanicolaou | pap)\b
    | \b(?:original | magnifications? | magnified | objectives? | stain(?:s|ed|ing)? | power | fields? | views? | low | medium | high
        | higher | hpf | lpf | inset | figure | image | picture | photomicrographs?
        | micrographs? | microscopy | section | oil | immersion)\b
    | \b(?:and | at | with | of | in | the | a | an | by | using | same | another | x)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class MagnificationRule:
    """`magnification_only` where nothing but magnification, stain and the words around them is left."""

    def __call__(self, text: str) -> Verdict:
        """Keep or drop; the text is not changed."""
        if has_words(_HOW.sub(" ", text)):
            return Kept(text)
        return Dropped("magnification_only", "it names magnification or stain and nothing else")
