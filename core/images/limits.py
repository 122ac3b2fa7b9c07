"""What an image may claim before it is refused, and reading a file no larger than that."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from eosin.errors import ConfigError, ImageError, InputError


@dataclass(frozen=True)
class ImageLimits:
    """What an image may claim before it is refused.

    Args:
        max_bytes: encoded size.
        max_pixels: width times height.
        max_side: the longer side in pixels.

    Raises:
        ConfigError: a limit below 1.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 2**26
    max_side: int = 2**15

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_side) < 1:
            raise ConfigError(f"image limits must be at least 1; got {self}")

    def check_bytes(self, count: int) -> None:
        """Refuse an encoded size."""
        if count == 0:
            raise ImageError("empty", "the image has no bytes; fetch or export the file again")
        if count > self.max_bytes:
            raise ImageError("too_many_bytes", f"the image has {count} bytes; at most {self.max_bytes} are allowed")

    def check_size(self, width: int, height: int) -> None:
        """Refuse a size in pixels."""
        if max(width, height) > self.max_side:
            raise ImageError("too_long_side", f"the image is {width} x {height} pixels; a side may have {self.max_side}")
        if width * height > self.max_pixels:
            raise ImageError("too_many_pixels", f"the image is {width} x {height} pixels; at most {self.max_pixels} are allowed")


DEFAULT_LIMITS = ImageLimits()


def read_image_file(path: str | Path, *, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Read an encoded image, its size checked before its content is read. It is not decoded.

    Raises:
        InputError: the file is missing, unreadable or no regular file.
        ImageError: `empty` or `too_many_bytes`.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a file; give the path of one image")
        limits.check_bytes(status.st_size)
        with Path(path).open("rb") as file:
            data = file.read(status.st_size + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no image at {path}; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the image at {path} cannot be read: {error}") from error
    limits.check_bytes(len(data))
    return data
