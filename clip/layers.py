"""Where a weight stands in its tower: what locks the lower blocks, and what lets them learn more slowly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eosin.clip.config import TowerConfig
from eosin.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|layers?|stages|h)\.?(\d+)\.")
_BEFORE = (
    "conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "class_embedding", "positional_embedding", "token_embedding", "ln_pre", "cls_emb",
    "embeddings", "patch_embed", "cls_token", "pos_embed", "reg_token", "norm_pre", "stem", "wte", "wpe",
)  # fmt: skip
# A projection that is new beside a tower of another library: locking it would lock random weights.
_NEW_HEADS = ("visual.head.", "text.proj.")


@dataclass(frozen=True)
class Place:
    """A weight's tower (`vision`, `text` or `other`), and its depth: 0 before the blocks, then 1, 2 ..., and -1 behind them."""

    tower: str
    depth: int


def place_of(name: str) -> Place:
    """The place of a weight by its name in an open_clip model."""
    if name.startswith(("logit_", "text_decoder.")):
        return Place("other", -1)
    tower = "vision" if name.startswith("visual.") else "text"
    block = _BLOCK.search(name)
    if block is not None:
        # ResNets count their stages from 1: layer1 ... layer4.
        return Place(tower, int(block.group(1)) + (0 if re.search(r"layer\d", name) else 1))
    inner = name.removeprefix("visual.").removeprefix("trunk.").removeprefix("text.").removeprefix("transformer.")
    return Place(tower, 0 if inner.startswith(_BEFORE) else -1)


def blocks_of(names: Iterable[str], tower: str) -> int:
    """How many blocks a tower has."""
    return max((place.depth for name in names if (place := place_of(name)).tower == tower), default=0)


def learns(name: str, config: TowerConfig, blocks: int) -> bool:
    """Whether a weight of a tower learns by itself (adapters come on top)."""
    if config.train == "all":
        return True
    if name.startswith(_NEW_HEADS):
        return True
    if config.train == "last":
        depth = place_of(name).depth
        return depth == -1 or depth > blocks - config.blocks
    return False


def lock(model: nn.Module, towers: dict[str, TowerConfig]) -> None:
    """Let learn what the recipe says.

    Raises:
        ConfigError: more blocks are to be left free than there are.
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = {tower: blocks_of(names, tower) for tower in towers}
    for tower, config in towers.items():
        if config.blocks > blocks[tower]:
            raise ConfigError(f"{tower}.blocks is {config.blocks}, but the tower has {blocks[tower]} blocks; use {tower}.train=all")
    for name, parameter in model.named_parameters():
        tower = place_of(name).tower
        if tower in towers:
            parameter.requires_grad_(learns(name, towers[tower], blocks[tower]))


def rate_factor(name: str, config: TowerConfig, blocks: int) -> float:
    """The factor on a weight's learning rate: the tower's, falling by `layer_decay` a block from the top."""
    depth = place_of(name).depth
    below = 0 if depth == -1 else blocks + 1 - depth
    return config.lr * config.layer_decay**below
