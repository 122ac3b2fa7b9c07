"""Does an exported folder compute what the open_clip model computes? Checked on what transformers loads back from the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from eosin.clip.convert import Ids
from eosin.errors import EosinError
from eosin.models.open_clip import OpenClipModel

if TYPE_CHECKING:
    import torch

_IMAGES = 16
_TEXTS = 16
# Square and not, smaller and larger than any model's input, even and odd.
_SIZES = ((224, 224), (96, 96), (97, 97), (512, 512), (61, 61), (300, 200), (333, 1000), (201, 303))
_PIXEL_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference, and the largest absolute value it is measured against."""

    largest: float
    scale: float

    def within(self, tolerance: float) -> bool:
        """Small absolutely, or relative to features above 1; differences that are no numbers are not small."""
        return self.largest <= tolerance * max(1.0, self.scale)


def compare(ours: torch.Tensor, theirs: torch.Tensor) -> Difference:
    """How far `theirs` is from `ours`."""
    return Difference(float((ours - theirs).abs().max()), float(ours.abs().max()))


def text_features(theirs: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Text features of a CLIPModel or SiglipModel, not normalised: [n, d]."""
    pooled: torch.Tensor = theirs.text_model(input_ids=tokens).pooler_output
    return theirs.text_projection(pooled) if hasattr(theirs, "text_projection") else pooled


def feature_differences(ours: OpenClipModel, theirs: Any, seed: int, ids: Ids) -> dict[str, Difference]:
    """Image, text and hidden features of both models on random images and texts, unit length and as they are.

    Args:
        ours: the open_clip model.
        theirs: the CLIPModel or SiglipModel.
        seed: of the inputs.
        ids: of the tokenizer.
    """
    import torch
    from torch.nn import functional as F

    size = theirs.config.vision_config.image_size
    pixels = torch.from_numpy(np.random.default_rng(seed).standard_normal((_IMAGES, 3, size, size)).astype(np.float32))
    # CLIP pools at the highest id, which must be the end token; SigLIP's special tokens are its lowest.
    highest = ids.start if hasattr(theirs, "text_projection") else theirs.config.text_config.vocab_size
    tokens = _random_texts(seed, ours.context_length, ids, highest)
    with torch.inference_mode():
        vision = theirs.vision_model(pixel_values=pixels, output_hidden_states=True)
        projected = theirs.visual_projection(vision.pooler_output) if hasattr(theirs, "visual_projection") else vision.pooler_output
        image = ours.encode_image(pixels), projected
        text = ours.encode_text(tokens), text_features(theirs, tokens)
        hidden = _penultimate(ours, pixels), vision.hidden_states[-2]
    # A CLIPModel has none.
    bias = getattr(ours, "logit_bias", None) if hasattr(theirs, "logit_bias") else None
    return {
        "image": compare(*image),
        "image_unit": compare(F.normalize(image[0], dim=-1), F.normalize(image[1], dim=-1)),
        "text": compare(*text),
        "text_unit": compare(F.normalize(text[0], dim=-1), F.normalize(text[1], dim=-1)),
        "image_hidden_states_-2": compare(*hidden),
        "logit_scale": compare(ours.logit_scale.detach().reshape(()), theirs.logit_scale.detach().reshape(())),
        **({"logit_bias": compare(bias.detach().reshape(()), theirs.logit_bias.detach().reshape(()))} if bias is not None else {}),
    }


def _random_texts(seed: int, context: int, ids: Ids, highest: int) -> torch.Tensor:
    """Token ids of every length from 2 to the whole context, padded."""
    import torch

    rng = np.random.default_rng(seed)
    tokens = np.full((_TEXTS, context), ids.pad, dtype=np.int64)
    for row, length in enumerate(np.linspace(2, context, _TEXTS).round().astype(int)):
        tokens[row, 0], tokens[row, length - 1] = ids.start, ids.end
        tokens[row, 1 : length - 1] = rng.integers(1, highest, length - 2)
    return torch.from_numpy(tokens)


def _penultimate(model: OpenClipModel, pixels: torch.Tensor) -> torch.Tensor:
    """All tokens after the last but one block of the image tower: what LLaVA reads. [n, 1 + patches, width]."""
    import torch

    # LLaVA's layer -2 of a tower of one block is its embedding, which open_clip does not hand out.
    if hasattr(model.visual, "trunk"):
        trunk = model.visual.trunk
        place = len(trunk.blocks) - 2
        if place < 0:
            return torch.as_tensor(trunk._pos_embed(trunk.patch_embed(pixels)))
        return torch.as_tensor(trunk.forward_intermediates(pixels, indices=[place], output_fmt="NLC", intermediates_only=True)[0])
    blocks = model.visual.transformer.layers
    if blocks < 2:
        visual = model.visual
        tokens = visual.ln_pre(visual._embeds(pixels))
        return torch.as_tensor(tokens)
    out = model.visual.forward_intermediates(
        pixels, indices=[blocks - 2], output_fmt="NLC", output_extra_tokens=True, intermediates_only=True
    )
    return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], dim=1)


def pixel_differences(ours: Callable[[Any], torch.Tensor], theirs: Any, seed: int) -> dict[str, float]:
    """Largest difference between the pixels of open_clip's transform and of the processor, by image size."""
    import torch

    rng = np.random.default_rng(seed)
    found = {}
    for width, height in _SIZES:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        pixels = torch.as_tensor(theirs(image, return_tensors="pt")["pixel_values"][0])
        found[f"{width}x{height}"] = compare(ours(image), pixels).largest
    return found


def check_pixels(differences: dict[str, float], *, exact: bool) -> None:
    """Refuse a processor whose pixels differ; of images that are not square only where `exact`.

    Raises:
        EosinError: with the sizes.
    """
    wrong = {size: value for size, value in differences.items() if not value <= _PIXEL_TOLERANCE}
    if not exact:
        wrong = {size: value for size, value in wrong.items() if len(set(size.split("x"))) == 1}
    if wrong:
        raise EosinError(f"the exported image processor does not give open_clip's pixels: {wrong}")


def check_features(differences: dict[str, Difference], tolerance: float, folder: Path) -> None:
    """Refuse an export whose features differ.

    Raises:
        EosinError: with the differences.
    """
    wrong = {name: found.largest for name, found in differences.items() if not found.within(tolerance)}
    if wrong:
        raise EosinError(f"the model exported from {folder} does not compute what the original does (tolerance {tolerance}): {wrong}")
