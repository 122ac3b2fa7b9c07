"""Prompts as files: `eosin.configs/writing/prompts/*.yaml`, each with a version, a schema of its answer, and a hash of all of it.

The hash goes into the provenance of every record that the prompt made. It is taken over what the file says, not over its bytes: a
comment changes nothing, a word does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eosin.artefacts.plan import canonical_json
from eosin.config import load_recipe, settings_of
from eosin.data_builders.writing.replies import check_schema
from eosin.errors import ConfigError
from eosin.models.protocols import Chat
from eosin.records import Message, Part

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_FORM = "Answer with one JSON object and nothing else. It must fit this JSON schema:\n"


@dataclass(frozen=True)
class PromptFile:
    """A request with slots, written `{{name}}`.

    Attributes:
        version: raised whenever the words change.
        system: the system message; none where it is empty.
        user: the user message. The schema follows it, so that both cannot differ.
        schema: JSON schema of the answer.
        max_tokens: the answer's longest length.
        images: whether the pictures are sent, where there are some.
        again: what is sent after an answer that was refused; `{{problem}}` says why.

    Raises:
        ConfigError: the schema is none, or a slot has no sense.
    """

    version: int
    user: str
    schema: dict[str, Any]
    system: str = ""
    max_tokens: int = 512
    images: bool = True
    again: str = "That answer was refused: {{problem}}. Answer again, with the whole JSON object."

    def __post_init__(self) -> None:
        if self.version < 1 or self.max_tokens < 1:
            raise ConfigError(f"version and max_tokens must be at least 1; got {self.version} and {self.max_tokens}")
        if _SLOT.findall(self.again) != ["problem"]:
            raise ConfigError("`again` must hold {{problem}} once and no other slot")
        if _SLOT.search(self.system):
            raise ConfigError("`system` holds a slot; what changes belongs into `user`")
        check_schema(self.schema)

    @cached_property
    def hash(self) -> str:
        """Sixteen hex digits over everything the file says."""
        return hashlib.sha256(canonical_json([settings_of(self), _FORM])).hexdigest()[:16]

    @property
    def slots(self) -> frozenset[str]:
        """The names of the slots of `user`."""
        return frozenset(_SLOT.findall(self.user))

    def chat(self, values: Mapping[str, str], images: tuple[bytes, ...] = ()) -> Chat:
        """The request with its slots filled. A value is put in as it is: what looks like a slot in it is left alone.

        Raises:
            ConfigError: a slot has no value.
        """
        missing = sorted(self.slots - values.keys())
        if missing:
            raise ConfigError(f"the prompt has slots for {', '.join(missing)}; known here: {', '.join(sorted(values))}")
        sent = images if self.images else ()
        text = _SLOT.sub(lambda match: values[match.group(1)], self.user).strip()
        form = _FORM + json.dumps(self.schema, sort_keys=True, ensure_ascii=False)
        user = Message("user", (*(Part("image") for _ in sent), Part("text", f"{text}\n\n{form}")))
        return Chat((*((Message("system", (Part("text", self.system.strip()),)),) if self.system.strip() else ()), user), sent)

    def chat_again(self, chat: Chat, reply: str, problem: str) -> Chat:
        """The request again, with the answer that was refused and why."""
        words = _SLOT.sub(lambda _: problem, self.again)
        turns = (Message("assistant", (Part("text", reply),)), Message("user", (Part("text", words),)))
        return Chat((*chat.messages, *turns), chat.images)


def load_prompt(name: str) -> PromptFile:
    """The prompt `name`: a file, or a name below `eosin.configs/writing/prompts`.

    Raises:
        ConfigError: there is none, or it does not hold together.
    """
    return load_recipe(PromptFile, name if name.endswith((".yaml", ".yml")) else f"writing/prompts/{name}")
