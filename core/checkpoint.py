"""Checkpoints of training, written so that a kill leaves the one before or the new one, never half of one."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.artefacts.files import replacing
from eosin.errors import ArtefactError
from eosin.progress import say


@dataclass(frozen=True)
class Checkpoint:
    """All that training goes on from.

    Attributes:
        model: state dict of what learns.
        optimiser: its state dict.
        progress: where the run stands and what it has logged, as plain values.
        threads: of the process that began: sums over threads are rounded by their number.
    """

    model: dict[str, Any]
    optimiser: dict[str, Any]
    progress: dict[str, Any]
    threads: int


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file at `path`.

    Raises:
        InputError: the disk is full.
    """
    import torch

    with replacing(path) as temporary, temporary.open("wb") as handle:
        torch.save(vars(checkpoint), handle)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`, or None where there is none.

    Raises:
        ArtefactError: it is damaged.
    """
    import torch

    if not path.is_file():
        return None
    try:
        # torch.load reads changed weights without a word: it does not look at the archive's checksums.
        with zipfile.ZipFile(path) as archive:
            spoilt = archive.testzip()
        if spoilt is not None:
            raise zipfile.BadZipFile(f"{spoilt} has another checksum")
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError, OSError) as error:
        raise damaged(path.parent, error, path) from error


def damaged(scratch: Path, error: Exception, path: Path | None = None) -> ArtefactError:
    """What is said of a folder from which a run cannot go on.

    Args:
        scratch: the folder of what the run keeps until it ends.
        error: what was found.
        path: the file in it, where it is known.
    """
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return ArtefactError(
        f"{path or scratch} is damaged ({said}); delete {scratch} and run the command again: training starts from its beginning"
    )


def threads_of(checkpoint: Checkpoint | None, asked: int) -> int:
    """How many threads a run uses: those it began with, whatever a resumed one is asked to use, for the same weights bit for bit."""
    if checkpoint is None or checkpoint.threads == asked:
        return asked
    say(f"goes on with {checkpoint.threads} threads, as it began, not {asked}: another number rounds sums otherwise")
    return checkpoint.threads
