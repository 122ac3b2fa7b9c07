"""Couples: records paired so that questions about them cannot be answered without looking.

Two records of different values ask each other's question: whatever text is a yes for one is a no for the other. So yes and no are
equally frequent for every exact text, in every class, and a model that reads the question alone stays at one half (Goyal et
al. 2017 balanced VQA v2 with pairs of pictures in the same way).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def couple(values: Sequence[str], rng: np.random.Generator) -> list[tuple[int, int]]:
    """As many disjoint pairs of places with different values as there can be, drawn at random.

    Each pair takes one place of the value that has most left, so that nothing but a surplus of one value, or one odd place, is
    left over.

    Args:
        values: the value at each place.

    Returns:
        Pairs of places; within a pair, the first is the one of the value that had most left.
    """
    left: dict[str, list[int]] = {}
    for place in rng.permutation(len(values)):
        left.setdefault(values[place], []).append(int(place))
    pairs = []
    while len(left) > 1:
        names = list(left)
        sizes = np.array([len(left[name]) for name in names], dtype=np.float64)
        most = int(sizes.argmax())
        sizes[most] = 0
        partner = int(rng.choice(len(names), p=sizes / sizes.sum()))
        pairs.append((left[names[most]].pop(), left[names[partner]].pop()))
        for name in (names[most], names[partner]):
            if not left[name]:
                del left[name]
    return pairs


def couple_within(groups: Sequence[str], values: Sequence[str], rng: np.random.Generator) -> list[tuple[int, int]]:
    """`couple`, for each group on its own: pairs never join two groups.

    Args:
        groups: the group at each place.
        values: the value at each place.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    pairs = []
    for places in members.values():
        pairs += [(places[a], places[b]) for a, b in couple([values[place] for place in places], rng)]
    return pairs


def balanced_positions(places: Sequence[int], options: int, rng: np.random.Generator) -> dict[int, int]:
    """A position from 0 to `options` - 1 for the right option at each place; each position equally often, or one more."""
    first = int(rng.integers(options))
    return {int(place): (first + rank) % options for rank, place in enumerate(rng.permutation(np.asarray(places, dtype=np.int64)))}
