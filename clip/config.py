"""What the recipes of `eosin clip` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eosin.config import input_path
from eosin.errors import ConfigError

Positives = Literal["pair", "same_caption", "same_caption_or_label"]


@dataclass(frozen=True)
class ImageConfig:
    """How an image becomes the model's input; open_clip's `preprocess_cfg`. The size stands in the architecture.

    Attributes:
        resize: `squash` keeps the whole image, `shortest` the middle square. For square tiles they are the same; on others
            open_clip and transformers round the middle differently, so that only `squash` exports pixel by pixel.
        interpolation: of the resize.
        mean: of R, G, B in [0, 1]; OpenAI's by default, as nearly all CLIP models.
        std: likewise.
    """

    resize: Literal["squash", "shortest"] = "squash"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"image.mean and image.std are three numbers, std above 0; got {self.mean} and {self.std}")


@dataclass(frozen=True)
class AugmentConfig:
    """What a training image may turn into; every draw depends on (seed, epoch, index) alone.

    Attributes:
        symmetries: `all` is one of the eight flips and rotations of the square, for tissue has no upside; `mirrors` leaves out
            quarter turns, for captions that speak of horizontal and vertical.
        crop_area: smallest share of the image's area that a crop keeps; 1 for no crop.
        crop_ratio: largest ratio of a crop's sides.
        stain: strength of the jitter of hematoxylin, eosin and residual (Ruifrok and Johnston 2001; Tellez et al. 2018): each stain is
            multiplied by 1 ± stain, and 0.1 ± stain is added in optical density.
        brightness: pixels are multiplied by 1 ± brightness.
    """

    symmetries: Literal["none", "mirrors", "all"] = "all"
    crop_area: float = 0.5
    crop_ratio: float = 1.33
    stain: float = 0.1
    brightness: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.crop_area <= 1 <= self.crop_ratio and 0 <= self.stain < 1 and 0 <= self.brightness < 1):
            raise ConfigError(f"augment: 0 < crop_area <= 1, crop_ratio >= 1, stain and brightness in [0, 1); got {self}")


@dataclass(frozen=True)
class TokenizerConfig:
    """Where the tokenizer comes from.

    Attributes:
        kind: `train` a byte-level BPE on the captions, the one of `init`, or `open_clip`'s own (49,408 tokens).
        lowercase: for `train`.
    """

    kind: Literal["train", "init", "open_clip"] = "train"
    lowercase: bool = True


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with a cosine schedule.

    Attributes:
        lr: the peak.
        final_lr: the end, as a share of the peak.
        warmup: share of the run in which the rate rises from 0.
        weight_decay: on matrices; norms, biases and the temperature have none.
        betas: of the moments.
        eps: of the division.
        clip_norm: gradients longer than this are shortened; 0 for never.
        max_logit_scale: the temperature's inverse stays at or below it (Radford et al. 2021: 100).
    """

    lr: float = 1e-3
    final_lr: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.98)
    eps: float = 1e-6
    clip_norm: float = 1.0
    max_logit_scale: float = 100.0

    def __post_init__(self) -> None:
        if not (self.lr > 0 and 0 <= self.warmup < 1 and 0 <= self.final_lr <= 1 and len(self.betas) == 2 and self.max_logit_scale >= 1):
            raise ConfigError(f"optimiser: lr > 0, 0 <= warmup < 1, 0 <= final_lr <= 1, two betas, max_logit_scale >= 1; got {self}")


@dataclass(frozen=True)
class ClipTrainConfig:
    """`eosin clip train`.

    Attributes:
        data: image-text pairs; the split `train` is used.
        init: start from this model: the image tower, and the text tower when the tokenizer is the same.
        architecture: a JSON file of open_clip's format, a name in `eosin.configs/architectures`, or one of open_clip's own names.
        title: what the model's card calls it.
        seed: decides initial weights, order, captions and augmentation.
        epochs: passes over the images; each draws one caption an image.
        batch_size: a last, smaller batch of an epoch is left out; every epoch has another order.
        positives: which images and captions of a batch belong together; see `eosin.clip.objective`.
        precision: `bf16` computes the towers in bfloat16; weights and loss stay float32.
    """

    data: str = input_path("image_text")
    init: str = input_path("clip_model", required=False)
    architecture: str = "clip-vit-192x6-96"
    title: str = "Pathology CLIP"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    positives: Positives = "pair"
    precision: Literal["fp32", "bf16"] = "fp32"
    image: ImageConfig = field(default_factory=ImageConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ConfigError(f"epochs must be at least 1 and batch_size at least 2; got {self.epochs} and {self.batch_size}")
        if self.tokenizer.kind == "init" and not self.init:
            raise ConfigError("tokenizer.kind is init, but there is no model to start from; add init=PATH")


@dataclass(frozen=True)
class ClipEmbedConfig:
    """`eosin clip embed`.

    Attributes:
        model: of either format.
        data: what is embedded.
        splits: only these; all when empty.
        thumbnail: longer side of the kept picture in pixels; 0 for none.
        batch_size: images a forward pass.
        shard_size: records a shard: what a killed run loses at most.
    """

    model: str = input_path("clip_model")
    data: str = input_path("labelled_images", "image_text")
    splits: tuple[str, ...] = ()
    thumbnail: int = 112
    batch_size: int = 64
    shard_size: int = 2048

    def __post_init__(self) -> None:
        if self.thumbnail < 0 or self.batch_size < 1 or self.shard_size < 1:
            raise ConfigError(f"thumbnail >= 0, batch_size and shard_size >= 1; got {self}")


@dataclass(frozen=True)
class ClipExportConfig:
    """`eosin clip export`.

    Attributes:
        model: an open_clip model.
        tolerance: largest difference between the features of both, as a share of the largest feature where that is above 1.
        seed: of the random images and texts that are compared.
    """

    model: str = input_path("clip_model")
    tolerance: float = 1e-4
    seed: int = 0
