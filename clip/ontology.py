"""Diseases and their kinds: OncoTree, the Disease Ontology, or a table of one's own, read from a folder with one file.

.json   OncoTree's tree ({code: {name, children}}) or its flat list ([{code, name, parent}]), or [{id, name, parents, synonyms}]
.obo    OBO 1.2 and 1.4: id, alt_id, name, EXACT synonyms, is_a of every [Term] that is not obsolete
.csv    columns id, name, parents and, if wanted, synonyms; several parents or synonyms are joined by |
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eosin.errors import InputError

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(\w*)')
_HYPHENS = dict.fromkeys((0x2010, 0x2011, 0x2212), "-")
# A sign at a word's end belongs to it: BCR-ABL1+ is not BCR-ABL1-. One within joins words, as a space does.
_WORD = re.compile(r"[^\W_]+(?:[+-]+(?!\w))?")


@dataclass(frozen=True)
class Node:
    """One disease.

    Attributes:
        id: of the ontology, such as `LUAD` or `DOID:3910`.
        name: for people.
        parents: ids of what it is a kind of.
        synonyms: other names.
        also: other ids.
        loose: names that are broader, narrower or only related; nothing is found by them.
    """

    id: str
    name: str
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ontology:
    """Nodes by number, in the file's order.

    Attributes:
        nodes: all of them.
        above: for each, the numbers of all it is a kind of, however far up, without itself.
        notes: what a user should know of names that were passed over.
    """

    nodes: tuple[Node, ...]
    above: tuple[frozenset[int], ...]
    notes: tuple[str, ...]
    _ids: dict[str, int] = field(repr=False)
    _names: dict[str, int] = field(repr=False)
    _longest: int = field(repr=False)

    def find(self, name: str) -> int:
        """The number of the node of that id, name or synonym, in this order; -1 where there is none.

        Case and punctuation do not matter, but for a + or - at a word's end.
        """
        key = _plain(name)
        return self._ids.get(key, self._names.get(key, -1))

    def find_in(self, text: str) -> int:
        """The node whose name, the longest in words, stands in `text`; -1 where none does. Ids do not count, for some are words."""
        words = _plain(text).split()
        for length in range(min(self._longest, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                signed = words[start : start + length]
                # A sign that is no part of a name is a dash of the sentence: "adenocarcinoma- low grade".
                for name in (signed, [word.rstrip("+-") for word in signed]):
                    found = self._names.get(" ".join(name), -1)
                    if found >= 0:
                        return found
        return -1

    def related(self, first: int, second: int) -> bool:
        """Whether one is the other or a kind of it."""
        return first == second or first in self.above[second] or second in self.above[first]

    def chain(self, number: int) -> str:
        """The disease and the kinds it belongs to, nearest first, each by its first parent."""
        node = self.nodes[number]
        names = [node.name]
        while node.parents:
            node = self.nodes[self._ids[_plain(node.parents[0])]]
            names.append(node.name)
        return ", a kind of ".join(names)


def read_ontology(folder: Path) -> Ontology:
    """The ontology in a folder.

    Raises:
        InputError: there is not one file of a known format, a parent is missing, an id comes twice, or the graph has a circle.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in READERS]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise InputError(f"ontology: {folder} must hold one file of {', '.join(READERS)}; it holds {names}")
    try:
        nodes = tuple(READERS[files[0].suffix.lower()](files[0]))
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{files[0]} is no ontology that can be read ({type(error).__name__}: {error}); see docs/clip.md") from error
    if not nodes:
        raise InputError(f"{files[0]} holds no disease")
    for node in nodes:
        texts = (node.id, node.name, *node.parents, *node.synonyms)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError(f"{files[0]}: the node {node.id!r} needs a name, and parents and synonyms that are texts; got {node}")
    return build_ontology(nodes, files[0].name)


def build_ontology(nodes: tuple[Node, ...], where: str) -> Ontology:
    """Nodes with their ancestors.

    Raises:
        InputError: see `read_ontology`.
    """
    ids: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if ids.setdefault(_plain(node.id), number) != number:
            raise InputError(f"{where}: the id {node.id} comes twice")
    missing = sorted({parent for node in nodes for parent in node.parents if _plain(parent) not in ids})
    if missing:
        raise InputError(f"{where}: {len(missing)} parents are no nodes, such as {missing[0]}")
    names: dict[str, int] = {}
    shared = [
        *_enter(ids, ((other, number) for number, node in enumerate(nodes) for other in node.also), nodes),
        *_enter(names, ((node.name, number) for number, node in enumerate(nodes)), nodes),
        # All names first: what one disease is called elsewhere is never taken from the disease of that name.
        *_enter(names, ((name, number) for number, node in enumerate(nodes) for name in node.synonyms), nodes),
    ]
    parents = [tuple(ids[_plain(parent)] for parent in node.parents) for node in nodes]
    longest = max((len(name.split()) for name in names), default=0)
    loose = sum(len(node.loose) for node in nodes)
    notes = [f"{where}: {len(shared)} names stand for more than one disease, such as {shared[0]}"] if shared else []
    notes += [f"{where}: {loose} synonyms that are not EXACT are passed over"] if loose else []
    return Ontology(nodes, _ancestors(parents, nodes, where), tuple(notes), ids, names, longest)


def _enter(table: dict[str, int], entries: Iterable[tuple[str, int]], nodes: tuple[Node, ...]) -> list[str]:
    """Enter names that are still free; says which were another's."""
    taken = []
    for name, number in entries:
        key = _plain(name)
        if key and (holder := table.setdefault(key, number)) != number:
            taken.append(f"{name!r}, which is taken for {nodes[holder].id} and not for {nodes[number].id}")
    return taken


def _ancestors(parents: list[tuple[int, ...]], nodes: tuple[Node, ...], where: str) -> tuple[frozenset[int], ...]:
    """Everything above each node: parents first, so that each is joined once."""
    below: list[list[int]] = [[] for _ in parents]
    waiting = [len(above) for above in parents]
    for number, above in enumerate(parents):
        for parent in above:
            below[parent].append(number)
    found: list[frozenset[int]] = [frozenset()] * len(parents)
    ready = [number for number, left in enumerate(waiting) if not left]
    done = 0
    while ready:
        number = ready.pop()
        done += 1
        found[number] = frozenset(parents[number]).union(*(found[parent] for parent in parents[number]))
        for child in below[number]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    if done < len(parents):
        stuck = next(nodes[number].id for number, left in enumerate(waiting) if left)
        raise InputError(f"{where}: {stuck} is, over its parents, a kind of itself")
    return tuple(found)


def _plain(name: str) -> str:
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", name).translate(_HYPHENS).casefold()))


def _read_json(path: Path) -> Iterator[Node]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        return _tree(content, None)
    return (_flat(entry) for entry in content)


def _tree(level: dict[str, Any], parent: str | None) -> Iterator[Node]:
    for code, entry in level.items():
        yield Node(code, entry["name"], (parent,) if parent else ())
        yield from _tree(entry.get("children") or {}, code)


def _flat(entry: dict[str, Any]) -> Node:
    parents, synonyms = (
        (given,) if isinstance(given, str) else tuple(given or ())
        for given in (entry.get("parents", entry.get("parent")), entry.get("synonyms"))
    )
    return Node(str(entry.get("id") or entry["code"]), entry["name"], parents, synonyms)


def _read_csv(path: Path) -> Iterator[Node]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        for row in csv.DictReader(handle):
            yield Node(row["id"].strip(), row["name"].strip(), _parts(row["parents"]), _parts(row.get("synonyms") or ""))


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split("|") if part.strip())


def _read_obo(path: Path) -> Iterator[Node]:
    for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")):
        lines = stanza.strip().splitlines()
        if not lines or lines[0].strip() != "[Term]":
            continue
        tags: dict[str, list[str]] = {}
        for line in lines[1:]:
            tag, _, value = line.partition(":")
            tags.setdefault(tag.strip(), []).append(value.strip())
        if tags.get("is_obsolete") == ["true"]:
            continue
        exact, loose = _synonyms(tags.get("synonym", ()))
        parents, also = (tuple(_bare(tags.get(tag, ()))) for tag in ("is_a", "alt_id"))
        yield Node(tags["id"][0], tags["name"][0], parents, exact, also, loose)


def _bare(values: Iterable[str]) -> Iterator[str]:
    """Ids without the comment and the qualifiers behind them."""
    return (re.split(r"[\s{!]", value, maxsplit=1)[0] for value in values)


def _synonyms(values: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The EXACT ones, and all others; one without a scope is RELATED."""
    found = [(match.group(1), match.group(2)) for value in values if (match := _QUOTED.search(value)) and match.group(1).strip()]
    return tuple(name for name, scope in found if scope == "EXACT"), tuple(name for name, scope in found if scope != "EXACT")


READERS: dict[str, Callable[[Path], Iterator[Node]]] = {".json": _read_json, ".obo": _read_obo, ".csv": _read_csv}
