"""A Hugging Face SiglipModel folder as open_clip has it: the way back of `eosin.clip.convert_siglip`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.clip.convert_siglip import BLOCKS, PLAIN, POOL_KEY_VALUE, POOL_QUERY, TRUNK
from eosin.clip.from_transformers import join_projections, read_hf_config, read_hf_weights
from eosin.clip.tokens import cleans_itself
from eosin.errors import Unsupported
from eosin.models.open_clip import VISION_FOLDER

if TYPE_CHECKING:
    import torch

_ACTIVATIONS = {"gelu": ("gelu", None), "gelu_pytorch_tanh": ("gelu_tanh", {"approximate": "tanh"})}
"""timm's name, and what open_clip's text tower takes for it."""
_EPSILON = 1e-6
_BIAS = -10.0
_POOL_INPUT = "vision_model.head.attention.in_proj_"


def is_siglip_folder(folder: Path) -> bool:
    """Whether the folder's `config.json` is a SiglipModel's.

    Raises:
        InputError: it cannot be read.
    """
    return bool(read_hf_config(folder).get("model_type") == "siglip")


def _full_config(folder: Path) -> Any:
    """SiglipConfig with its defaults, of a model that open_clip can compute.

    Raises:
        Unsupported: open_clip or timm cannot.
    """
    from transformers import SiglipConfig

    full: Any = SiglipConfig(**read_hf_config(folder))
    vision, text = full.vision_config, full.text_config
    problems = [
        f"{name} has {tower.hidden_act}; known are {', '.join(_ACTIVATIONS)}"
        for name, tower in (("vision_config", vision), ("text_config", text))
        if tower.hidden_act not in _ACTIVATIONS
    ]
    if vision.layer_norm_eps != _EPSILON:
        problems.append(f"vision_config.layer_norm_eps is {vision.layer_norm_eps}, and timm's is {_EPSILON}")
    if not getattr(vision, "vision_use_head", True):
        problems.append("its image tower does not pool by attention (vision_use_head)")
    if text.projection_size != vision.hidden_size:
        problems.append(f"its image vectors are {vision.hidden_size} long and its text vectors {text.projection_size}")
    if problems:
        raise Unsupported(f"start: {folder} is a SiglipModel that open_clip cannot compute: {'; '.join(problems)}")
    return full


def model_cfg_of_siglip(folder: Path) -> dict[str, Any]:
    """open_clip's `model_cfg` of a SiglipModel folder; its image tower is described by `timm_config_of_siglip`.

    Raises:
        InputError: `config.json` cannot be read.
        Unsupported: open_clip cannot compute this model.
    """
    full = _full_config(folder)
    vision, text = full.vision_config, full.text_config
    arguments = _ACTIVATIONS[text.hidden_act][1]
    return {
        "embed_dim": vision.hidden_size,
        "init_logit_bias": _BIAS,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision.image_size,
            "timm_model_name": VISION_FOLDER,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": _ratio(text.intermediate_size, text.hidden_size),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text.layer_norm_eps},
            **({"act_kwargs": arguments} if arguments else {}),
            **({"tokenizer_kwargs": {"clean": "canonicalize"}} if cleans_itself(folder) else {}),
        },
    }


def timm_config_of_siglip(folder: Path) -> dict[str, Any]:
    """timm's `config.json` of the folder's image tower.

    Raises:
        InputError, Unsupported: see `model_cfg_of_siglip`.
    """
    vision = _full_config(folder).vision_config
    arguments = {
        "img_size": vision.image_size,
        "patch_size": vision.patch_size,
        "embed_dim": vision.hidden_size,
        "depth": vision.num_hidden_layers,
        "num_heads": vision.num_attention_heads,
        "mlp_ratio": _ratio(vision.intermediate_size, vision.hidden_size),
        "act_layer": _ACTIVATIONS[vision.hidden_act][0],
    }
    return {"architecture": "vit_base_patch16_siglip_224", "model_args": arguments, "pretrained_cfg": {"num_classes": 0}}


def _ratio(hidden: int, width: int) -> float:
    """What times `width` and cut to a whole number is `hidden`, as timm and open_clip reckon it."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def read_siglip_weights(folder: Path) -> dict[str, torch.Tensor]:
    """SiglipModel's weights under open_clip's names.

    Raises:
        Unsupported: a weight that open_clip has no place for.
        ArtefactError: the weights are missing, damaged or incomplete.
    """
    plain = {new: old for old, new in PLAIN.items()}
    found: dict[str, torch.Tensor] = {}
    joint: dict[str, dict[str, torch.Tensor]] = {}
    for name, weight in read_hf_weights(folder).items():
        if name in ("logit_scale", "logit_bias"):
            found[name] = weight.reshape(())
        elif name in plain:
            found[plain[name]] = weight
        elif name == "vision_model.embeddings.position_embedding.weight":
            found["visual.trunk.pos_embed"] = weight[None]
        elif name.startswith(_POOL_INPUT):
            ending, width = name.removeprefix(_POOL_INPUT), len(weight) // 3
            found[POOL_QUERY + ending], found[POOL_KEY_VALUE + ending] = weight[:width].contiguous(), weight[width:].contiguous()
        elif not name.endswith("position_ids"):
            target, part = _name(name)
            if part:
                joint.setdefault(target, {})[part] = weight
            else:
                found[target] = weight
    return {**found, **join_projections(folder, joint)}


def _name(name: str) -> tuple[str, str]:
    """A weight under open_clip's name, and which third of a joint projection it is, if any."""
    for ours, theirs in TRUNK.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs), ""
    for ours, (theirs, inner_names, projection) in BLOCKS.items():
        if name.startswith(theirs):
            number, inner = name.removeprefix(theirs).split(".", 1)
            module, ending = inner.rsplit(".", 1)
            known = {new: old for old, new in inner_names.items()}
            if module in known:
                return f"{ours}{number}.{known[module]}.{ending}", ""
            if module.removeprefix("self_attn.") in ("q_proj", "k_proj", "v_proj"):
                return f"{ours}{number}.{projection}{ending}", module.removeprefix("self_attn.")
    raise Unsupported(f"the weight {name} has no place in open_clip's SigLIP")
