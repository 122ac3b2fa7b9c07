"""How many tokens CLIP's text tower sees of a caption (Radford et al. 2021: 77 with both marks; what is longer is cut off in silence)."""

from __future__ import annotations

import functools
from typing import Any

from eosin.errors import MissingDependency

CLIP_CONTEXT = 77


def clip_tokens(text: str) -> int:
    """Tokens of CLIP's own byte-pair encoding, with the begin and the end mark.

    Raises:
        MissingDependency: open_clip is not installed.
    """
    return len(_tokenizer().encode(text)) + 2


@functools.cache
def _tokenizer() -> Any:
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ModuleNotFoundError as error:
        raise MissingDependency("open_clip_torch", "clip") from error
    return SimpleTokenizer()
