"""No word longer than a context can hold goes to a tokenizer: byte pair encoding takes time with the square of a word's length."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_WHOLE = "BPE"


def word_limit(tokenizer: Any, context: int) -> int:
    """Characters of one word that matter to a context: twice as many as it holds in the longest tokens; 0 for no limit.

    Args:
        tokenizer: open_clip's own, or one of transformers; only byte pair encoding needs a limit.
        context: in tokens.
    """
    own = getattr(tokenizer, "encoder", None)
    if not isinstance(own, dict):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or type(backend.model).__name__ != _WHOLE:
            return 0
        own = backend.get_vocab()
    return 2 * context * max(map(len, own))


def cut_words(limit: int) -> Callable[[str], str]:
    """What cuts words to a limit of characters: their first tokens stay as they are, and a text that was too long still is."""
    if not limit:
        return str
    long = re.compile(rf"(\S{{{limit}}})\S+")
    return lambda text: long.sub(r"\1", text) if len(text) > limit else text
