"""Models read with transformers' `from_pretrained`: from this machine only, without noise, and complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.errors import InputError


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and warnings of transformers in the block; what they would say is checked by the caller instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def read_model(cls: Any, folder: Path, *, spare: bool = False, **options: Any) -> Any:
    """`cls.from_pretrained(folder)` with every weight found.

    Args:
        cls: a model class of transformers.
        folder: on this machine.
        spare: weights that the model does not need may lie there.
        options: for `from_pretrained`.

    Raises:
        InputError: the folder holds no such model, or weights are missing, left over or of another shape. transformers itself would go on
            with random numbers in place of the missing ones.
    """
    try:
        with quiet():
            model, report = cls.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{folder} holds no model that {cls.__name__} reads: {error}") from error
    kinds = ("missing_keys", "mismatched_keys") if spare else ("missing_keys", "mismatched_keys", "unexpected_keys")
    wrong = {kind: sorted(map(str, report[kind]))[:3] for kind in kinds if report[kind]}
    if wrong:
        raise InputError(f"{folder}: the weights do not fit the model: {wrong}")
    return model
