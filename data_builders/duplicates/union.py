"""Pairs joined into clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


def components(count: int, left: Places, right: Places) -> Places:
    """The connected components of a graph over `count` places.

    Every place takes the smallest root among its neighbours' and chains are cut short by half each round (Shiloach and Vishkin 1982), so
    that a chain of a million takes some twenty rounds.

    Args:
        count: of the places.
        left: int64 [m], one end of each edge.
        right: the other end.

    Returns:
        int64 [count]: the smallest place of each one's component.
    """
    roots = np.arange(count, dtype=np.int64)
    left, right = np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)
    while len(left):
        one, other = roots[left], roots[right]
        apart = one != other
        if not apart.any():
            break
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := roots[roots], roots):
            roots = shorter
    return roots


def equal_pairs(keys: NDArray[np.bytes_] | NDArray[np.uint64], used: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Each place whose key another place has before it, with the first such place: enough to join all equals.

    Args:
        keys: [n]; byte strings all of one length, for numpy takes no zero at their end for a part of them.
        used: bool [n]; the others are left out.
    """
    places = np.flatnonzero(used)
    _, first, inverse = np.unique(keys[places], return_index=True, return_inverse=True)
    firsts = places[first[inverse]]
    again = firsts != places
    return firsts[again], places[again]
