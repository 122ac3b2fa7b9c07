"""Tools that an assistant can call, and samples of calls: PathAsst's tool use (Sun et al. 2024, arXiv 2305.15072).

A model writes what a user would ask and the call's arguments; code checks the call against the tool's own schema. What a tool finds is
never invented: a result stands in a sample only where the record knows it, as boxes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from eosin.config import load_recipe
from eosin.data_builders.writing.replies import Refused, check_schema, schema_problem
from eosin.errors import ConfigError
from eosin.records import Box, box_to_text


@dataclass(frozen=True)
class Tool:
    """A tool as an assistant knows it.

    Attributes:
        description: what it is for.
        parameters: JSON schema of its arguments.
        result: `boxes` where records with boxes know what it finds: those of the label in the argument `label`.
    """

    description: str
    parameters: dict[str, Any]
    result: Literal["none", "boxes"] = "none"

    def __post_init__(self) -> None:
        check_schema(self.parameters)
        if self.result == "boxes" and "label" not in self.parameters.get("properties", {}):
            raise ConfigError("a tool whose result is boxes needs the argument label")


@dataclass(frozen=True)
class ToolSet:
    """The tools of one assistant.

    Attributes:
        system: the system message, with `{{tools}}` in it.
        reply: what the assistant says of boxes that were found, with `{{count}}`, `{{label}}` and `{{boxes}}`.
        tools: by name.
    """

    system: str
    reply: str
    tools: dict[str, Tool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "{{tools}}" not in self.system:
            raise ConfigError("system must hold {{tools}}")
        if sorted(re.findall(r"\{\{(\w+)\}\}", self.reply)) != ["boxes", "count", "label"]:
            raise ConfigError("reply must hold {{count}}, {{label}} and {{boxes}}, each once")
        if not self.tools:
            raise ConfigError("a tool set needs a tool")

    @property
    def instruction(self) -> str:
        """The system message that lists the tools."""
        listed = "\n".join(self.listing(name) for name in self.tools)
        return self.system.replace("{{tools}}", listed).strip()

    def listing(self, name: str) -> str:
        """One tool as an assistant reads it."""
        tool = self.tools[name]
        return json.dumps({"name": name, "description": tool.description, "parameters": tool.parameters}, ensure_ascii=False)

    def names(self, *, boxes: bool) -> list[str]:
        """The tools that can be called on a picture with boxes, or without."""
        return [name for name, tool in self.tools.items() if boxes or tool.result == "none"]

    def call(self, name: str, arguments: dict[str, Any], label: str) -> str:
        """The call as an assistant writes it.

        Raises:
            Refused: `wrong_arguments`.
        """
        problem = schema_problem(arguments, self.tools[name].parameters)
        if problem is None and self.tools[name].result == "boxes" and arguments.get("label") != label:
            problem = f"label must be {label!r}, got {arguments.get('label')!r}"
        if problem is not None:
            raise Refused("wrong_arguments", f"The arguments do not fit the tool {name}: {problem}")
        return json.dumps({"name": name, "arguments": arguments}, sort_keys=True, ensure_ascii=False)

    def found(self, boxes: Sequence[Box], label: str) -> tuple[str, str]:
        """What the tool gives back, and what the assistant says then."""
        written = [box_to_text(box) for box in boxes if box.label == label]
        result = json.dumps({"count": len(written), "boxes": [json.loads(text) for text in written]})
        values = {"count": str(len(written)), "label": label, "boxes": "; ".join(written)}
        return result, re.sub(r"\{\{(\w+)\}\}", lambda match: values[match.group(1)], self.reply)


def load_tools(name: str) -> ToolSet:
    """The tool set `name`: a file, or a name below `eosin.configs/writing`.

    Raises:
        ConfigError: there is none, or it does not hold together.
    """
    return load_recipe(ToolSet, name if name.endswith((".yaml", ".yml")) else f"writing/{name}")
