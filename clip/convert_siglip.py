"""open_clip's SigLIP weights and configs as Hugging Face's SiglipModel has them (Zhai et al. 2023).

These are timm's ViT that pools by attention beside a text transformer without causal mask that pools at its last token. What the modules
compute (activations, epsilons) is read from the built model: timm keeps it in code, not in the config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eosin.clip.convert import BLOCK, Ids
from eosin.errors import Unsupported
from eosin.models.open_clip import OpenClipModel

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]

_TEXT_WANTED = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
_VISION_WANTED = {"timm_pool": "map", "timm_proj": "none"}
TRUNK = {
    "visual.trunk.patch_embed.proj.": "vision_model.embeddings.patch_embedding.",
    "visual.trunk.norm.": "vision_model.post_layernorm.",
    "visual.trunk.attn_pool.proj.": "vision_model.head.attention.out_proj.",
    "visual.trunk.attn_pool.norm.": "vision_model.head.layernorm.",
    "visual.trunk.attn_pool.mlp.": "vision_model.head.mlp.",
    "text.ln_final.": "text_model.final_layer_norm.",
    "text.text_projection.": "text_model.head.",
}
PLAIN = {
    "visual.trunk.attn_pool.latent": "vision_model.head.probe",
    "text.token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "text.positional_embedding": "text_model.embeddings.position_embedding.weight",
}
_VISION_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
BLOCKS = {
    "visual.trunk.blocks.": ("vision_model.encoder.layers.", _VISION_BLOCK, "attn.qkv."),
    "text.transformer.resblocks.": ("text_model.encoder.layers.", BLOCK, "attn.in_proj_"),
}
POOL_QUERY, POOL_KEY_VALUE = "visual.trunk.attn_pool.q.", "visual.trunk.attn_pool.kv."


def is_siglip(model_cfg: Mapping[str, Any]) -> bool:
    """Whether the architecture is meant as open_clip's SigLIP: a timm tower that pools by attention, and a text tower of its own."""
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    return vision.get("timm_model_name") is not None and vision.get("timm_pool") == "map" and text.get("hf_model_name") is None


def check_siglip(model: OpenClipModel, model_cfg: Mapping[str, Any]) -> None:
    """Refuse what SiglipModel cannot compute.

    Raises:
        Unsupported: with the keys or parts that stand in the way.
    """
    places = (("vision_cfg", _VISION_WANTED), ("text_cfg", _TEXT_WANTED))
    problems = [
        f"{place}.{key} is {model_cfg[place].get(key)!r}, not {value!r}"
        for place, wanted in places
        for key, value in wanted.items()
        if model_cfg[place].get(key) != value
    ]
    trunk = model.visual.trunk
    if getattr(trunk, "num_prefix_tokens", None) != 0 or getattr(trunk, "attn_pool", None) is None:
        problems.append("its image tower has a class token, registers, or no pooling by attention")
    elif trunk.patch_embed.proj.out_channels != model_cfg["embed_dim"]:
        problems.append(f"its image tower is {trunk.patch_embed.proj.out_channels} wide and embed_dim {model_cfg['embed_dim']}")
    if problems:
        raise Unsupported(
            f"this architecture cannot become a Hugging Face SiglipModel: {'; '.join(problems)}. Use it in open_clip's format"
        )


def _activation(tower: torch.nn.Module) -> str:
    """Of all MLPs of a tower: `gelu`, or `gelu_pytorch_tanh`.

    Raises:
        Unsupported: another one, or several.
    """
    from timm.layers.activations import GELU, GELUTanh
    from torch import nn

    found = {module.approximate for module in tower.modules() if isinstance(module, nn.GELU)}
    # timm has modules of its own for both.
    found |= {"none" if isinstance(module, GELU) else "tanh" for module in tower.modules() if isinstance(module, GELU | GELUTanh)}
    if len(found) != 1:
        raise Unsupported(f"a tower whose activations are {', '.join(sorted(found)) or 'no GELU'}; SiglipModel has one a tower")
    return "gelu" if found == {"none"} else "gelu_pytorch_tanh"


def siglip_config(model: OpenClipModel, model_cfg: Mapping[str, Any], ids: Ids) -> dict[str, Any]:
    """SiglipConfig's values, as read from the built model."""
    trunk, text, given = model.visual.trunk, model.text, model_cfg["text_cfg"]
    hidden, patch = trunk.blocks[0].mlp.fc1.out_features, trunk.patch_embed.patch_size
    width = int(given.get("width", 512))
    return {
        "vision_config": {
            "hidden_size": trunk.embed_dim,
            "intermediate_size": hidden,
            "num_hidden_layers": len(trunk.blocks),
            "num_attention_heads": trunk.blocks[0].attn.num_heads,
            "image_size": trunk.patch_embed.img_size[0],
            "patch_size": patch[0],
            "hidden_act": _activation(trunk),
            "layer_norm_eps": trunk.norm.eps,
        },
        "text_config": {
            "hidden_size": width,
            "intermediate_size": int(width * given.get("mlp_ratio", 4.0)),
            "num_hidden_layers": int(given.get("layers", 12)),
            "num_attention_heads": int(given.get("heads", 8)),
            "max_position_embeddings": int(given.get("context_length", 77)),
            "vocab_size": int(given.get("vocab_size", 49408)),
            "projection_size": int(model_cfg["embed_dim"]),
            "hidden_act": _activation(text.transformer),
            "layer_norm_eps": text.ln_final.eps,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": ids.pad,
        },
    }


def convert_siglip_weights(weights: Weights) -> dict[str, torch.Tensor]:
    """open_clip's state dict under SiglipModel's names; the bias of a model without one is 0.

    Raises:
        Unsupported: a weight that SiglipModel has no place for.
    """
    import torch

    # A model that another objective trained further adds nothing to its logits.
    converted: dict[str, torch.Tensor] = {"logit_bias": torch.zeros(1)}
    for name, weight in weights.items():
        if name in ("logit_scale", "logit_bias"):
            converted[name] = weight.reshape(1)
        elif name in PLAIN:
            converted[PLAIN[name]] = weight
        elif name == "visual.trunk.pos_embed":
            converted["vision_model.embeddings.position_embedding.weight"] = weight[0].contiguous()
        elif name.startswith(POOL_QUERY):
            ending = name.removeprefix(POOL_QUERY)
            joint = torch.cat([weight, weights[POOL_KEY_VALUE + ending]])
            converted[f"vision_model.head.attention.in_proj_{ending}"] = joint
        elif not name.startswith(POOL_KEY_VALUE):
            converted.update(_convert(name, weight))
    return converted


def _convert(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    for old, new in TRUNK.items():
        if name.startswith(old):
            return {new + name.removeprefix(old): weight}
    for old, (new, inner_names, joint) in BLOCKS.items():
        if name.startswith(old):
            number, inner = name.removeprefix(old).split(".", 1)
            if inner.startswith(joint):
                ending = inner.removeprefix(joint)
                parts = zip(("q_proj", "k_proj", "v_proj"), weight.chunk(3), strict=True)
                return {f"{new}{number}.self_attn.{part}.{ending}": piece.contiguous() for part, piece in parts}
            module, ending = inner.rsplit(".", 1)
            if module in inner_names:
                return {f"{new}{number}.{inner_names[module]}.{ending}": weight}
    raise Unsupported(f"the weight {name} has no place in a Hugging Face SiglipModel")
