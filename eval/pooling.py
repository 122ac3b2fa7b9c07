"""From scores of tiles to scores of a slide. `POOLINGS` names the ways; none of them pools vectors.

Scores are cosines of projected, unit vectors: pooling features first and projecting after is what makes slide AUROC fall to chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.errors import MissingDependency
from eosin.numerics import softmax

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Pooling:
    """How tiles are pooled.

    Attributes:
        k: tiles, for each class its own highest.
        scale: of the cosines before a softmax.
        normal: numbers of the classes that are no tumour.
        threshold: the tumour ratio above which a slide counts as tumour.
    """

    k: int
    scale: float
    normal: tuple[int, ...]
    threshold: float


def topk_mean(cosines: Scores, pooling: Pooling) -> Scores:
    """The mean of each class's k highest tiles (CONCH, Lu et al. 2024): [tiles, classes] -> [classes]; all tiles where there are fewer."""
    k = min(pooling.k, len(cosines))
    return np.asarray(np.partition(cosines, len(cosines) - k, axis=0)[-k:].mean(axis=0))


def topk_sum(cosines: Scores, pooling: Pooling) -> Scores:
    """Their sum, as MI-Zero's code has it (Lu et al. 2023): the same answer as the mean, other scores."""
    return topk_mean(cosines, pooling) * min(pooling.k, len(cosines))


def mean(cosines: Scores, pooling: Pooling) -> Scores:
    """The mean over all tiles."""
    return np.asarray(cosines.mean(axis=0))


def class_share(cosines: Scores, pooling: Pooling) -> Scores:
    """The share of tiles whose likeliest class it is; normal classes get none of it (KEEP's subtyping, Zhou et al. 2024)."""
    shares = np.bincount(cosines.argmax(axis=1), minlength=cosines.shape[1]) / len(cosines)
    # Below every share, so that a normal class is never the answer, not even where no tile is anything else.
    shares[list(pooling.normal)] = -1.0
    return np.asarray(shares)


def tumour_ratio(cosines: Scores, pooling: Pooling) -> Scores:
    """Normal and tumour: the tumour ratio (KEEP's detection) is the share of tiles with P(tumour) above one half.

    Returns:
        [2]: threshold minus ratio, ratio minus threshold; the higher is the answer.
    """
    ratio = float((tumour_probability(cosines, pooling) > 0.5).mean())
    return np.array([pooling.threshold - ratio, ratio - pooling.threshold])


def tumour_probability(cosines: Scores, pooling: Pooling) -> Scores:
    """What the softmax gives to the classes that are not normal: [tiles, classes] -> [tiles]."""
    return np.asarray(1.0 - softmax(cosines * pooling.scale)[:, list(pooling.normal)].sum(axis=1))


POOLINGS: dict[str, Callable[[Scores, Pooling], Scores]] = {
    "topk_mean": topk_mean,
    "topk_sum": topk_sum,
    "mean": mean,
    "class_share": class_share,
    "tumour_ratio": tumour_ratio,
}


# Whose scores are cosines: times the model's scale they are logits, as those of a tile.
OF_COSINES = frozenset({"topk_mean", "topk_sum", "mean"})


def smoothed(scores: Scores, places: NDArray[np.float64], neighbours: int) -> Scores:
    """Each tile's scores averaged with those of its nearest tiles, itself among them (MI-Zero): [tiles, m] -> [tiles, m].

    Args:
        scores: [tiles, m].
        places: of the tiles [tiles, 2].
        neighbours: how many tiles; all where there are fewer.

    Raises:
        MissingDependency: scipy is not installed.
    """
    try:
        from scipy.spatial import cKDTree
    except ModuleNotFoundError as error:
        raise MissingDependency("scipy", "eval") from error
    k = min(neighbours, len(scores))
    near = np.asarray(cKDTree(places).query(places, k=k)[1]).reshape(len(scores), k)
    return np.asarray(scores[near].mean(axis=1))
