"""What the recipes of `eosin clip embed` and `eosin clip export` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eosin.clip.config import ImageConfig
from eosin.config import input_path
from eosin.errors import ConfigError


@dataclass(frozen=True)
class ClipEmbedConfig:
    """`eosin clip embed`.

    Attributes:
        model: a clip_model of either format.
        folder: or any folder of open_clip, transformers or timm.
        name: or a repository of the Hugging Face hub, such as MahmoodLab/UNI; timm's model NAME is timm/NAME.
        revision: of `name`; the newest when empty.
        preset: how a published image tower is to be read, such as virchow2; without model, folder and name its own repository is fetched.
        data: what is embedded.
        images: or a plain folder of image files.
        tiles: or the kept tiles of slides, read from the slides as they are embedded.
        slides: those of `tiles`.
        root: where the slides lie now; empty: where they lay when `slides` was made.
        source: what the ids of `images` begin with.
        licence: of `images`.
        splits: only these; all when empty.
        thumbnail: longer side of the kept picture in pixels; 0 for none.
        batch_size: images a forward pass.
        shard_size: records a shard: what a killed run loses at most; tiles have shards already.
        precision: `bf16` computes in bfloat16.
        store: how vectors lie on disk.
    """

    model: str = input_path("clip_model", required=False)
    folder: str = input_path(required=False)
    name: str = ""
    revision: str = ""
    preset: str = ""
    data: str = input_path("labelled_images", "image_text", required=False)
    images: str = input_path(required=False)
    tiles: str = input_path("tiles", required=False)
    slides: str = input_path("slides", required=False)
    root: str = input_path(required=False)
    source: str = "images"
    licence: str = "unknown"
    splits: tuple[str, ...] = ()
    thumbnail: int = 112
    batch_size: int = 64
    shard_size: int = 2048
    precision: Literal["fp32", "bf16"] = "fp32"
    store: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.thumbnail < 0 or self.batch_size < 1 or self.shard_size < 1:
            raise ConfigError(f"thumbnail >= 0, batch_size and shard_size >= 1; got {self}")
        if self.revision and not self.name:
            raise ConfigError(f"revision is of a repository; add name=ORGANISATION/REPOSITORY; got {self.revision!r} alone")


@dataclass(frozen=True)
class ClipExportConfig:
    """`eosin clip export`.

    Attributes:
        model: an open_clip model.
        folder: or a plain folder: of open_clip, or with one weights file (.safetensors, .pt, .bin).
        architecture: of a bare weights file; see `eosin.clip.config.ClipTrainConfig`.
        activation: of a bare weights file that does not note it.
        image: how a bare weights file's model reads images.
        tolerance: largest difference between the features of both, as a share of the largest feature where that is above 1.
        seed: of the random images and texts that are compared.
    """

    model: str = input_path("clip_model", required=False)
    folder: str = input_path(required=False)
    architecture: str = ""
    activation: Literal["auto", "gelu", "quick_gelu"] = "auto"
    image: ImageConfig = field(default_factory=lambda: ImageConfig(resize="shortest"))
    tolerance: float = 1e-4
    seed: int = 0
