"""Batches by number: what step s sees is decided by (seed, s) alone, whoever prepares it, in however many threads.

So a run goes on in the middle of an epoch by asking for the next number; there is no state of a loader to save.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from eosin.clip.augment import Draws, draw
from eosin.clip.config import ClipTrainConfig
from eosin.clip.diseases import Diseases, reword
from eosin.clip.distributed import World
from eosin.clip.order import epoch_order, together
from eosin.clip.pairs import Holders, Pairs
from eosin.clip.relations import Keys
from eosin.clip.token_table import TokenTable
from eosin.clip.tokens import Tokeniser
from eosin.seeds import generator

Ints = NDArray[np.int64]

_AHEAD = 2
# Draws of an epoch's handfuls and of reworded captions, apart from those of order and augmentation.
_HANDFULS, _WORDS = 1 << 20, 1 << 21


@dataclass(frozen=True)
class Batch:
    """This process's part of a step.

    Attributes:
        numbers: int64 [m] its records.
        images: uint8 [m, 3, size, size], cropped and turned.
        draws: of augmentation, of the same records.
        tokens: int64 [m * each, context], record after record, hard captions behind a record's own.
        length: of the longest text, end token included.
        keys: of the whole batch, all processes together.
        cut: how many of the texts that were reworded were cut; None where none are reworded.
    """

    numbers: Ints
    images: NDArray[np.uint8]
    draws: Draws
    tokens: torch.Tensor
    length: int
    keys: Keys
    cut: int | None = None


class Batches:
    """The batches of a run.

    Args:
        config: the recipe.
        pairs: the records.
        tokens: their captions.
        size: side of the model's input.
        world: the processes that share a batch.
        diseases: of the ontology; None without one.
        tokeniser: for captions that are reworded on the way; None where none is.
    """

    def __init__(
        self,
        config: ClipTrainConfig,
        pairs: Pairs,
        tokens: TokenTable,
        size: int,
        world: World,
        diseases: Diseases | None = None,
        tokeniser: Tokeniser | None = None,
    ) -> None:
        self._config, self._pairs, self._tokens, self._image_size = config, pairs, tokens, size
        self._world, self._diseases, self._tokeniser = world, diseases, tokeniser
        self._orders: dict[int, Ints] = {}
        kinds = {"same_caption_or_label": pairs.index.labels, "same_disease": pairs.index.nodes}.get(config.positives)
        self._holders = Holders(pairs.index, kinds) if config.objective.hard_captions and kinds is not None else None

    @property
    def size(self) -> int:
        """Records a batch: as configured, or as many as there are and the processes can share."""
        return min(self._config.batch_size, len(self._pairs) // self._world.size * self._world.size)

    @property
    def per_epoch(self) -> int:
        """Full batches only."""
        return len(self._pairs) // self.size

    def order(self, epoch: int) -> Ints:
        """The numbers of an epoch, each once."""
        known = self._orders.get(epoch)
        if known is not None:
            return known
        config, index = self._config, self._pairs.index
        windows = epoch_order(config.seed, epoch, len(index), self._pairs.blocks, config.shuffle_window)
        if config.disease.per_batch > 1:
            random = generator(config.seed, _HANDFULS, epoch)
            windows = [together(window, index.nodes[window], config.disease.per_batch, random) for window in windows]
        order = np.concatenate(windows)
        # Threads that run ahead are at most one epoch further.
        self._orders = {**{held: known for held, known in self._orders.items() if held == epoch - 1}, epoch: order}
        return order

    def batch(self, step: int) -> Batch:
        """This process's part of a step's batch."""
        epoch, place = divmod(step, self.per_epoch)
        return self._make(epoch, self.order(epoch)[place * self.size : (place + 1) * self.size])

    def _make(self, epoch: int, numbers: Ints) -> Batch:
        config, index, objective = self._config, self._pairs.index, self._config.objective
        draws = draw(config.augment, config.seed, epoch, numbers, self._microns(numbers))
        drawn = index.drawn(numbers, draws.caption, objective.captions)
        texts = np.concatenate([drawn, index.hard_of(numbers, objective.hard_captions)], axis=1) if objective.hard_captions else drawn
        own = self._world.share(len(numbers))
        ids, cut = self._ids(epoch, numbers[own], texts[own])
        hard = np.zeros(texts.shape, dtype=bool)
        hard[:, objective.captions :] = True
        images = self._pairs.images.batch(numbers[own], draws.affine[own], self._image_size)
        keys = self._keys(numbers, texts, hard)
        return Batch(numbers[own], images, draws.part(own), torch.from_numpy(ids), self._tokens.longest(ids), keys, cut)

    def _microns(self, numbers: Ints) -> NDArray[np.float64] | None:
        return self._pairs.index.microns[numbers] / self._image_size if self._config.augment.mpp else None

    def _ids(self, epoch: int, numbers: Ints, texts: Ints) -> tuple[Ints, int | None]:
        """Tokens of the texts, reworded where the recipe asks for it, and how many of those were cut."""
        ids = self._tokens.ids(texts.reshape(-1))
        if self._tokeniser is None or self._diseases is None:
            return ids, None
        captions, cut = self._config.objective.captions, 0
        for place, number in enumerate(numbers):
            random = generator(self._config.seed, _WORDS, epoch, int(number))
            rows = place * texts.shape[1] + np.arange(captions)
            node = int(self._pairs.index.nodes[number])
            said = [
                reword(self._pairs.texts[int(text)], node, self._diseases, self._config.disease, random) for text in texts[place, :captions]
            ]
            ids[rows], longer = self._tokeniser(said)
            cut += int(longer.sum())
        return ids, cut

    def _keys(self, numbers: Ints, texts: Ints, hard: NDArray[np.bool_]) -> Keys:
        index = self._pairs.index
        nodes, place = np.unique(index.nodes[numbers], return_inverse=True)
        related = self._diseases.related(nodes) if self._diseases is not None else np.zeros((len(nodes), len(nodes)), dtype=bool)
        node = np.where(index.nodes[numbers] < 0, -1, place)
        arrays = (
            *(index.held_by(numbers), texts.reshape(-1), hard.reshape(-1), index.groups[numbers], index.labels[numbers], node, related),
            self._held_elsewhere(texts.reshape(-1), nodes),
        )
        return Keys(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))

    def _held_elsewhere(self, texts: Ints, nodes: Ints) -> Ints:
        """`Keys.holders`; a disease by its place among those of the batch."""
        if self._holders is None:
            return np.empty((len(texts), 0), dtype=np.int64)
        kinds = self._holders.of(texts)
        if self._config.positives != "same_disease":
            return kinds
        places = np.minimum(np.searchsorted(nodes, kinds), len(nodes) - 1)
        return np.where((kinds >= 0) & (nodes[places] == kinds), places, -1)

    def following(self, first: int, end: int, threads: int) -> Iterator[Batch]:
        """The batches of steps `first` to `end` - 1 in order, the next ones prepared by `threads` while one is worked on."""
        steps = iter(range(first, end))
        with ThreadPoolExecutor(threads) as pool:
            waiting: list[Future[Batch]] = [pool.submit(self.batch, step) for step in islice(steps, threads + _AHEAD)]
            try:
                while waiting:
                    batch = waiting.pop(0).result()
                    waiting += [pool.submit(self.batch, step) for step in islice(steps, 1)]
                    yield batch
            finally:
                for future in waiting:
                    future.cancel()
