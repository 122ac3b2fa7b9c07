"""The order of an epoch: each record once, decided by (seed, epoch) alone, and readable from disk in long strokes.

A data set that fits into the window is shuffled as a whole. A larger one is shuffled by row group; the groups are cut into windows, and
each window is shuffled as a whole, so that only one window's files are open in memory. (Shuffle before sharding as well: what lies side
by side in a row group meets in a window.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eosin.seeds import generator

Ints = NDArray[np.int64]


def epoch_order(seed: int, epoch: int, count: int, blocks: Ints, window: int) -> list[Ints]:
    """The records' numbers, window by window.

    Args:
        seed: of the run.
        epoch: counted from 0.
        count: of records.
        blocks: number of the first record of each row group.
        window: records that are shuffled among each other, at least.
    """
    random = generator(seed, epoch)
    if count <= window:
        return [random.permutation(count)]
    ends = np.append(blocks[1:], count)
    order = random.permutation(len(blocks))
    filled = np.cumsum(ends[order] - blocks[order])
    windows, begin = [], 0
    while begin < len(order):
        before = int(filled[begin - 1]) if begin else 0
        end = min(int(np.searchsorted(filled, before + window)) + 1, len(order))
        numbers = np.concatenate([np.arange(blocks[block], ends[block]) for block in order[begin:end]])
        windows.append(random.permutation(numbers))
        begin = end
    return windows


def together(numbers: Ints, nodes: Ints, each: int, random: np.random.Generator) -> Ints:
    """The same numbers, up to `each` of one node side by side, in a random order of such handfuls (KEEP's batches of 32 diseases x 4).

    Args:
        numbers: in random order.
        nodes: the node of each of them, -1 for none: then it stands alone.
        each: largest handful.
        random: decides the order.
    """
    by_node = np.argsort(nodes, kind="stable")
    found = nodes[by_node]
    new = np.append(True, found[1:] != found[:-1]) | (found < 0)
    first = np.maximum.accumulate(np.where(new, np.arange(len(found)), 0))
    handful = np.cumsum(new | ((np.arange(len(found)) - first) % each == 0)) - 1
    ranks = random.permutation(int(handful[-1]) + 1)
    return numbers[by_node][np.argsort(ranks[handful], kind="stable")]
