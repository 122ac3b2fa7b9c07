"""Pairs of fingerprints by each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.data_builders.duplicates.image_hash import RADIUS
from eosin.data_builders.duplicates.neighbours import Pairs, embedding_pairs, hash_pairs, joined
from eosin.data_builders.duplicates.overlay import LEAST_OVERLAP, overlap
from eosin.data_builders.duplicates.prints import GreyPictures, Prints
from eosin.data_builders.duplicates.texts import LEAST_LIKENESS, minhashes, text_pairs
from eosin.data_builders.duplicates.union import equal_pairs
from eosin.data_builders.nearest import case_blocks
from eosin.errors import ConfigError, InputError
from eosin.numerics import Floats


@dataclass(frozen=True)
class Nearness:
    """What counts as a near duplicate.

    Attributes:
        bits: the largest Hamming distance of perceptual hashes, of 256, in the best of eight orientations; 0 for equal hashes only.
        words: the smallest Jaccard similarity of texts, estimated by MinHash.
        likeness: the smallest cosine of embeddings.
        neighbours: nearest neighbours by embedding that are looked at.
        overlap: the smallest correlation of two images laid over each other, asked of neighbours by embedding; 0 asks nothing. A model
            that has not seen many slides puts tiles of one tissue as close together as copies: cosines alone do not tell them apart.
    """

    bits: int = RADIUS
    words: float = LEAST_LIKENESS
    likeness: float = 0.8
    neighbours: int = 8
    overlap: float = LEAST_OVERLAP

    def __post_init__(self) -> None:
        if not 0 <= self.bits < 128:
            raise ConfigError(
                f"bits is {self.bits}; a distance of 0 to 127 is wanted: unrelated images differ by 128 of 256 bits in the mean"
            )
        if self.neighbours < 1:
            raise ConfigError(f"neighbours is {self.neighbours}; at least 1 is wanted")
        for name in ("words", "likeness", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a number from 0 to 1 is wanted")


@dataclass(frozen=True)
class Vectors:
    """Embeddings of fingerprints.

    Attributes:
        rows: int64 [m], of the fingerprints that have one.
        values: float32 [m, d], unit rows.
    """

    rows: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Links:
    """Pairs of fingerprint rows, by method: `exact`, `hash`, `text`, `embedding`."""

    pairs: Mapping[str, Pairs] = field(default_factory=dict)

    def of(self, *methods: str) -> Pairs:
        """All pairs of these methods."""
        return joined([self.pairs[name] for name in methods if name in self.pairs])


def exact_pairs(prints: Prints) -> Pairs:
    """Images of equal pixels (equal bytes where they cannot be decoded), each with the first of its kind."""
    left, right = equal_pairs(prints.digests, prints.digests != b"")
    return Pairs(left, right, np.zeros(len(left), np.float32))


def near_image_pairs(prints: Prints, nearness: Nearness) -> Pairs:
    """Images that look alike by their hashes."""
    return _of_rows(hash_pairs(prints.signs, prints.spectra, nearness.bits), prints.hashed)


def near_text_pairs(prints: Prints, nearness: Nearness) -> Pairs:
    """Texts that are nearly the same."""
    return _of_rows(text_pairs(minhashes(prints.words), nearness.words), prints.told)


def near_vector_pairs(prints: Prints, vectors: Vectors, greys: GreyPictures, nearness: Nearness) -> Pairs:
    """Neighbours by embedding; where `overlap` is asked for, those that show the same, with 1 - correlation as their distance."""
    found = _of_rows(embedding_pairs(vectors.values, nearness.likeness, nearness.neighbours), vectors.rows)
    if not nearness.overlap:
        return found
    scores = np.array(
        [_overlap(greys, int(one), int(other)) for one, other in zip(prints.origin[found.left], prints.origin[found.right], strict=True)]
    )
    near = scores >= nearness.overlap
    return Pairs(found.left[near], found.right[near], (1 - scores[near]).astype(np.float32))


def _overlap(greys: GreyPictures, one: int, other: int) -> float:
    left, right = greys[one], greys[other]
    # The smaller one of a pair shows a part of the other; which one that is, nobody said.
    return 0.0 if left is None or right is None else max(overlap(left, right), overlap(right, left))


def _of_rows(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    return Pairs(rows[pairs.left], rows[pairs.right], pairs.distance)


def vectors_by_id(prints: Prints, embeddings: Sequence[Artefact]) -> Vectors:
    """The vectors of `embeddings` artefacts for the fingerprints of the same ids.

    Raises:
        InputError: none of them fits, or the artefacts are of several models.
    """
    models = {str(artefact.manifest["results"].get("fingerprint")) for artefact in embeddings}
    if len(models) > 1:
        raise InputError(f"the embeddings are of {len(models)} models ({', '.join(sorted(models))}); embed all data with one")
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(prints.ids):
        rows_of.setdefault(name, []).append(row)
    rows, values = [], []
    for artefact in embeddings:
        for block in case_blocks(artefact):
            places = [(row, number) for number, case in enumerate(block.rows) for row in rows_of.pop(case["id"], ())]
            rows += [row for row, _ in places]
            values.append(block.vectors[np.array([number for _, number in places], np.int64)])
    if not rows:
        raise InputError("no embedding is of an image of the data: the ids differ; embed these data")
    order = np.argsort(np.array(rows, np.int64), kind="stable")
    return Vectors(np.array(rows, np.int64)[order], np.concatenate(values)[order])
