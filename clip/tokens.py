"""The text side's tokenizer: trained on the captions, carried over, or open_clip's own.

A trained one is a byte-level BPE (Radford et al. 2019) saved as a Hugging Face tokenizer, which open_clip and transformers both
load. `<pad>` is 0 and `<end>` has the highest id, so that open_clip's pooling (at the highest id) and transformers' (at
`eos_token_id`) take the same token.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts.files import read_json, write_json
from eosin.clip.config import TokenizerConfig
from eosin.errors import ConfigError, InputError
from eosin.models.open_clip import TEXT_FOLDER, TOKENIZER_FILES, tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, START, END = "<pad>", "<start>", "<end>"
OPEN_CLIP_VOCABULARY = 49408
# open_clip takes the tokenizer from the model's own folder whenever this name is set, whatever it is.
TOKENIZER_NAME = "own"
_BYTES = 256
_TOKENIZER_CONFIG = "tokenizer_config.json"


def train_tokenizer(texts: Sequence[str], vocabulary: int, *, lowercase: bool) -> Tokenizer:
    """A BPE of at most `vocabulary` tokens; fewer when the texts hold fewer pairs.

    Raises:
        ConfigError: the vocabulary has no room for all bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if vocabulary < _BYTES + 3:
        raise ConfigError(f"text_cfg.vocab_size is {vocabulary}; a byte-level tokenizer needs at least {_BYTES + 3}")
    tokenizer = Tokenizer(models.BPE())
    spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else []), *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        special_tokens=[PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([START, END])
    ids = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """`tokenizer.json` and `tokenizer_config.json`, as transformers reads them; `<end>` in a caption is text and ends nothing."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        padding_side="right",
        split_special_tokens=True,
    )
    wrapped.save_pretrained(str(folder))


def settle_tokenizer(
    config: TokenizerConfig, texts: Sequence[str], model_cfg: dict[str, Any], folder: Path, source: Path | None
) -> dict[str, Any]:
    """Put the tokenizer's files into `folder` and fit the text tower to it.

    Args:
        config: where it comes from.
        texts: the captions.
        model_cfg: the architecture; its `text_cfg.vocab_size` is the most a trained tokenizer may have.
        folder: of the model.
        source: the folder whose tokenizer is carried over: the model that training starts from, or the text tower's.

    Returns:
        The architecture with `vocab_size`, `eos_id`, `pad_id` and `hf_tokenizer_name` as the tokenizer has them.

    Raises:
        ConfigError: the architecture does not fit the tokenizer.
        InputError: the model to start from has no tokenizer files.
    """
    text_cfg = dict(model_cfg["text_cfg"])
    if text_cfg.get("hf_model_name") == TEXT_FOLDER:
        # A text tower of transformers reads no other tokens than its own.
        _copy_tokenizer(source or folder, folder)
        return {**model_cfg, "text_cfg": {**text_cfg, "hf_tokenizer_name": TOKENIZER_NAME}}
    if config.kind == "open_clip":
        if text_cfg.get("vocab_size", OPEN_CLIP_VOCABULARY) != OPEN_CLIP_VOCABULARY:
            raise ConfigError(f"open_clip's tokenizer has {OPEN_CLIP_VOCABULARY} tokens; text_cfg.vocab_size is {text_cfg['vocab_size']}")
        return model_cfg
    if config.kind == "init":
        _copy_tokenizer(source or folder, folder)
    else:
        vocabulary = int(text_cfg.get("vocab_size", OPEN_CLIP_VOCABULARY))
        save_tokenizer(train_tokenizer(texts, vocabulary, lowercase=config.lowercase), folder, int(text_cfg.get("context_length", 77)))
    return {**model_cfg, "text_cfg": {**text_cfg, **_ids_of(folder), "hf_tokenizer_name": TOKENIZER_NAME}}


def _ids_of(folder: Path) -> dict[str, int]:
    """`vocab_size`, `eos_id` and `pad_id` of the folder's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{folder}: its tokenizer has no end token, where open_clip's text tower pools; use another tokenizer.kind")
    return {"vocab_size": len(tokenizer), "eos_id": int(tokenizer.eos_token_id), "pad_id": int(tokenizer.pad_token_id or 0)}


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """The files as they are where there is a `tokenizer.json`, else what transformers makes of a vocabulary."""
    if (source / "tokenizer.json").is_file():
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                (folder / name).write_bytes((source / name).read_bytes())
        # What a caption says is text, though it be the name of a token.
        values: dict[str, Any] = {"split_special_tokens": True}
        if cleans_itself(source):
            # The class reads sentencepiece's own file; tokenizer.json holds the same vocabulary.
            values["tokenizer_class"] = "PreTrainedTokenizerFast"
        told = read_json(folder / _TOKENIZER_CONFIG) if (folder / _TOKENIZER_CONFIG).is_file() else {}
        write_json(folder / _TOKENIZER_CONFIG, {**told, **values})
        return
    from transformers import AutoTokenizer

    if not any((source / name).is_file() for name in ("vocab.txt", "vocab.json", "tokenizer.model", "sentencepiece.bpe.model")):
        raise InputError(f"{source} has no tokenizer.json to carry over; use tokenizer.kind=open_clip or train")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(source), local_files_only=True, split_special_tokens=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: its tokenizer cannot be read: {error}") from error
    tokenizer.save_pretrained(str(folder))


def cleans_itself(folder: Path) -> bool:
    """Whether the folder's tokenizer is Google's SiglipTokenizer, which takes case and punctuation from texts in code of its own."""
    path = folder / _TOKENIZER_CONFIG
    return path.is_file() and read_json(path).get("tokenizer_class") == "SiglipTokenizer"


def same_tokenizer(first: Path, second: Path) -> bool:
    """Whether two model folders read texts alike: the same tokenizer file, or open_clip's own in both."""
    files = [folder / "tokenizer.json" for folder in (first, second)]
    if not all(file.is_file() for file in files):
        return not any(file.is_file() for file in files)
    return files[0].read_bytes() == files[1].read_bytes()


def tokenise(folder: Path, texts: Sequence[str], context: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts as the folder's model reads them.

    Returns:
        int64 [texts, context], and which of them were cut because they are longer.
    """
    return Tokeniser(folder, context)(texts)


class Tokeniser:
    """The folder's tokenizer, loaded once; may be asked from several threads."""

    def __init__(self, folder: Path, context: int) -> None:
        self._tokenizer: Any = tokenizer_of(folder)
        self._context = context
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """See `tokenise`."""
        tokenizer = self._tokenizer
        with self._lock, _no_length_warnings():
            if hasattr(tokenizer, "tokenizer"):
                lengths = [len(ids) for ids in tokenizer.tokenizer([tokenizer.clean_fn(text) for text in texts]).input_ids]
            else:
                lengths = [len(tokenizer.encode(text)) + 2 for text in texts]
            ids: NDArray[np.int64] = tokenizer(list(texts)).numpy()
        return ids, np.array(lengths) > self._context


@contextmanager
def _no_length_warnings() -> Iterator[None]:
    """Long captions are counted here; transformers would warn of the first one only."""
    logger = logging.getLogger("transformers.tokenization_utils_base")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
