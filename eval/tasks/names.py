"""Names that runs and scores share."""

from __future__ import annotations

from typing import Literal

Condition = Literal["plain", "blind", "no_image", "evidence"]
COLOUR_MODEL = "colour-baseline"
