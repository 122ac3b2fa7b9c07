"""What format the folder of an image tower, or of two towers, is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from eosin.errors import InputError

Format = Literal["open_clip", "transformers", "timm"]


def clip_format(path: str | Path) -> Format:
    """The format, by the config file that lies in the folder.

    Raises:
        InputError: none lies there, or it cannot be read.
    """
    folder = Path(path)
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"{folder} holds no model: neither open_clip_config.json nor config.json (Hugging Face, timm) lies there. A bare weights file "
            "does not tell its architecture: name a preset for a published image tower, or give clip export its architecture"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    # timm names its architecture; transformers' config has `architectures`.
    return "timm" if isinstance(config, dict) and "architecture" in config else "transformers"


def fingerprint_of_model(path: str | Path, preset: str = "") -> str:
    """The fingerprint that the embedder of a folder has, without loading it.

    Raises:
        InputError: see `clip_format`.
        ArtefactError: the weights are missing.
        ConfigError: there is no such preset.
    """
    if preset or clip_format(path) == "timm":
        from eosin.models.vision import vision_fingerprint

        return vision_fingerprint(path, preset)
    if clip_format(path) == "open_clip":
        from eosin.models.open_clip import open_clip_fingerprint

        return open_clip_fingerprint(path)
    from eosin.models.transformers_clip import transformers_fingerprint

    return transformers_fingerprint(path)
