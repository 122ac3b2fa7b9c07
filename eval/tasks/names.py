"""Names that runs and scores share."""

from __future__ import annotations

from typing import Literal

Condition = Literal["plain", "blind", "no_image", "evidence"]
COLOUR_MODEL = "colour-baseline"
# Every tile has the mean and deviation of the mean training tile: see `eosin.eval.colour_matching`.
COLOUR_MATCHED = "colour_matched"

Corruption = Literal[
    "jpeg",
    "pixelate",
    "defocus",
    "motion",
    "noise",
    "brighter",
    "darker",
    "less_contrast",
    "saturate",
    "bubble",
    "deposit",
    "stain_shift",
]


def corrupted(name: str, severity: int) -> str:
    """The condition of a corruption, such as `jpeg:3`."""
    return f"{name}:{severity}"
