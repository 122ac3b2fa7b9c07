"""The optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eosin.clip.config import OptimiserConfig, TowerConfig
from eosin.clip.layers import blocks_of, place_of, rate_factor
from eosin.errors import ConfigError

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


def build_optimiser(
    model: torch.nn.Module, config: OptimiserConfig, towers: Mapping[str, TowerConfig] | None = None
) -> torch.optim.Optimizer:
    """AdamW; norms, biases, class token and temperature, which all have fewer than two dimensions, do not decay.

    Each group of weights holds its `factor` on the learning rate.

    Raises:
        ConfigError: nothing is left to learn.
    """
    import torch

    named = [(name.replace(".base_layer", ""), parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not [name for name, _ in named if not name.startswith("logit_")]:
        raise ConfigError("both towers are locked: nothing is left to learn; set vision.train or text.train to all, last or lora")
    names = [name for name, _ in model.named_parameters()]
    blocks = {tower: blocks_of(names, tower) for tower in towers or {}}
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        tower = place_of(name).tower
        factor = rate_factor(name, towers[tower], blocks[tower]) if towers and tower in towers else 1.0
        groups.setdefault((factor, parameter.ndim < 2), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": 0.0 if plain else config.weight_decay, "factor": factor}
        for (factor, plain), parameters in sorted(groups.items(), key=lambda item: (-item[0][0], item[0][1]))
    ]
    return torch.optim.AdamW(options, lr=config.lr, betas=(config.betas[0], config.betas[1]), eps=config.eps, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
