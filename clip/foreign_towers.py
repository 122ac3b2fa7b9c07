"""Towers from folders of timm and transformers, as open_clip builds them.

An image tower lies beside the model in `vision_tower/config.json`, in timm's own format, a text tower in `text_tower/config.json`, in
transformers': with both the model opens again without the folder it came from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.clip.from_siglip import is_siglip_folder, timm_config_of_siglip
from eosin.clip.from_transformers import read_hf_config, read_hf_weights
from eosin.errors import ConfigError, Unsupported
from eosin.models.open_clip import CONFIG_FILE, TEXT_FOLDER, VISION_FOLDER, OpenClipModel
from eosin.models.weights import misfit

if TYPE_CHECKING:
    import torch

Weights = dict[str, "torch.Tensor"]

_HEADS = ("head.", "fc.", "classifier.", "head_dist.", "fc_norm.")


def vision_cfg_of(folder: Path) -> dict[str, Any]:
    """open_clip's `vision_cfg` of an image tower from a folder; its projection is new.

    Raises:
        InputError: there is no readable `config.json`.
        Unsupported: the tower is of a kind that cannot be built.
    """
    timm_config = timm_config_of(folder)
    size = _image_size(timm_config)
    return {"timm_model_name": VISION_FOLDER, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear", "image_size": size}


def _image_size(config: Mapping[str, Any]) -> int:
    arguments, given = config.get("model_args") or {}, config.get("pretrained_cfg") or {}
    size = arguments.get("img_size") or (given.get("input_size") or (3, 224, 224))[-1]
    return int(size[0] if isinstance(size, list | tuple) else size)


def timm_config_of(folder: Path) -> dict[str, Any]:
    """timm's `config.json` of an image tower: the folder's own, or what builds a ViT or DINOv2 of transformers.

    A ViT's layer norms then have timm's epsilon of 1e-6 for transformers' 1e-12, as in timm's own copies of the same weights.

    Raises:
        Unsupported: of another kind.
    """
    config = read_hf_config(folder)
    if "architecture" in config:
        # Older folders have the keys of pretrained_cfg at the top; timm takes a config without it for one of those.
        given = config.get("pretrained_cfg") or {key: config[key] for key in ("input_size", "mean", "std") if key in config}
        return {"architecture": config["architecture"], "model_args": config.get("model_args") or {}, "pretrained_cfg": given}
    kind = config.get("model_type")
    if kind not in ("vit", "dinov2"):
        raise Unsupported(
            f"vision_folder: {folder} is of type {kind!r}; folders of timm (config.json with `architecture`), and of transformers' vit and "
            "dinov2 can be read. For a CLIPModel use start"
        )
    from transformers import Dinov2Config, ViTConfig

    full: Any = (ViTConfig if kind == "vit" else Dinov2Config)(**config)
    if full.hidden_act != "gelu" or getattr(full, "use_swiglu_ffn", False):
        raise Unsupported(f"vision_folder: {folder} has {full.hidden_act} or SwiGLU layers; save it as a folder of timm")
    ratio = full.intermediate_size / full.hidden_size if kind == "vit" else full.mlp_ratio
    arguments = {
        "img_size": full.image_size,
        "patch_size": full.patch_size,
        "embed_dim": full.hidden_size,
        "depth": full.num_hidden_layers,
        "num_heads": full.num_attention_heads,
        "mlp_ratio": ratio,
        "qkv_bias": full.qkv_bias,
        **({"init_values": full.layerscale_value} if kind == "dinov2" else {}),
    }
    return {"architecture": "vit_base_patch16_224", "model_args": arguments, "pretrained_cfg": {"num_classes": 0}}


def text_cfg_of(folder: Path) -> dict[str, Any]:
    """open_clip's `text_cfg` of a text tower of transformers, pooled at the class token (BiomedCLIP, KEEP); its projection is new.

    Raises:
        InputError: there is no readable `config.json`.
        Unsupported: open_clip does not know its kind.
    """
    from open_clip.hf_configs import arch_dict

    config = read_hf_config(folder)
    kind = config.get("model_type")
    if kind not in arch_dict:
        raise Unsupported(f"text_folder: {folder} is of type {kind!r}; open_clip knows {', '.join(sorted(arch_dict))}")
    bert = kind in ("bert", "roberta", "xlm-roberta")
    return {
        "hf_model_name": TEXT_FOLDER,
        "hf_tokenizer_name": TEXT_FOLDER,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler" if bert else arch_dict[kind]["pooler"],
        "vocab_size": int(config.get("vocab_size", 0)),
        "context_length": min(256, int(config.get("max_position_embeddings", 256))),
    }


def place_towers(folders: Mapping[str, Path], source: Path | None, target: Path) -> None:
    """Put the towers' configs beside the model.

    Args:
        folders: `vision_folder` and `text_folder` where they were given.
        source: a model folder that may have towers of its own.
        target: folder of the new model.
    """
    for name in (VISION_FOLDER, TEXT_FOLDER):
        if source is not None and (source / name / "config.json").is_file():
            (target / name).mkdir(exist_ok=True)
            shutil.copyfile(source / name / "config.json", target / name / "config.json")
    if source is not None and not (source / CONFIG_FILE).is_file() and (source / "config.json").is_file() and is_siglip_folder(source):
        _write(target / VISION_FOLDER, timm_config_of_siglip(source))
    if "vision_folder" in folders:
        _write(target / VISION_FOLDER, timm_config_of(folders["vision_folder"]))
    if "text_folder" in folders:
        config = read_hf_config(folders["text_folder"])
        _write(target / TEXT_FOLDER, {key: value for key, value in config.items() if key not in ("_name_or_path", "auto_map")})


def _write(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_towers(model: OpenClipModel, folders: Mapping[str, Path]) -> list[str]:
    """Load the towers' weights; says which. Classifier heads stay behind, every other weight must fit.

    Raises:
        ConfigError: weights are missing or of another shape.
    """
    said = []
    if "vision_folder" in folders:
        folder = folders["vision_folder"]
        weights = read_hf_weights(folder)
        if "architecture" not in read_hf_config(folder):
            weights = _vit_to_timm(weights)
        _load(model.visual.trunk, weights, f"vision_folder: {folder}", _HEADS)
        said.append("image tower of a folder")
    if "text_folder" in folders:
        folder = folders["text_folder"]
        weights = _without_prefix(read_hf_weights(folder), model.text.transformer)
        _load(model.text.transformer, weights, f"text_folder: {folder}", ("pooler.", "cls.", "lm_head.", "embeddings.position_ids"))
        said.append("text tower of a folder")
    return said


def _load(module: torch.nn.Module, weights: Weights, where: str, left_behind: tuple[str, ...]) -> None:
    wanted = {name: weight for name, weight in weights.items() if not name.startswith(left_behind) or name in module.state_dict()}
    if said := misfit(module.state_dict(), wanted):
        raise ConfigError(f"{where} does not fit its own config.json: {said}")
    module.load_state_dict(wanted, strict=True)


def _without_prefix(weights: Weights, module: torch.nn.Module) -> Weights:
    """Names as in the bare model: a folder of a model with a head has `bert.` or the like before them."""
    own = module.state_dict()
    prefixes = {name.split(".", 1)[0] for name in weights if name not in own and "." in name and name.split(".", 1)[1] in own}
    for prefix in prefixes:
        weights = {name.removeprefix(f"{prefix}."): weight for name, weight in weights.items()}
    # Checkpoints older than PyTorch's own layer norm.
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): w for name, w in weights.items()
    }
    return renamed


_VIT_NAMES = {
    "norm1.": "norm1.",
    "layernorm_before.": "norm1.",
    "norm2.": "norm2.",
    "layernorm_after.": "norm2.",
    "attention.output.dense.": "attn.proj.",
    "attention.o_proj.": "attn.proj.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
    "mlp.fc1.": "mlp.fc1.",
    "mlp.fc2.": "mlp.fc2.",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}


def _vit_to_timm(weights: Weights) -> Weights:
    """transformers' ViT or DINOv2 under timm's names; query, key and value become one projection."""
    import re

    import torch

    top = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }
    found: Weights = {}
    joint: dict[str, Weights] = {}
    for full, weight in weights.items():
        name = re.sub(r"^(vit|dinov2)\.", "", full)
        if name in top:
            found[top[name]] = weight
            continue
        block = re.fullmatch(r"(?:encoder\.)?layers?\.(\d+)\.(.+)", name)
        if block is None:
            if not name.startswith(("pooler.", "classifier.", "embeddings.mask_token")):
                found[name] = weight
            continue
        number, inner = block.groups()
        part = re.fullmatch(r"attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)", inner)
        if part:
            joint.setdefault(f"blocks.{number}.attn.qkv.{part[2]}", {})[part[1][0]] = weight
            continue
        start = next((old for old in _VIT_NAMES if inner.startswith(old)), None)
        found[f"blocks.{number}.{_VIT_NAMES[start] + inner.removeprefix(start) if start else inner}"] = weight
    found.update({name: torch.cat([parts[letter] for letter in "qkv"]) for name, parts in joint.items()})
    return found
