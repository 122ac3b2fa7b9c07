"""The constants by which a start's pixels were normalised: with others its weights see other pictures, and nothing fails."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.clip.config import ClipTrainConfig, ImageConfig
from eosin.errors import ConfigError
from eosin.models.open_clip import CONFIG_FILE, read_open_clip_config
from eosin.progress import say

_NEAR = 1e-3


@dataclass(frozen=True)
class Constants:
    """Mean and standard deviation of R, G, B in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def fit(self, image: ImageConfig) -> bool:
        """Whether the recipe says the same."""
        pairs = zip((*self.mean, *self.std), (*image.mean, *image.std), strict=True)
        return all(abs(own - said) < _NEAR for own, said in pairs)

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.9g}" for value in values) for values in (self.mean, self.std))
        return f"image.mean=[{mean}] image.std=[{std}]"


def check_constants(config: ClipTrainConfig, folders: Mapping[str, Path], init: Path | None, tag: Mapping[str, Any]) -> None:
    """Compare the recipe's constants with those of the start, where it tells them.

    An image tower of another library begins a new model, whose constants are free: they are said, not refused.

    Args:
        config: the recipe.
        folders: its plain folders by name.
        init: the clip_model that training starts from.
        tag: what open_clip knows of the recipe's tag; empty without one.

    Raises:
        ConfigError: a whole model is to be trained further with other constants.
    """
    whole = init or folders.get("start")
    found = _of_folder(whole) if whole is not None else _constants(tag, "mean", "std")
    if found is not None and not found.fit(config.image):
        said = Constants(config.image.mean, config.image.std)
        raise ConfigError(
            f"the model to start from was trained with other constants than the recipe's ({said}); add {found}: pixels that are "
            "normalised otherwise than before look wrong to it, without an error"
        )
    tower = _of_folder(folders["vision_folder"]) if "vision_folder" in folders else None
    if tower is not None and not tower.fit(config.image):
        say(f"clip train: the image tower of the folder was trained with {tower}, and the recipe says otherwise")


def _of_folder(folder: Path) -> Constants | None:
    """The constants that a folder of open_clip, transformers or timm tells."""
    if (folder / CONFIG_FILE).is_file():
        return _constants(read_open_clip_config(folder).get("preprocess_cfg") or {}, "mean", "std")
    for name, keys in (("preprocessor_config.json", ("image_mean", "image_std")), ("config.json", ("mean", "std"))):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text(encoding="utf-8"))
            return _constants({**told, **(told.get("pretrained_cfg") or {})}, *keys)
    return None


def _constants(told: Mapping[str, Any], mean: str, std: str) -> Constants | None:
    values = told.get(mean), told.get(std)
    if not all(isinstance(value, Sequence) and len(value) == 3 for value in values):
        return None
    return Constants(*(tuple(float(number) for number in value) for value in values if value is not None))
