"""The optimiser and its schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eosin.clip.config import OptimiserConfig

if TYPE_CHECKING:
    import torch


def learning_rate(step: int, steps: int, config: OptimiserConfig) -> float:
    """The rate of a step counted from 0: linear warm-up over a share of the run, then half a cosine (Loshchilov and Hutter 2017)."""
    warm = round(config.warmup * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    low = config.lr * config.final_lr
    return low + (config.lr - low) * (1 + math.cos(math.pi * share)) / 2


def build_optimiser(model: torch.nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """AdamW; norms, biases, class token and temperature, which all have fewer than two dimensions, do not decay."""
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.betas[0], config.betas[1]), eps=config.eps, fused=True)
