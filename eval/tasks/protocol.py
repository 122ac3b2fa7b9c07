"""What a plan says of a run's rules, so that scores by other rules are never put in one ranking."""

from __future__ import annotations

import hashlib
from typing import Any

from eosin.artefacts.plan import canonical_json
from eosin.config import settings_of

# What changes how long a run takes, what it is called or what it keeps for reports, but not its answers.
_WITHOUT_EFFECT = frozenset({"name", "shard_size", "batch_size", "device", "pictures", "heat_maps", "heat_map_side"})
# Files, which lie elsewhere on another machine: what they say is hashed with the prompts, and a run's name tells that hash.
_FILES = frozenset({"labels", "class_names", "prompts"})


def protocol_facts(name: str, config: object, aggregate: str = "", metric: str = "", scores: str = "logits") -> dict[str, Any]:
    """`protocol` for a plan's facts: a name, and eight digits over the settings that decide answers; the rest as in `Rules`."""
    settings = {key: value for key, value in settings_of(config).items() if key not in _WITHOUT_EFFECT | _FILES}
    digest = hashlib.sha256(canonical_json(settings)).hexdigest()[:8]
    return {"protocol": {"id": f"{name} {digest}", "metric": metric, "aggregate": aggregate, "title": name, "scores": scores}}
