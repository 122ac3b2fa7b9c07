"""A byte-level BPE tokenizer for a language model that starts from scratch (Sennrich et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from eosin.errors import ConfigError, InputError
from eosin.llm.config import TokenizerConfig

BOS, END, PAD, IMAGE = "<|begin|>", "<|end|>", "<|pad|>", "<image>"
SPECIAL = (PAD, BOS, END, IMAGE, "<|system|>", "<|user|>", "<|assistant|>")


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """A tokenizer trained on `texts`; every byte is in its vocabulary, so that no text is unknown.

    Digits stand alone: coordinates of boxes are then read digit by digit, not as hundreds of unrelated words.

    Args:
        texts: streamed once.
        config: size and threshold.

    Raises:
        ConfigError: the vocabulary has no room for bytes and special tokens.
        InputError: there is no text.
    """
    least = 256 + len(SPECIAL)
    if config.size < least:
        raise ConfigError(f"language_model.tokenizer.size: at least {least} (256 bytes and the special tokens); got {config.size}")
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for text in texts:
            count += bool(text)
            yield text

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.size,
        min_frequency=config.min_count,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(counted(), trainer)
    if not count:
        raise InputError("no text was found to train the tokenizer on")
    return tokenizer


def read_tokenizer(path: Path, max_length: int) -> PreTrainedTokenizerFast:
    """What `train_tokenizer` made and saved, as Hugging Face's class.

    Args:
        path: the JSON file.
        max_length: the model's context, which the tokenizer reports.
    """
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_file(str(path)),
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[token for token in SPECIAL if token not in (BOS, END, PAD)],
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
