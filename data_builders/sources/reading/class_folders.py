"""Images in a folder a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eosin.data_builders.sources.source import Refused
from eosin.errors import ImageError, InputError
from eosin.images import read_image_file


@dataclass(frozen=True)
class Found:
    """An image file: its path below the root, with forward slashes."""

    path: str

    @property
    def stem(self) -> str:
        """The file name without its suffix."""
        return self.path.rpartition("/")[2].rpartition(".")[0]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders it lies in, from the root down."""
        return tuple(self.path.split("/")[:-1])


def read_found(root: Path, found: Found) -> bytes:
    """The bytes of an image.

    Raises:
        Refused: `unreadable`.
        ImageError: too large, or empty.
    """
    try:
        return read_image_file(root / found.path)
    except ImageError:
        raise
    except InputError as error:
        raise Refused("unreadable", str(error)) from error
