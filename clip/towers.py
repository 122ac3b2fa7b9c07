"""Forward passes of training: open_clip's own, without computing padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eosin.models.open_clip import OpenClipModel

if TYPE_CHECKING:
    import torch


def pools_at_highest_id(model: OpenClipModel) -> bool:
    """Whether the text tower is open_clip's plain causal one, which reads nothing behind the end token."""
    from open_clip.model import CLIP

    return type(model) is CLIP and model.attn_mask is not None and model.text_pool_type == "argmax"


def encode_texts(model: OpenClipModel, tokens: torch.Tensor, length: int) -> torch.Tensor:
    """`model.encode_text(tokens)` where no text is longer than `length` tokens, end token included.

    Attention is causal and the pooled token is the end token, so what stands behind it changes nothing but the time it takes.

    Args:
        model: an open_clip model.
        tokens: int64 [n, context].
        length: of the longest text here; ignored where the tower is of another kind.

    Returns:
        [n, embed_dim], not normalised.
    """
    import torch

    if not pools_at_highest_id(model) or length >= tokens.shape[1]:
        features: torch.Tensor = model.encode_text(tokens)
        return features
    tokens = tokens[:, :length]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    pooled: torch.Tensor = hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)]
    if model.text_projection is None:
        return pooled
    projection = model.text_projection
    projected: torch.Tensor = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
    return projected
