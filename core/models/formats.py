"""What format a CLIP folder is in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from eosin.errors import InputError


def clip_format(path: str | Path) -> Literal["open_clip", "transformers"]:
    """The format, by the config file that lies in the folder.

    Raises:
        InputError: neither lies there.
    """
    folder = Path(path)
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    if (folder / "config.json").is_file():
        return "transformers"
    raise InputError(f"{folder} holds no CLIP: neither open_clip_config.json nor config.json (Hugging Face) lies there")
