"""Time and event of a case: how long it was observed, and whether the event was seen at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from eosin.errors import InputError

_WANTED = "survival wants time, a finite number of 0 or more, and event, true or 1 (seen) or false or 0 (not seen)"


def time_and_event(facts: Mapping[str, Any], where: str) -> tuple[float, bool]:
    """A case's time and event.

    Args:
        facts: what is known of it.
        where: the case, for the message.

    Raises:
        InputError: one is missing or is none, such as R's event of 2.
    """
    time: Any = facts.get("time")
    event: Any = facts.get("event")
    numbers = isinstance(time, int | float) and not isinstance(time, bool) and isinstance(event, bool | int | float)
    if not numbers or not math.isfinite(time) or time < 0 or event not in (0, 1):
        raise InputError(f"{where}: {_WANTED}; got time {json.dumps(time)} and event {json.dumps(event)}")
    return float(time), bool(event)


def outcome_text(time: float, event: bool) -> str:
    """Time and event as the answer of a prediction, which `time_and_event` reads again.

    Rankings compare answers as text: 5 and 5.0 are one time and must be one text.
    """
    return json.dumps({"time": int(time) if float(time).is_integer() else time, "event": event})
