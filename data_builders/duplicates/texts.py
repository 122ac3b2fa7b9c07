"""Near-duplicate texts: MinHash (Broder 1997) of character shingles, by datasketch; candidates by bands, in numpy."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eosin.data_builders.duplicates.neighbours import Pairs, joined
from eosin.data_builders.duplicates.union import equal_pairs
from eosin.errors import MissingDependency

if TYPE_CHECKING:
    from types import ModuleType

PERMUTATIONS = 128
_BANDS = 32
_SHINGLE = 5
# Mixes the halves of a band into one key; what falls together by chance is not confirmed.
_ODD = np.uint64(0x9E3779B97F4A7C15)
_DIGEST = 16
# "Colon adenocarcinoma." is said of thousands of images: so short a text tells no two of them apart.
FEWEST_LETTERS = 40
# Jaccard similarity of the shingles: a word changed in twenty leaves about 0.85.
LEAST_LIKENESS = 0.7


def normalised(text: str) -> str:
    """Letters and digits only, in lower case, single spaces between."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in folded).split())


def sketch(text: str) -> bytes | None:
    """Digest (16 bytes) of the normalised text and its MinHash (128 x uint32), or None for a text that is too short to tell images apart.

    Raises:
        MissingDependency: datasketch is not installed.
    """
    plain = normalised(text)
    if len(plain) < FEWEST_LETTERS:
        return None
    shingles = sorted({plain[start : start + _SHINGLE].encode() for start in range(len(plain) - _SHINGLE + 1)})
    minhash = _datasketch().MinHash(num_perm=PERMUTATIONS, seed=1)
    minhash.update_batch(shingles)
    return text_key(text) + np.asarray(minhash.hashvalues, dtype="<u4").tobytes()


def text_key(text: str) -> bytes:
    """16 bytes, equal for texts that are equal when normalised."""
    return hashlib.sha256(normalised(text).encode()).digest()[:_DIGEST]


def _datasketch() -> ModuleType:
    try:
        import datasketch
    except ImportError as error:
        raise MissingDependency("datasketch", "data") from error
    return datasketch  # type: ignore[no-any-return]


def minhashes(sketches: list[bytes]) -> NDArray[np.uint32]:
    """uint32 [n, 128] of sketches."""
    return np.frombuffer(b"".join(one[_DIGEST:] for one in sketches), dtype="<u4").reshape(len(sketches), PERMUTATIONS)


def text_pairs(hashes: NDArray[np.uint32], least: float = LEAST_LIKENESS) -> Pairs:
    """Texts whose estimated similarity is at least `least`; the distance is 1 - similarity.

    Texts that share a band of four minima are candidates by way of the first that has it, so that a phrase said a million times costs a
    million comparisons, not their square; of texts of similarity 0.7, 9,998 of 10,000 pairs share a band.

    Args:
        hashes: uint32 [n, 128].
        least: Jaccard similarity.
    """
    found, width = [], PERMUTATIONS // _BANDS
    everything = np.ones(len(hashes), dtype=bool)
    for band in range(_BANDS):
        low, high = np.ascontiguousarray(hashes[:, band * width : (band + 1) * width]).view(np.uint64).T
        left, right = equal_pairs(low * _ODD ^ high, everything)
        likeness = np.concatenate(
            [_likeness(hashes, left[at : at + 65536], right[at : at + 65536]) for at in range(0, len(left) + 1, 65536)]
        )
        near = likeness >= least
        found.append(Pairs(left[near], right[near], (1 - likeness[near]).astype(np.float32)))
    return joined(found)


def _likeness(hashes: NDArray[np.uint32], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((hashes[left] == hashes[right]).mean(1))
