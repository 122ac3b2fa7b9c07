"""The objectives: each turns the unit features of a batch into a loss, this process's share of it. Imports torch.

Losses are sharded: a process computes the rows of its own images and texts against all of them, and the losses of all processes add up to
that of the whole batch. With one positive each, InfoNCE is CLIP's (Radford et al. 2021); with several, the targets are shared out evenly
among them, in both directions (UniCL, Yang et al. 2022, eq. 2 and 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional as F

from eosin.clip.config import ObjectiveConfig
from eosin.clip.distributed import World
from eosin.clip.relations import Keys, Rules, relate

# Far below any logit, and still a number: 0 times it is 0.
_NEVER = -1e4


@dataclass(frozen=True)
class Features:
    """A batch in the joint space.

    Attributes:
        images: float32 [m, dim], unit length: this process's.
        texts: float32 [m * each, dim], likewise, record after record.
        keys: of the whole batch, all processes together.
        scale: the inverse of the temperature, a scalar.
        bias: SigLIP's, or None.
        world: the processes.
    """

    images: torch.Tensor
    texts: torch.Tensor
    keys: Keys
    scale: torch.Tensor
    bias: torch.Tensor | None
    world: World

    @property
    def own_images(self) -> slice:
        """Where this process's images lie in the batch."""
        return self.world.share(len(self.keys))

    @property
    def own_texts(self) -> slice:
        """Where this process's texts lie in the batch."""
        return self.world.share(len(self.keys.texts))


class Objective(Protocol):
    """A loss over the features of a batch."""

    def __call__(self, features: Features, rules: Rules) -> torch.Tensor:
        """This process's share of the mean loss, a scalar."""


@dataclass(frozen=True)
class InfoNce:
    """The mean of both directions' cross-entropies; `hardness` is the beta of Robinson et al. 2021, eq. 4 with tau+ = 0."""

    hardness: float = 0.0

    def __call__(self, features: Features, rules: Rules) -> torch.Tensor:
        """See `Objective`."""
        to_text = features.scale * features.images @ features.world.gather(features.texts).T
        alone = features.world.size == 1
        to_image = to_text.T if alone else features.scale * features.texts @ features.world.gather(features.images).T
        share = len(features.images) / len(features.keys)
        if rules.plain and features.keys.each == 1 and not self.hardness:
            place = torch.arange(len(to_text), device=to_text.device) + features.own_images.start
            return share * (F.cross_entropy(to_text, place) + F.cross_entropy(to_image, place)) / 2
        everything = slice(None)
        positive, spared = relate(features.keys, rules, features.own_images, everything)
        back, back_spared = relate(features.keys, rules, everything, features.own_texts)
        scale = features.scale.detach()
        first = self._direction(to_text, positive, spared, scale)
        return share * (first + self._direction(to_image, back.T, back_spared.T, scale)) / 2

    def _direction(self, logits: torch.Tensor, positive: torch.Tensor, spared: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Cross-entropy over the rows that have a positive."""
        if self.hardness:
            logits = logits + _log_weights(logits / scale, ~positive & ~spared, self.hardness)
        if spared.any():
            logits = logits.masked_fill(spared, _NEVER)
        known = positive.any(dim=1)
        if not known.all():
            logits, positive = logits[known], positive[known]
        return F.cross_entropy(logits, positive.float() / positive.sum(dim=1, keepdim=True))


def _log_weights(cosines: torch.Tensor, negative: torch.Tensor, hardness: float) -> torch.Tensor:
    """Logarithm of the negatives' weights: proportional to exp(hardness * cosine), one on average; 0 for the others."""
    raised = (hardness * cosines).masked_fill(~negative, _NEVER)
    mean = raised.logsumexp(dim=1, keepdim=True) - negative.sum(dim=1, keepdim=True).clamp(min=1).log()
    return torch.where(negative, raised - mean, torch.zeros_like(raised))


@dataclass(frozen=True)
class SigLip:
    """Each pair on its own, belonging or not (Zhai et al. 2023); summed over texts, averaged over images."""

    def __call__(self, features: Features, rules: Rules) -> torch.Tensor:
        """See `Objective`."""
        logits = features.scale * features.images @ features.world.gather(features.texts).T
        if features.bias is not None:
            logits = logits + features.bias
        positive, spared = relate(features.keys, rules, features.own_images, slice(None))
        signs = positive.float() * 2 - 1
        losses = -F.logsigmoid(signs * logits)
        return losses.masked_fill(spared, 0.0).sum() / len(features.keys)


@dataclass(frozen=True)
class Keep:
    """KEEP's metric loss (Zhou et al. 2024), which is AdaSP (Zhou et al. 2023) between images and texts: one term a disease.

    Of a disease's anchors each has a hardest positive; the least hard of them is drawn nearer, and the hardest negative of all anchors is
    pushed away. All extremes are soft, at the temperature. A record of no disease is a class of its own.
    """

    def __call__(self, features: Features, rules: Rules) -> torch.Tensor:
        """See `Objective`."""
        images, texts = features.world.gather(features.images), features.world.gather(features.texts)
        logits = features.scale * images @ texts.T
        positive, spared = relate(features.keys, rules, slice(None), slice(None))
        node, each = features.keys.node, features.keys.each
        alone = features.keys.node.max().clamp(min=-1) + 1 + torch.arange(len(node), device=node.device)
        classes = torch.where((node >= 0) & (rules.positives == "same_disease"), node, alone)
        _, number = torch.unique(classes, return_inverse=True)
        texts_with = positive.any(dim=0)
        forth = _metric(logits, positive, ~positive & ~spared, number)
        owners = number.repeat_interleave(each)[texts_with]
        back = _metric(logits.T[texts_with], positive.T[texts_with], (~positive & ~spared).T[texts_with], owners)
        return (forth + back) / 2 / features.world.size


def _metric(logits: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Mean over classes of softplus(hardest negative - least hard of the hardest positives).

    Args:
        logits: [anchors, others], temperature applied.
        positive: bool likewise.
        negative: bool likewise.
        number: [anchors] the class of each, 0 to classes - 1.
    """
    hardest = -(-logits).masked_fill(~positive, _NEVER).logsumexp(dim=1)
    nearest = logits.masked_fill(~negative, _NEVER).logsumexp(dim=1)
    member = number[None, :] == torch.arange(int(number.max()) + 1, device=number.device)[:, None]
    least_hard = hardest[None, :].masked_fill(~member, _NEVER).logsumexp(dim=1)
    pushed = nearest[None, :].masked_fill(~member, _NEVER).logsumexp(dim=1)
    return F.softplus(pushed - least_hard).mean()


def caption_loss(logits: torch.Tensor, labels: torch.Tensor, pad: int, tokens: int) -> torch.Tensor:
    """CoCa's second part (Yu et al. 2022): cross-entropy of every next token, summed, over `tokens` of the whole batch.

    Args:
        logits: [n, length, vocabulary].
        labels: int64 [n, length]; `pad` does not count.
        pad: the padding's id.
        tokens: that count in the whole batch, all processes together.
    """
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=pad, reduction="sum") / tokens


def _info_nce(config: ObjectiveConfig) -> Objective:
    return InfoNce(config.hardness)


def _sig_lip(config: ObjectiveConfig) -> Objective:
    return SigLip()


def _keep(config: ObjectiveConfig) -> Objective:
    return Keep()


OBJECTIVES: dict[str, Callable[[ObjectiveConfig], Objective]] = {
    "infonce": _info_nce,
    "siglip": _sig_lip,
    "coca": _info_nce,
    "keep": _keep,
}
"""What makes each objective's contrastive part; CoCa's is InfoNCE, and its captioning is `caption_loss`."""
