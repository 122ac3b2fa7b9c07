"""Yes or no, read strictly.

1. The reply's first word is yes or no: it decides, unless the other follows at once as an alternative ("yes or no", "yes/no").
2. Else the reply must hold exactly one of the two as a whole word: "there is no necrosis" is a no; "not", "none", "nothing" are not.
3. Both, or neither: invalid, and counted as wrong. An invalid answer is never turned into a yes (some published scorers do).
"""

from __future__ import annotations

import re
from typing import Literal

YesNo = Literal["yes", "no"]

_FIRST = re.compile(r"^\W*(yes|no)\b(?P<rest>.*)$", re.DOTALL)
_ALTERNATIVE = re.compile(r"^\s*(?:/|\bor\b|\band\b|,?\s*or\b)\s*(yes|no)\b|^\W*(yes|no)\W*$")
_WORD = re.compile(r"\b(yes|no)\b")


def parse_yes_no(reply: str) -> YesNo | None:
    """What the reply decides, or None when it is invalid."""
    text = reply.strip().lower()
    first = _FIRST.match(text)
    if first:
        other = _ALTERNATIVE.match(first["rest"])
        if other and (other[1] or other[2]) != first[1]:
            return None
        return "yes" if first[1] == "yes" else "no"
    found = set(_WORD.findall(text))
    if len(found) != 1:
        return None
    return "yes" if "yes" in found else "no"
