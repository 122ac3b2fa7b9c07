"""Pure array functions that several stages need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError

Floats = NDArray[np.float32]

_DENSITIES = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
# Optical density of haematoxylin, eosin and residual (DAB) in R, G, B (Ruifrok and Johnston 2001), float64 [3, 3], unit rows.
STAINS = _DENSITIES / np.linalg.norm(_DENSITIES, axis=1, keepdims=True)


def unit_rows(vectors: NDArray[np.floating]) -> Floats:
    """Rows scaled to unit length.

    Args:
        vectors: [n, d].

    Returns:
        float32 [n, d].

    Raises:
        InputError: a row is zero or not finite; there is no direction in it.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if bad.size:
        raise InputError(f"{bad.size} of {len(rows)} vectors are zero or not finite, the first is row {bad[0]}")
    return np.asarray(rows / lengths, dtype=np.float32)


def ensemble(prompt_vectors: Sequence[Floats]) -> Floats:
    """One classifier weight a class: the mean of its prompts' unit vectors, scaled to unit length (Radford et al. 2021, 3.1.4).

    Args:
        prompt_vectors: for each class, unit vectors [prompts, d].

    Returns:
        float32 [classes, d].
    """
    return unit_rows(np.stack([vectors.mean(axis=0) for vectors in prompt_vectors]))


def softmax(logits: NDArray[np.floating], axis: int = -1) -> NDArray[np.float64]:
    """Softmax in float64, safe for large logits."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def top_k(scores: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Columns of the k largest scores in each row, best first; ties go to the lower column.

    Args:
        scores: [n, m].
        k: at most m are returned.
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def colour_statistics(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of R, G, B: six numbers, the colour baseline's whole view of an image.

    Args:
        image: uint8 [height, width, 3].
    """
    counts = np.stack([np.bincount(channel, minlength=256) for channel in image.reshape(-1, 3).T])
    levels = np.arange(256)
    # Whole numbers until the division: exact, and several times faster than floats of every pixel.
    mean = counts @ levels / counts[0].sum()
    variance = counts @ levels**2 / counts[0].sum() - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0.0))])
