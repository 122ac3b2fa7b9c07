"""Parquet files of artefacts, opened so that damage is an error that names the file and the way out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.errors import ArtefactError

# Damage shows late: Arrow checks a row group when it is read, text when it becomes a string, `extra` when it is taken apart.
_SIGNS_OF_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """The file for the length of a block; read it and take its rows apart inside, so that damage found on the way is told as such.

    Raises:
        ArtefactError: it cannot be read, here or in the block.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except _SIGNS_OF_DAMAGE as error:
        artefact = next((folder for folder in path.parents if (folder / "plan.json").is_file()), path.parent)
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtefactError(
            f"{path} is damaged or cannot be read ({said}); `eosin inspect {artefact} --verify` checks every file, "
            "and the command that made it makes it again with --overwrite"
        ) from error


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a file, of some columns or of all.

    Raises:
        ArtefactError: it cannot be read.
    """
    with open_parquet(path) as file:
        return file.read(columns=None if columns is None else list(columns))
