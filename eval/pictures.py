"""Small pictures for reports, and black ones for blind runs."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from eosin.errors import ImageError
from eosin.images import Pixels, decode_image, encode_jpeg, encode_png, image_size
from eosin.retrieval.case_columns import data_url

_SIDE = 128


def thumbnail(image: bytes) -> str | None:
    """The image as a data URL of at most 128 pixels a side; None where it cannot be decoded."""
    try:
        small = Image.fromarray(decode_image(image, at_least=_SIDE))
    except ImageError:
        return None
    small.thumbnail((_SIDE, _SIDE))
    return data_url(encode_jpeg(np.asarray(small), quality=80))


def black_like(image: bytes) -> bytes:
    """A black PNG of the image's size: what a blind run sends.

    Raises:
        ImageError: the image's header cannot be read.
    """
    return _black(*image_size(image))


def uncompressed(pixels: Pixels) -> bytes:
    """Pixels as a BMP: what is made to be sent at once and kept nowhere is not worth compressing."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="BMP")
    return buffer.getvalue()


@lru_cache(maxsize=64)
def _black(width: int, height: int) -> bytes:
    return encode_png(np.zeros((height, width, 3), dtype=np.uint8))
