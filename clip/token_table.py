"""All captions as tokens, once, in a file: memory holds none of them, and every caption that was cut is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts.files import read_json, replacing, write_json
from eosin.checkpoint import damaged
from eosin.clip.tokens import Tokeniser
from eosin.errors import ArtefactError, EosinError
from eosin.models.open_clip import TEXT_FOLDER
from eosin.progress import bar

Ints = NDArray[np.int64]

_CHUNK = 4096


class TokenTable:
    """Tokens of texts by number.

    Attributes:
        truncated: how many texts are longer than the context.
        end: the end token's id; -1 for a text tower of transformers.
    """

    def __init__(self, path: Path, truncated: int, end: int, pad: int) -> None:
        self._ids = np.load(path, mmap_mode="r")
        self.truncated, self.end, self._pad = truncated, end, pad

    @property
    def context(self) -> int:
        """Columns."""
        return int(self._ids.shape[1])

    def ids(self, numbers: Ints) -> Ints:
        """int64 [n, context]; a number below 0 gives the first text, for a place that says nothing."""
        return np.asarray(self._ids[np.maximum(numbers, 0)], dtype=np.int64)

    def longest(self, ids: Ints) -> int:
        """Length in tokens of the longest of some texts, end token included."""
        inside = ids == self.end if self.end >= 0 else (ids != self._pad)[:, ::-1]
        places = inside.argmax(axis=1)
        return int((places + 1 if self.end >= 0 else ids.shape[1] - places).max())


def build_token_table(folder: Path, texts: Sequence[str], model_cfg: dict[str, Any], *, pools_at_highest: bool) -> TokenTable:
    """Tokenise every text, unless an earlier run did.

    Args:
        folder: scratch; `model` in it holds the tokenizer.
        texts: all captions.
        model_cfg: the architecture.
        pools_at_highest: whether the text tower pools at the highest id, which must be the end token's.

    Raises:
        EosinError: the end token is not where the model pools.
        ArtefactError: what an earlier run left is damaged.
    """
    text_cfg = model_cfg["text_cfg"]
    path, facts = folder / "tokens.npy", folder / "tokens.json"
    if not facts.is_file():
        context = int(text_cfg.get("context_length", 77))
        truncated, highest = _write(path, Tokeniser(folder / "model", context), texts, context)
        plain = text_cfg.get("hf_model_name") != TEXT_FOLDER
        end = int(text_cfg.get("eos_id", highest)) if plain else -1
        if plain:
            _check_ends(path, texts, end, pools_at_highest)
        write_json(facts, {"truncated": truncated, "end": end, "pad": int(text_cfg.get("pad_id", 0))})
    try:
        return TokenTable(path, **read_json(facts))
    except (ArtefactError, EOFError, KeyError, OSError, TypeError, ValueError) as error:
        raise damaged(folder, error) from error


def _write(path: Path, tokeniser: Tokeniser, texts: Sequence[str], context: int) -> tuple[int, int]:
    """Write the table; how many texts were cut, and the highest id."""
    truncated = highest = 0
    with replacing(path) as temporary, bar("captions", len(texts)) as moving:
        table = np.lib.format.open_memmap(str(temporary), mode="w+", dtype=np.int32, shape=(len(texts), context))
        for start in range(0, len(texts), _CHUNK):
            ids, cut = tokeniser(texts[start : start + _CHUNK])
            table[start : start + len(ids)] = ids
            truncated, highest = truncated + int(cut.sum()), max(highest, int(ids.max()))
            moving.advance(len(ids))
        table.flush()
        del table
    return truncated, highest


def _check_ends(path: Path, texts: Sequence[str], end: int, pools_at_highest: bool) -> None:
    table = np.load(path, mmap_mode="r")
    for start in range(0, len(table), _CHUNK):
        ids = np.asarray(table[start : start + _CHUNK])
        places = (ids == end).argmax(axis=1)
        wrong = ids[np.arange(len(ids)), places] != end
        if pools_at_highest:
            wrong |= ids.argmax(axis=1) != places
        if wrong.any():
            first = texts[start + int(np.flatnonzero(wrong)[0])]
            raise EosinError(f"the end token {end} is not where the model pools, in captions such as {first!r}")
