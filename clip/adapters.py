"""Low-rank adapters on a CLIP's towers (Hu et al. 2022), by peft, merged into the weights at the end. Imports torch."""

from __future__ import annotations

from typing import Any

from torch import nn

from eosin.clip.config import TowerConfig
from eosin.clip.layers import place_of
from eosin.errors import ConfigError, MissingDependency
from eosin.models.open_clip import OpenClipModel


def adapt(model: OpenClipModel, towers: dict[str, TowerConfig]) -> Any | None:
    """Put adapters on all linear layers and attentions of the blocks of the towers that ask for them; None where none does.

    The model itself is changed; what comes back merges them again.

    Raises:
        ConfigError: a tower has nothing that can be adapted.
        MissingDependency: peft is not installed.
    """
    wanted = {tower: config for tower, config in towers.items() if config.train == "lora"}
    if not wanted:
        return None
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise MissingDependency("peft", "clip") from error
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for tower, config in wanted.items():
        names = _targets(model, tower)
        if not names:
            raise ConfigError(f"{tower}.train is lora, but the tower has no linear layers in blocks; use all, last or none")
        ranks.update(dict.fromkeys(names, config.rank))
        alphas.update(dict.fromkeys(names, config.alpha))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    options = LoraConfig(r=1, lora_alpha=1, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=alphas, bias="none")
    wrapper = LoraModel(model, options, "default")
    for name, parameter in model.named_parameters():
        if name.replace(".base_layer", "") in learning:
            parameter.requires_grad_(True)
    return wrapper


def _targets(model: nn.Module, tower: str) -> list[str]:
    """Linear layers inside blocks; of torch's attention the module, which holds its projections itself."""
    found = []
    for name, module in model.named_modules():
        place = place_of(f"{name}.")
        inside = place.tower == tower and place.depth > 0
        attention = isinstance(module, nn.MultiheadAttention)
        if inside and (attention or (isinstance(module, nn.Linear) and not name.endswith("attn.out_proj"))):
            found.append(name)
    return found


def merge(wrapper: Any | None, model: OpenClipModel) -> OpenClipModel:
    """The model with its adapters added to the weights, under its own names again."""
    return model if wrapper is None else wrapper.merge_and_unload()
