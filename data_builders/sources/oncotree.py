"""OncoTree: the tumour classification of Memorial Sloan Kettering as questions about kinds, parents and sites (Kundra et al. 2021)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.questions import LETTERS
from eosin.data_builders.sources.reading.json_files import document
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Section, Source, sections_of
from eosin.data_builders.subjects import stable_number
from eosin.errors import InputError
from eosin.records import Conversation, Message, Part, Record

_FORMS = ("site", "parent", "kind")
_OPTIONS = 4


@dataclass(frozen=True)
class Node:
    """A tumour type.

    Attributes:
        code: OncoTree's own.
        name: in words.
        parent: code of the next broader type; empty for a tissue.
        tissue: the organ or tissue it is filed under.
        above: codes of all broader types, the nearest first.
    """

    code: str
    name: str
    parent: str
    tissue: str
    above: tuple[str, ...]


@dataclass(frozen=True)
class OncoTreeOptions:
    """What is asked.

    Attributes:
        seed: of the choice and order of options.
    """

    seed: int = 0


class OncoTree(Source[OncoTreeOptions]):
    """Text-only conversations, three a tumour type: its site (open), its parent (multiple choice), whether it is a kind of another."""

    Options = OncoTreeOptions
    card = Card(
        name="oncotree",
        title="OncoTree tumour types",
        kind="conversations",
        paper="Kundra et al., OncoTree: A Cancer Classification System for Precision Oncology, JCO Clinical Cancer Informatics 2021",
        homepage="https://oncotree.mskcc.org",
        licence="CC-BY-4.0",
        gated=False,
        commercial="yes",
        files=(
            ExpectedFile("oncotree*.json", "one release as a tree of nodes (TISSUE at the root)", "/api/tumorTypes/tree of the homepage"),
        ),
        counts={},
        splits="None official.",
        groups="The tissue a tumour type is filed under: parents and children are never in two splits.",
        problems=(
            "Codes are renamed between releases: ids hold for one release; the file's name goes into extra.",
            "Several names are shared by two codes; such names are never offered as a wrong option.",
        ),
        citation="@article{kundra2021oncotree, title={OncoTree: A Cancer Classification System for Precision Oncology}, "
        "author={Kundra, Ritika and others}, journal={JCO Clinical Cancer Informatics}, year={2021}}",
    )

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """All tumour types below a tissue, depth first, in the order of the file."""
        path = self.path("oncotree*.json")
        tree = document(path)
        if not isinstance(tree, dict) or not all(isinstance(root, dict) and "children" in root for root in tree.values()):
            raise InputError(f"{path}: not OncoTree's tree: a mapping of codes to nodes with children is wanted")
        found: list[Node] = []
        for root in tree.values():
            for tissue in root["children"].values():
                _collect(tissue, (), found, path)
        return found

    def sections(self) -> Iterable[Section]:
        return sections_of(self.path("oncotree*.json").name, len(_FORMS) * len(self.nodes))

    def items(self, section: Section) -> Iterator[Item]:
        for number in range(section.start, section.stop):
            node, form = self.nodes[number // len(_FORMS)], _FORMS[number % len(_FORMS)]
            # A tissue has no parent, and its site is its name.
            if node.parent:
                key = f"{node.code}/{form}"
                yield Item(key, "none", functools.partial(self._record, key, node, form, section.name))

    def _record(self, key: str, node: Node, form: str, release: str) -> Record:
        names = self._names
        draw = functools.partial(stable_number, self.options.seed, key)
        options: tuple[str, ...] = ()
        if form == "site":
            task, answer = "open", node.tissue
            question = f"In which organ or tissue does OncoTree file {node.name}?"
        elif form == "parent":
            task, answer = "mcq", names[node.parent]
            wrong = sorted(self._wrong(node), key=draw)[: _OPTIONS - 1]
            options = tuple(sorted([answer, *wrong], key=functools.partial(draw, "order")))
            listed = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
            question = f"Of which of these is {node.name} a kind, in OncoTree?\n{listed}"
        else:
            task, answer = "closed", ("yes", "no")[draw("truth") % 2]
            broader = names[node.parent] if answer == "yes" else min(self._wrong(node), key=draw)
            question = f"Is {node.name} a kind of {broader}, in OncoTree?"
        turns = (Message("user", (Part("text", question),)), Message("assistant", (Part("text", answer),)))
        return Conversation(
            **self.base(key, node.tissue),
            images=(),
            messages=turns,
            task=task,
            answer=answer,
            options=options,
            extra={"code": node.code, "release": release},
        )

    def _wrong(self, node: Node) -> set[str]:
        """Names of types that are neither broader nor narrower than this one: other parents of the tree."""
        right = {self._names[code] for code in (node.code, *node.above, *self._below.get(node.code, ()))}
        return {name for name in self._parents if name not in right}

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {node.code: node.name for node in self.nodes}

    @functools.cached_property
    def _below(self) -> dict[str, list[str]]:
        below: dict[str, list[str]] = {}
        for node in self.nodes:
            for code in node.above:
                below.setdefault(code, []).append(node.code)
        return below

    @functools.cached_property
    def _parents(self) -> tuple[str, ...]:
        codes = {node.parent for node in self.nodes}
        return tuple(dict.fromkeys(node.name for node in self.nodes if node.code in codes))


def _collect(values: dict[str, Any], above: tuple[str, ...], found: list[Node], path: Path) -> None:
    try:
        code, name, tissue = (str(values[key]) for key in ("code", "name", "tissue"))
        children = values["children"].values()
    except (KeyError, AttributeError) as error:
        raise InputError(f"{path}: a node lacks {error}; fetch it again") from error
    found.append(Node(code, name, above[0] if above else "", tissue, above))
    for child in children:
        _collect(child, (code, *above), found, path)
