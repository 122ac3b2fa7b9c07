"""Writing pixels, and passing images on to programs whose decoder is not ours."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from eosin.errors import ConfigError, InputError
from eosin.images.decode import HEADER_ONLY, Encoded, as_bytes, decode_image, jpeg_header, read_header
from eosin.images.limits import DEFAULT_LIMITS, ImageLimits
from eosin.images.pixels import Pixels


def encode_png(pixels: Pixels) -> bytes:
    """Encode losslessly; equal pixels give equal bytes under one version of Pillow and zlib.

    Args:
        pixels: uint8 [height, width, 3] RGB, or [height, width] grey (masks).

    Raises:
        InputError: another shape or type.
    """
    _check_pixels(pixels, allow_grey=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_jpeg(pixels: Pixels, *, quality: int = 95) -> bytes:
    """Encode as a baseline JPEG without chroma subsampling, which would blur stain boundaries.

    Args:
        pixels: uint8 [height, width, 3] RGB.
        quality: 1 to 100.

    Raises:
        InputError: another shape or type.
        ConfigError: quality out of range.
    """
    _check_pixels(pixels, allow_grey=False)
    if not 1 <= quality <= 100:
        raise ConfigError(f"JPEG quality must be 1 to 100; got {quality}")
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="444")
    return encoded


def to_plain(data: Encoded, *, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Bytes that every reader turns into the pixels of `decode_image`, for sending an image to another program.

    An 8-bit RGB JPEG or PNG without orientation, transparency or animation is returned as it came; anything else becomes a PNG of the
    decoded pixels. The image is decoded in both cases, so that no damaged one is passed on.

    Raises:
        ImageError: as `decode_image`.
    """
    encoded = as_bytes(data, limits)
    pixels = decode_image(encoded, limits=limits)
    return encoded if _is_plain(encoded) else encode_png(pixels)


def _check_pixels(pixels: Pixels, *, allow_grey: bool) -> None:
    shape_fits = (pixels.ndim == 3 and pixels.shape[-1] == 3) or (allow_grey and pixels.ndim == 2)
    if pixels.dtype != np.uint8 or not shape_fits or 0 in pixels.shape:
        raise InputError(f"pixels must be uint8 [height, width, 3]; got {pixels.dtype} {list(pixels.shape)}")


def _is_plain(encoded: bytes) -> bool:
    header = read_header(encoded, HEADER_ONLY)
    if header.orientation != 1:
        return False
    if header.format == "jpeg":
        return jpeg_header(header)[2] == "YCbCr"
    rgb = header.format == "png" and (header.colour, header.depth, header.key) == (2, 8, None)
    return rgb and b"acTL" not in encoded
