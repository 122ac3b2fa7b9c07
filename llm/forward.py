"""The training forward pass of a LLaVA: a batch of rows to the loss of the tokens the assistant wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eosin.llm.batches import Layout, Row, attention_mask, lay_out
from eosin.llm.image_store import ImageStore


@dataclass(frozen=True)
class Batch:
    """Rows as tensors on the model's device.

    Attributes:
        layout: ids, positions, segments and targets.
        images: what the store holds of each image, in order of their tokens; None without images.
        weights: float32 [targets].
    """

    layout: Layout
    images: Tensor | None
    weights: Tensor


def collate(rows: list[Row], store: ImageStore, sample_weights: float) -> Batch:
    """Rows of one batch with their images.

    Args:
        rows: of `plan_epoch`.
        store: of the run's images.
        sample_weights: a target weighs 1 over its sample's number of targets to this power.
    """
    layout = lay_out(rows)
    numbers = [number for row in rows for number in row.images]
    views = [row.view for row in rows for _ in row.images]
    weights = torch.from_numpy(np.asarray(layout.lengths, np.float32) ** np.float32(-sample_weights))
    return Batch(layout, store.read(numbers, views) if numbers else None, weights)


def target_logits(model: Any, batch: Batch, states: Tensor | None) -> Tensor:
    """Logits at the places that predict the targets, float32 [targets, vocabulary].

    Args:
        model: LlavaForConditionalGeneration, with or without adapters in its layers.
        batch: of `collate`.
        states: the tower's hidden states of the batch's images.
    """
    device = model.lm_head.weight.device
    ids = torch.from_numpy(batch.layout.ids).to(device)
    embedded = model.model.language_model.embed_tokens(ids)
    if states is not None:
        features = model.model.multi_modal_projector(states.to(device)).flatten(0, 1).to(embedded.dtype)
        embedded = embedded.masked_scatter((ids == model.config.image_token_id)[..., None], features)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=torch.from_numpy(attention_mask(batch.layout.segments)).to(device),
        position_ids=torch.from_numpy(batch.layout.positions).to(device),
        use_cache=False,
    ).last_hidden_state
    logits: Tensor = model.lm_head(hidden.flatten(0, 1)[torch.from_numpy(batch.layout.sources).to(device)])
    return logits.float()


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Weighted mean of the targets' negative log-likelihoods."""
    targets = torch.from_numpy(batch.layout.targets).to(logits.device)
    weights = batch.weights.to(logits.device)
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * weights).sum() / weights.sum()
