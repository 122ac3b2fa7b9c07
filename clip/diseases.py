"""Diseases of records and captions: who is about which node, and KEEP's ways of saying it (Zhou et al. 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.clip.config import DiseaseConfig
from eosin.clip.ontology import Ontology
from eosin.errors import ConfigError
from eosin.records import ImageText

_TEMPLATES = ("a histopathology image of {name}", "an H&E image showing {name}", "{name}, H&E", "a pathology slide of {name}")


@dataclass(frozen=True)
class Diseases:
    """The ontology as the batches ask it."""

    ontology: Ontology

    def related(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [n, n]: one node is the other or a kind of it; -1 is related to nobody."""
        found = np.zeros((len(nodes), len(nodes)), dtype=bool)
        for row, node in enumerate(nodes):
            if node >= 0:
                found[row] = np.isin(nodes, [node, *self.ontology.above[node]])
        return found | found.T


def node_finder(ontology: Ontology, config: DiseaseConfig) -> Callable[[ImageText], int]:
    """What gives a record's node, -1 for none."""

    def find(record: ImageText) -> int:
        told = record.extra.get(config.key)
        node = ontology.find(str(told)) if told is not None else -1
        if node < 0 and config.from_captions:
            node = next((found for caption in record.captions if (found := ontology.find_in(caption)) >= 0), -1)
        return node

    return find


def count_diseases(nodes: NDArray[np.int64]) -> dict[str, int]:
    """How many records have a disease, how many diseases there are, and how many of them have one record only.

    Raises:
        ConfigError: no record has a disease.
    """
    known = Counter(nodes[nodes >= 0].tolist())
    if not known:
        raise ConfigError(
            "an ontology is given, but no record is about one of its diseases; set disease.key to the key of `extra` that names it, or "
            "disease.from_captions=true"
        )
    single = sum(count == 1 for count in known.values())
    return {"records": int(sum(known.values())), "diseases": len(known), "diseases_of_one_record": single}


def reword(caption: str, node: int, diseases: Diseases, config: DiseaseConfig, random: np.random.Generator) -> str:
    """A caption as KEEP varies it: sometimes the disease and its kinds instead, sometimes words left out."""
    replaced, dropped, template = random.random(3)
    if node >= 0 and replaced < config.label_captions:
        return _TEMPLATES[int(template * len(_TEMPLATES))].format(name=diseases.ontology.chain(node))
    if dropped < 0.5 and config.word_drop:
        words = caption.split()
        kept = [word for word, keep in zip(words, random.random(len(words)) >= config.word_drop, strict=True) if keep]
        return " ".join(kept) or caption
    return caption
