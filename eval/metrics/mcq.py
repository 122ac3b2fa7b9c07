"""Multiple choice: which option a reply means.

1. A letter, where the reply begins with one as an answer: "B", "(B)", "B.", "B) text", "**B**", "Answer: B", "The answer is B".
   The letter alone counts, whatever text follows. A letter past the last option, or two different letters ("A or B"), is invalid.
   "A tumour" begins with an article, not with a letter.
2. Else the one option whose normalised text stands in the normalised reply as whole words; of options that contain each other,
   the longest counts. None, or several: invalid.

Invalid is wrong: no option is drawn at random, as some published scorers do. Options are compared by number, not by text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eosin.eval.metrics.normalise import normalise

# The reply is one letter; or begins with a marked one; or begins with one that another follows; or names one after "answer", "option".
_ALONE = re.compile(r"^\W*([A-Za-z])\W*(?:$|\n)")
_MARKED = re.compile(r"^\W*(?:[(\[*]+([A-Za-z])[)\]*.:,]+|([A-Za-z])\s?[).:\]](?!\w))")
_LISTED = re.compile(r"^\W*([A-Z])(?=\s*(?:,|/|\bor\b|\band\b)\s*\(?[A-Z]\b)")
_NAMED = re.compile(r"\b(?i:answer|option|choice)\b\s*(?i:is\b)?\s*:?\s*(?i:option\s+)?[(\[*]*([A-Z])[)\]*]*(?=[\s.,;:]|$)(?!\s+[a-z])")
_ANOTHER = re.compile(r"^\W*(?:,|/|\bor\b|\band\b)?\W*([A-Z])\b(?!\s+[a-z])")


def parse_choice(reply: str, options: Sequence[str]) -> int | None:
    """The number of the option meant, from 0, or None when the reply is invalid."""
    text = reply.strip()
    for pattern in (_ALONE, _MARKED, _LISTED, _NAMED):
        found = pattern.search(text)
        if found:
            letter = next(group for group in found.groups() if group).upper()
            other = _ANOTHER.match(text[found.end() :])
            number = ord(letter) - ord("A")
            return number if number < len(options) and (other is None or other[1] == letter) else None
    return _by_text(text, options)


def _by_text(reply: str, options: Sequence[str]) -> int | None:
    """The only option that the reply names."""
    rest = f" {normalise(reply)} "
    named = []
    for number, option in sorted(enumerate(options), key=lambda item: -len(normalise(item[1]))):
        words = normalise(option)
        if words and f" {words} " in rest:
            named.append(number)
            rest = rest.replace(f" {words} ", " | ")
    return named[0] if len(named) == 1 else None
