"""Samples as rows, rows as batches: a function of (seed, epoch) alone.

Questions on the same images share one row: the images' tokens stand there once, each question with its answer sees them and
itself, and no other question. Logits are those of separate rows (a test proves it), for about half the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.llm.config import BatchConfig
from eosin.llm.encoding import Encoded
from eosin.seeds import generator

# Rows are sorted by length within so many batches: little padding, and still another mixture in every epoch.
_WINDOW = 8


@dataclass(frozen=True)
class Item:
    """A sample, ready to be put into a row.

    Attributes:
        variants: each epoch takes one.
        images: row numbers in the store of images.
        upright: its images must not be flipped or turned.
    """

    variants: tuple[Encoded, ...]
    images: tuple[int, ...]
    upright: bool = False


@dataclass(frozen=True)
class Row:
    """Samples that share their first `prefix` tokens and their images.

    Attributes:
        samples: one or more.
        prefix: tokens that stand in the row once.
        images: row numbers in the store of images, in order of their tokens.
        view: which flip or turn of the images.
    """

    samples: tuple[Encoded, ...]
    prefix: int
    images: tuple[int, ...]
    view: int = 0

    def __len__(self) -> int:
        return self.prefix + sum(len(sample) - self.prefix for sample in self.samples)


def plan_epoch(items: Sequence[Item], config: BatchConfig, views: int, seed: int, epoch: int) -> list[list[Row]]:
    """The batches of one epoch; every item is in exactly one row of one batch.

    Args:
        items: all of them.
        config: sizes.
        views: of an image.
        seed: of the run.
        epoch: from 0.
    """
    random = generator(seed, epoch)
    groups: dict[tuple[tuple[int, ...], bool, bytes], list[Encoded]] = {}
    for number in random.permutation(len(items)):
        item = items[number]
        chosen = item.variants[int(random.integers(len(item.variants)))]
        groups.setdefault((item.images, item.upright, chosen.ids[: chosen.prefix].tobytes()), []).append(chosen)
    rows = []
    for (images, upright, _), samples in groups.items():
        for part in _filled(samples, config):
            view = 0 if upright else int(random.integers(views))
            rows.append(Row(tuple(part), part[0].prefix, images, view))
    return _batched([rows[number] for number in random.permutation(len(rows))], config.tokens, random)


def _filled(samples: Sequence[Encoded], config: BatchConfig) -> list[list[Encoded]]:
    """Samples of one prefix, cut into rows."""
    rows: list[list[Encoded]] = []
    length = 0
    for sample in samples:
        own = len(sample) - sample.prefix
        if not rows or len(rows[-1]) == config.questions or length + own > config.row_tokens:
            rows.append([])
            length = sample.prefix
        rows[-1].append(sample)
        length += own
    return rows


def _batched(rows: Sequence[Row], tokens: int, random: np.random.Generator) -> list[list[Row]]:
    """Rows of similar length together, at most `tokens` a batch with padding (a longer row is a batch of its own)."""
    mean = max(1, sum(map(len, rows)) // max(1, len(rows)))
    window = max(1, tokens // mean) * _WINDOW
    batches: list[list[Row]] = []
    for start in range(0, len(rows), window):
        longest = 0
        batches.append([])
        for row in sorted(rows[start : start + window], key=len):
            longest = max(longest, len(row))
            if batches[-1] and longest * (len(batches[-1]) + 1) > tokens:
                batches.append([])
                longest = len(row)
            batches[-1].append(row)
    return [batches[number] for number in random.permutation(len(batches))]


@dataclass(frozen=True)
class Layout:
    """A batch as arrays, L the longest row.

    Attributes:
        ids: int64 [rows, L], 0 where padded.
        positions: int64 [rows, L]; each question goes on from the shared prefix.
        segments: int64 [rows, L]; 0 the prefix, 1 and up the questions, -1 padding.
        sources: int64 [targets], places in the flattened batch whose logits predict a token the loss counts.
        targets: int64 [targets], those tokens.
        lengths: int64 [targets], how many counted tokens the target's sample has.
        used: tokens that are no padding.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    segments: NDArray[np.int64]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    used: int


def lay_out(rows: Sequence[Row]) -> Layout:
    """A batch of rows as arrays."""
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), np.int64)
    positions = np.zeros((len(rows), width), np.int64)
    segments = np.full((len(rows), width), -1, np.int64)
    sources, targets, lengths = [], [], []
    for number, row in enumerate(rows):
        prefix = row.prefix
        ids[number, :prefix] = row.samples[0].ids[:prefix]
        positions[number, :prefix] = np.arange(prefix)
        segments[number, :prefix] = 0
        place = prefix
        for branch, sample in enumerate(row.samples, 1):
            own = len(sample) - prefix
            ids[number, place : place + own] = sample.ids[prefix:]
            positions[number, place : place + own] = np.arange(prefix, len(sample))
            segments[number, place : place + own] = branch
            counted = np.flatnonzero(sample.learn)
            # The token before a question's first one is the prefix's last, not the last of the question before it.
            before = np.where(counted <= prefix, counted - 1, counted - 1 + place - prefix)
            sources.append(number * width + before)
            targets.append(sample.ids[counted].astype(np.int64))
            lengths.append(np.full(len(counted), len(counted)))
            place += own
    joined = [np.concatenate(parts).astype(np.int64) for parts in (sources, targets, lengths)]
    return Layout(ids, positions, segments, joined[0], joined[1], joined[2], used=sum(map(len, rows)))


def attention_mask(segments: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [rows, 1, L, L]: a token sees, of those before it and itself, the prefix and its own question."""
    same = segments[:, :, None] == segments[:, None, :]
    prefix = (segments[:, None, :] == 0) & (segments[:, :, None] >= 0)
    order = np.tri(segments.shape[1], dtype=np.bool_)
    return np.asarray((same | prefix) & order)[:, None]
