"""How published image towers are to be read: architecture, pixels, pooling. Versioned data in `eosin.configs/vision`, a file each.

Their folders rarely say all of it: Virchow's does not name its SwiGLU layers, Hibou's names a model without registers, and none says which
tokens the paper's vector is made of. What goes wrong there gives no error, only other vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from eosin.config import load, read_recipe
from eosin.errors import ConfigError

Pooling = Literal["model", "class", "mean", "class_mean"]


@dataclass(frozen=True)
class PixelsConfig:
    """How an image becomes the tower's input.

    Attributes:
        size: of the square input, in pixels.
        crop: the shorter side is resized to size / crop, and the middle is cut out.
        interpolation: of the resize.
        mean: of R, G, B in [0, 1]; ImageNet's by default.
        std: likewise.
    """

    size: int = 224
    crop: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.crop <= 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"pixels: size >= 1, 0 < crop <= 1, three means and three positive stds; got {self}")


@dataclass(frozen=True)
class VisionPreset:
    """A published image tower.

    Attributes:
        version: of this file; a change of what it computes raises it.
        title: the model's name.
        source: paper and model card this was read from.
        repository: on the Hugging Face hub.
        licence: of the weights.
        gated: whether the repository asks for consent first.
        library: whose layers it is made of.
        architecture: timm's name of it; for transformers the `model_type`.
        arguments: that timm's constructor takes beside it, or keys of transformers' config that replace the folder's.
        pixels: what it was trained on.
        pooling: `model` as the tower itself pools, `class` token, `mean` of the patch tokens, or both side by side.
        prefix: tokens before the patches: class token and registers.
        dim: length of the vector.
        mpp: microns a pixel its authors use; 0 where they do not say.
    """

    version: int
    title: str
    source: str
    repository: str
    licence: str
    library: Literal["timm", "transformers"]
    architecture: str
    pooling: Pooling
    prefix: int
    dim: int
    gated: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    pixels: PixelsConfig = field(default_factory=PixelsConfig)
    mpp: float = 0.0


def preset_folder() -> Path:
    """Where the presets lie."""
    return Path(str(resources.files("eosin.configs"))) / "vision"


def preset_names() -> list[str]:
    """All presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name: str) -> VisionPreset:
    """A preset by its name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in preset_names():
        raise ConfigError(f"preset: there is none named {name!r}; there are: {', '.join(preset_names())}")
    return load(VisionPreset, read_recipe(f"vision/{name}"))
