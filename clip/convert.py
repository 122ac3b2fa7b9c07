"""open_clip weights and configs as Hugging Face's CLIPModel has them.

Only OpenAI-style two towers (a plain ViT and a plain causal text transformer) have a place there; everything else is refused with
the reason, because CLIPModel would load and compute something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eosin.errors import Unsupported

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]

# What CLIPModel computes; any other value of these keys is another network. Missing keys have these values in open_clip too.
_VISION_FIXED: dict[str, Any] = {
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
    "timm_model_name": None,
}
_TEXT_FIXED: dict[str, Any] = {
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "final_ln_after_pool": False,
    "proj_bias": False,
    "proj_type": "linear",
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
    "hf_model_name": None,
}
# Patch dropout acts in training only.
_VISION_FREE = ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout")
_TEXT_FREE = ("context_length", "vocab_size", "hf_tokenizer_name", "width", "heads", "layers", "mlp_ratio", "pad_id", "eos_id", "pool_type")
# Options of towers that are refused anyway, and of the tokenizer, which is exported as it is.
_WITHOUT_EFFECT = ("timm_", "hf_", "attn_", "tokenizer_")
# SigLIP's bias moves all logits alike: no vector, no order and no softmax of a CLIPModel depends on it.
_TOP = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale", "init_logit_bias", "custom_text")
_REASONS = {
    "timm_model_name": "its image tower is one of timm's",
    "hf_model_name": "its text tower is a Hugging Face model of its own",
    "attentional_pool": "its image tower pools by attention (CoCa)",
    "embed_cls": "its text tower has a class token (CoCa)",
    "no_causal_mask": "its text tower is not causal",
    "multimodal_cfg": "it has a captioning decoder (CoCa)",
    "custom_text": "it asks for open_clip's custom text tower",
}


@dataclass(frozen=True)
class Ids:
    """The tokenizer's start, end and padding."""

    start: int
    end: int
    pad: int


def check_convertible(model_cfg: Mapping[str, Any]) -> None:
    """Refuse what CLIPModel cannot compute.

    Raises:
        Unsupported: with the key that stands in the way.
    """
    problems = [_say(key, model_cfg[key]) for key in model_cfg if key not in _TOP or (key == "custom_text" and model_cfg[key])]
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if vision.get("timm_model_name") is None and isinstance(vision.get("layers", 12), list | tuple):
        problems.append("its image tower is a ResNet (vision_cfg.layers is a list)")
    problems += _key_problems("vision_cfg", vision, _VISION_FIXED, _VISION_FREE)
    problems += _key_problems("text_cfg", text, _TEXT_FIXED, _TEXT_FREE)
    if text.get("pool_type", "argmax") not in ("argmax", "eos"):
        problems.append(_say("text_cfg.pool_type", text["pool_type"]))
    uneven = [key for key in ("image_size", "patch_size") if isinstance(vision.get(key), list | tuple) and len(set(vision[key])) > 1]
    problems += [_say(f"vision_cfg.{key}", vision[key]) for key in uneven]
    if problems:
        raise Unsupported(f"this architecture cannot become a Hugging Face CLIPModel: {'; '.join(problems)}. Use it in open_clip's format")


def _key_problems(place: str, given: Mapping[str, Any], fixed: Mapping[str, Any], free: tuple[str, ...]) -> list[str]:
    """Keys with another value than CLIPModel's, and keys that nothing is known of."""
    wrong = [key for key, value in given.items() if key in fixed and value != fixed[key]]
    unknown = [key for key in given if key not in fixed and key not in free and not key.startswith(_WITHOUT_EFFECT)]
    return [_say(f"{place}.{key}", given[key]) for key in wrong + unknown]


def _say(key: str, value: Any) -> str:
    reason = _REASONS.get(key.rsplit(".", 1)[-1])
    return f"{reason} ({key})" if reason else f"{key} is {value!r}"


def _side(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def clip_config(model_cfg: Mapping[str, Any], activation: str, ids: Ids) -> dict[str, Any]:
    """CLIPConfig's values.

    Args:
        model_cfg: open_clip's.
        activation: as read from the built model; CLIPConfig's own default is quick_gelu, open_clip's is gelu.
        ids: of the tokenizer; `eos_token_id` decides where the text tower pools.
    """
    vision, text, dim = model_cfg["vision_cfg"], model_cfg["text_cfg"], int(model_cfg["embed_dim"])
    width, text_width = int(vision.get("width", 768)), int(text.get("width", 512))
    return {
        "projection_dim": dim,
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": int(vision.get("layers", 12)),
            "num_attention_heads": width // int(vision.get("head_width", 64)),
            "image_size": _side(vision.get("image_size", 224)),
            "patch_size": _side(vision.get("patch_size", 16)),
            "projection_dim": dim,
            "hidden_act": activation,
            "layer_norm_eps": 1e-5,
        },
        "text_config": {
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": int(text.get("layers", 12)),
            "num_attention_heads": int(text.get("heads", 8)),
            "max_position_embeddings": int(text.get("context_length", 77)),
            "vocab_size": int(text.get("vocab_size", 49408)),
            "projection_dim": dim,
            "hidden_act": activation,
            "layer_norm_eps": 1e-5,
            "bos_token_id": ids.start,
            "eos_token_id": ids.end,
            "pad_token_id": ids.pad,
        },
    }


BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
PLAIN = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
TOWERS = {"visual.transformer.resblocks.": "vision_model.encoder.layers.", "transformer.resblocks.": "text_model.encoder.layers."}


def convert_weights(weights: Weights) -> dict[str, torch.Tensor]:
    """open_clip's state dict under CLIPModel's names, without SigLIP's bias.

    Raises:
        Unsupported: a weight that CLIPModel has no place for.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if name == "logit_bias":
            continue
        if name in PLAIN:
            converted[PLAIN[name]] = weight.reshape(()) if name == "logit_scale" else weight
        elif name in TRANSPOSED:
            converted[TRANSPOSED[name]] = weight.T.contiguous()
        else:
            converted.update(_convert_block(name, weight))
    return converted


def _convert_block(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """A weight of one residual block; the joint input projection becomes those of query, key and value."""
    for old, new in TOWERS.items():
        if name.startswith(old):
            number, inner = name.removeprefix(old).split(".", 1)
            if inner in ("attn.in_proj_weight", "attn.in_proj_bias"):
                ending = inner.removeprefix("attn.in_proj_")
                parts = zip(("q_proj", "k_proj", "v_proj"), weight.chunk(3), strict=True)
                return {f"{new}{number}.self_attn.{part}.{ending}": piece.contiguous() for part, piece in parts}
            module, ending = inner.rsplit(".", 1)
            if module in BLOCK:
                return {f"{new}{number}.{BLOCK[module]}.{ending}": weight}
    raise Unsupported(f"the weight {name} has no place in a Hugging Face CLIPModel")
