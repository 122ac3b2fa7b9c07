"""A Hugging Face CLIPModel folder as open_clip has it: the way back of `eosin.clip.convert`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.clip.convert import BLOCK, PLAIN, TOWERS, TRANSPOSED
from eosin.errors import ArtefactError, InputError, Unsupported

if TYPE_CHECKING:
    import torch

_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_IGNORED = ("position_ids",)


def read_hf_config(folder: Path) -> dict[str, Any]:
    """`config.json`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{folder}: config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder}: config.json is no mapping")
    return config


def read_hf_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a folder: safetensors in one file or several, else `pytorch_model.bin`, read without pickle's powers.

    Raises:
        ArtefactError: there are none, or they are damaged.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ArtefactError(f"{folder} holds no weights (*.safetensors or pytorch_model.bin)")
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
            raise ArtefactError(f"{path} cannot be read as weights: {(str(error).splitlines() or ['?'])[0]}") from error
        weights.update(found)
    return weights


def model_cfg_of_clip(folder: Path) -> dict[str, Any]:
    """open_clip's `model_cfg` of a CLIPModel folder.

    Raises:
        InputError: `config.json` cannot be read.
        Unsupported: it is no CLIPModel, or its towers differ in what open_clip has but once.
    """
    config = read_hf_config(folder)
    if config.get("model_type") != "clip":
        raise Unsupported(
            f"start: {folder} is of type {config.get('model_type')!r}; CLIPModel and SiglipModel (types clip and siglip) can be "
            "started from. For single towers use vision_folder and text_folder"
        )
    from transformers import CLIPConfig

    full: Any = CLIPConfig(**config)
    vision, text = full.vision_config, full.text_config
    if vision.hidden_act != text.hidden_act or vision.hidden_act not in _ACTIVATIONS:
        raise Unsupported(f"{folder}: towers with {vision.hidden_act} and {text.hidden_act}; open_clip has gelu or quick_gelu in both")
    if vision.layer_norm_eps != 1e-5 or text.layer_norm_eps != 1e-5:
        raise Unsupported(f"{folder}: layer_norm_eps is not 1e-5, which open_clip's towers have")
    return {
        "embed_dim": full.projection_dim,
        **({"quick_gelu": True} if _ACTIVATIONS[vision.hidden_act] else {}),
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size,
        },
    }


def read_clip_weights(folder: Path) -> dict[str, torch.Tensor]:
    """CLIPModel's weights under open_clip's names.

    Raises:
        Unsupported: a weight that open_clip has no place for.
        ArtefactError: the weights are missing, damaged or incomplete.
    """
    given = {name: weight for name, weight in read_hf_weights(folder).items() if not name.endswith(_IGNORED)}
    plain = {new: old for old, new in PLAIN.items()}
    transposed = {new: old for old, new in TRANSPOSED.items()}
    found: dict[str, torch.Tensor] = {}
    joint: dict[str, dict[str, torch.Tensor]] = {}
    for name, weight in given.items():
        if name in plain:
            found[plain[name]] = weight
        elif name in transposed:
            found[transposed[name]] = weight.T.contiguous()
        else:
            target, part = _block_name(name)
            if part:
                joint.setdefault(target, {})[part] = weight
            else:
                found[target] = weight
    return {**found, **join_projections(folder, joint)}


def join_projections(folder: Path, joint: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Query, key and value as one projection.

    Args:
        folder: of the model, for messages.
        joint: by the name of the one projection, its parts `q_proj`, `k_proj` and `v_proj`.

    Raises:
        ArtefactError: a part is missing.
    """
    import torch

    for target, parts in joint.items():
        if set(parts) != {"q_proj", "k_proj", "v_proj"}:
            raise ArtefactError(f"{folder}: of {target} only {', '.join(sorted(parts))} is there")
    return {target: torch.cat([parts[part] for part in ("q_proj", "k_proj", "v_proj")]) for target, parts in joint.items()}


def _block_name(name: str) -> tuple[str, str]:
    """A block's weight under open_clip's name, and which third of the joint projection it is, if any."""
    inner_names = {new: old for old, new in BLOCK.items()}
    for ours, theirs in TOWERS.items():
        if name.startswith(theirs):
            number, inner = name.removeprefix(theirs).split(".", 1)
            module, ending = inner.rsplit(".", 1)
            if module in inner_names:
                return f"{ours}{number}.{inner_names[module]}.{ending}", ""
            if module.removeprefix("self_attn.") in ("q_proj", "k_proj", "v_proj"):
                return f"{ours}{number}.attn.in_proj_{ending}", module.removeprefix("self_attn.")
    raise Unsupported(f"the weight {name} has no place in open_clip's CLIP")
