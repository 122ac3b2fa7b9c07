"""Low-rank adapters on a CLIP's towers (Hu et al. 2022), by peft, merged into the weights at the end. Imports torch."""

from __future__ import annotations

import re
import warnings
from typing import Any

from torch import nn

from eosin.clip.config import TowerConfig
from eosin.clip.layers import place_of
from eosin.clip.towers import PackedAttention
from eosin.errors import ConfigError, MissingDependency
from eosin.models.open_clip import OpenClipModel


def adapt(model: OpenClipModel, towers: dict[str, TowerConfig]) -> Any | None:
    """Put adapters on all projections of the blocks of the towers that ask for them; None where none does.

    The model itself is changed; what comes back merges them again. Attentions must be packed before: torch's own reads the weights of its
    output projection past any adapter.

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
    places = {name: config for tower, config in wanted.items() for name in _targets(model, tower)}
    for tower in wanted:
        if not any(place_of(f"{name}.").tower == tower for name in places):
            raise ConfigError(f"{tower}.train is lora, but the tower has no linear layers in blocks; use all, last or none")
    joint = [f"{name}.in_proj_weight" for name in places if isinstance(model.get_submodule(name), PackedAttention)]
    modules = [name for name in places if f"{name}.in_proj_weight" not in joint]
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    options = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=modules,
        target_parameters=joint,
        rank_pattern=_by_name(places, {name: config.rank for name, config in places.items()}),
        alpha_pattern=_by_name(places, {name: config.alpha for name, config in places.items()}),
        bias="none",
    )
    with warnings.catch_warnings():
        # peft looks for the patterns among modules only, and joint projections are parameters.
        warnings.filterwarnings("ignore", message=".*pattern keys did not match", category=RuntimeWarning)
        wrapper = LoraModel(model, options, "default")
    for name, parameter in model.named_parameters():
        if name.replace(".base_layer", "") in learning:
            parameter.requires_grad_(True)
    return wrapper


def _by_name(places: dict[str, TowerConfig], values: dict[str, Any]) -> dict[str, Any]:
    """Values under the patterns by which peft asks for them: whole names, of modules and of joint projections."""
    return {f"^{re.escape(name)}{ending}$": values[name] for name in places for ending in ("", r"\.in_proj_weight")}


def _targets(model: nn.Module, tower: str) -> list[str]:
    """Linear layers inside blocks, and attentions, which hold their joint input projection themselves."""
    found = []
    for name, module in model.named_modules():
        place = place_of(f"{name}.")
        if place.tower == tower and place.depth > 0 and isinstance(module, nn.Linear | PackedAttention):
            found.append(name)
    return found


def merge(wrapper: Any | None, model: OpenClipModel) -> OpenClipModel:
    """The model with its adapters added to the weights, under its own names again."""
    if wrapper is None:
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = wrapper.merge_and_unload()
    # peft leaves adapters inside an adapted module as they are: the output projection of an attention.
    for name, module in list(merged.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(merged.get_submodule(parent), last, module.get_base_layer())
    return merged
