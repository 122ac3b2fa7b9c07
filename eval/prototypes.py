"""A slide as shares and means over clusters of tiles (Vu et al. 2023, H2T; Song et al. 2024, PANTHER, with hard assignments)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eosin.errors import MissingDependency
from eosin.numerics import Floats

# Tiles that k-means sees: more of them move no centre of a few dozen.
_SAMPLE = 50_000


def find_prototypes(slides: Sequence[Floats], count: int, seed: int) -> Floats:
    """k-means centres of training tiles, as many drawn from each slide: float32 [count, d].

    Raises:
        MissingDependency: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError as error:
        raise MissingDependency("scikit-learn", "eval") from error
    rng = np.random.default_rng(seed)
    each = max(1, _SAMPLE // len(slides))
    tiles = np.concatenate([tiles[rng.permutation(len(tiles))[:each]] for tiles in slides])
    found = KMeans(min(count, len(tiles)), random_state=seed, n_init=4).fit(tiles)
    return np.asarray(found.cluster_centers_, dtype=np.float32)


def over_prototypes(tiles: Floats, prototypes: Floats) -> NDArray[np.float32]:
    """Shares [p] and, for each prototype, the mean of its tiles minus it, weighed by its share: float32 [p + p x d].

    Args:
        tiles: [n, d].
        prototypes: [p, d].
    """
    nearest = (tiles @ prototypes.T - (prototypes**2).sum(axis=1) / 2).argmax(axis=1)
    shares = np.bincount(nearest, minlength=len(prototypes)) / len(tiles)
    sums = np.zeros_like(prototypes)
    np.add.at(sums, nearest, tiles - prototypes[nearest])
    return np.concatenate([shares, (sums / len(tiles)).ravel()]).astype(np.float32)
