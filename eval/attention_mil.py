"""Gated attention over a slide's tiles (Ilse et al. 2018, arXiv:1802.04712, eq. 9) with a linear head for classes or a risk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError, MissingDependency
from eosin.numerics import Floats

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Training:
    """How attention is learnt.

    Attributes:
        hidden: width of the attention.
        epochs: at most; the one with the best validation score is kept.
        learning_rate: of AdamW.
        seed: of weights and order.
    """

    hidden: int
    epochs: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Bags:
    """Slides and what is to be learnt of them.

    Attributes:
        tiles: of each slide [n, d].
        labels: class numbers [slides]; empty for survival.
        times: [slides]; empty for classes.
        events: [slides]; empty for classes.
    """

    tiles: Sequence[Floats]
    labels: NDArray[np.int64]
    times: NDArray[np.float64]
    events: NDArray[np.bool_]


@dataclass(frozen=True)
class Attention:
    """A learnt model: tiles of a slide [n, d] -> scores [outputs].

    Attributes:
        model: of centred tiles.
        middle: what centres them: the mean over the training slides' means [d].
        epoch: the one that was kept.
    """

    model: Any
    middle: Floats
    epoch: int

    def __call__(self, tiles: Floats) -> NDArray[np.float64]:
        """The slide's scores: logits of the classes, or one risk."""
        import torch

        with torch.inference_mode():
            return np.asarray(self.model(torch.from_numpy(tiles - self.middle)).double().numpy())


def train_attention(train: Bags, outputs: int, training: Training, judge: Callable[[Attention], float]) -> Attention:
    """Learn from `train`; `judge` scores an epoch's model on the validation split, the first of the best ones is kept.

    Tiles are centred first: an encoder's vectors lie in a narrow cone (Liang et al. 2022), and what they share tells nothing of a slide.

    Raises:
        InputError: survival is to be learnt and no event was seen.
        MissingDependency: torch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependency("torch", "clip") from error
    if not len(train.labels) and not train.events.any():
        raise InputError("no event was seen in the training split: a survival model cannot be learnt")
    middle = np.stack([tiles.mean(axis=0) for tiles in train.tiles]).mean(axis=0)
    train = replace(train, tiles=[tiles - middle for tiles in train.tiles])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = _model(train.tiles[0].shape[1], training.hidden, outputs)
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=1e-4)
    rng = np.random.default_rng(training.seed)
    best, kept = -np.inf, Attention(copy.deepcopy(model).eval(), middle, 0)
    for epoch in range(1, training.epochs + 1):
        _epoch(model.train(), optimiser, train, rng)
        now = Attention(copy.deepcopy(model).eval(), middle, epoch)
        score = judge(now)
        if score > best:
            best, kept = score, now
    return kept


def _model(width: int, hidden: int, outputs: int) -> torch.nn.Module:
    import torch
    from torch import nn

    class GatedAttention(nn.Module):
        """Tiles [n, width] -> scores [outputs]."""

        def __init__(self) -> None:
            super().__init__()
            self.tanh = nn.Linear(width, hidden)
            self.gate = nn.Linear(width, hidden)
            self.weigh = nn.Linear(hidden, 1)
            self.head = nn.Linear(width, outputs)
            # From zero: a head that begins with the wrong sign teaches the attention to look away, and few slides do not undo that.
            nn.init.zeros_(self.head.weight)

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            weights = self.weigh(torch.tanh(self.tanh(tiles)) * torch.sigmoid(self.gate(tiles))).softmax(dim=0)
            found: torch.Tensor = self.head((weights * tiles).sum(dim=0))
            return found

    return GatedAttention()


def _epoch(model: torch.nn.Module, optimiser: torch.optim.Optimizer, bags: Bags, rng: np.random.Generator) -> None:
    """One pass: a step for each slide, or for survival, whose likelihood compares slides, one step for all."""
    import torch
    from torch.nn import functional as F

    if not len(bags.labels):
        risks = torch.stack([model(torch.from_numpy(tiles))[0] for tiles in bags.tiles])
        _step(optimiser, _cox_loss(risks, bags))
        return
    for place in rng.permutation(len(bags.tiles)):
        logits = model(torch.from_numpy(bags.tiles[place]))
        _step(optimiser, F.cross_entropy(logits[None], torch.tensor([int(bags.labels[place])])))


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _cox_loss(risks: torch.Tensor, bags: Bags) -> torch.Tensor:
    """Minus the mean partial log-likelihood, ties after Breslow."""
    import torch

    order = np.argsort(-bags.times, kind="stable")
    times = bags.times[order]
    last = torch.from_numpy(np.searchsorted(-times, -times, side="right") - 1)
    ranked = risks[torch.from_numpy(order)]
    seen = torch.from_numpy(bags.events[order])
    return -(ranked - ranked.logcumsumexp(dim=0)[last])[seen].mean()
