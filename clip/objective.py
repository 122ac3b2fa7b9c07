"""The contrastive objective: which captions of a batch belong to which images, and the loss over them.

With one positive each this is CLIP's symmetric InfoNCE (Radford et al. 2021). Captions of pathology sets repeat: a batch of five
classes holds many captions that describe other images as well, and plain InfoNCE pushes those apart. With several positives the
targets are shared out evenly among them, in both directions (UniCL, Yang et al. 2022, eq. 2 and 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


def positive_pairs(drawn: Ints, held: Ints, labels: Ints | None = None) -> NDArray[np.bool_]:
    """Which image and caption of a batch belong together.

    Args:
        drawn: [n] the number of the caption that each record drew; equal texts have equal numbers.
        held: [n, most] the numbers of all captions of each record, filled up with -1.
        labels: [n] the number of each record's label, -1 for none.

    Returns:
        bool [n images, n captions]: a caption belongs to an image that holds it, and to an image of the same label.
    """
    positive: NDArray[np.bool_] = (held[:, :, None] == drawn[None, None, :]).any(axis=1)
    if labels is not None:
        positive |= (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0)
    return positive


def contrastive_loss(logits: torch.Tensor, positive: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of both directions' cross-entropies.

    Args:
        logits: float32 [n images, n captions], temperature applied.
        positive: bool [n, n] as from `positive_pairs`; the diagonal when None.
    """
    import torch
    from torch.nn import functional as F

    if positive is None:
        diagonal = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    to_text = positive.float() / positive.sum(dim=1, keepdim=True)
    to_image = (positive.float() / positive.sum(dim=0, keepdim=True)).T
    return (F.cross_entropy(logits, to_text) + F.cross_entropy(logits.T, to_image)) / 2
