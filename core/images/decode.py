"""Decoding any allowed format, and reading the size alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import simplejpeg
from PIL import Image

from eosin.errors import ConfigError, ImageError
from eosin.images.headers import HEADER_READERS, MAX_JPEG_SCANS, ImageHeader, check_png_stream, corrupt, identify, truncated
from eosin.images.limits import DEFAULT_LIMITS, ImageLimits
from eosin.images.pixels import Pixels, decode_pixels, decoder_errors, open_lazily, tile_size

Encoded: TypeAlias = bytes | bytearray | memoryview
"""Encoded image bytes; any other object with the buffer protocol, such as a `pyarrow.Buffer`, works as well."""


def decode_image(data: Encoded, *, limits: ImageLimits = DEFAULT_LIMITS, at_least: int | None = None) -> Pixels:
    """Decode an image to RGB as the table in `eosin.images` says.

    Args:
        data: the encoded image.
        limits: checked from the header, before pixels are allocated.
        at_least: let JPEG decode at a reduced scale whose shorter side still has so many pixels. Several times faster, and the pixels
            differ from those of a full decode: for training only. Other formats decode fully.

    Returns:
        uint8 [height, width, 3], C-contiguous, owned and writable.

    Raises:
        ImageError: the image is refused; `reason` is one of those named in `eosin.images`.
        ConfigError: `at_least` below 1.
    """
    if at_least is not None and at_least < 1:
        raise ConfigError(f"at_least must be 1 or more pixels, or None for a full decode; got {at_least}")
    header = read_header(data, limits)
    if header.format == "jpeg":
        pixels = _decode_jpeg(header, limits, at_least or 0)
    else:
        with decoder_errors(header.format.upper()):
            image = open_lazily(header)
            limits.check_size(*image.size)
            limits.check_size(*tile_size(image))
            if header.format == "png":
                check_png_stream(header)
            pixels = decode_pixels(header, image)
    return _own(_ORIENT[header.orientation](pixels))


def image_size(data: Encoded) -> tuple[int, int]:
    """Width and height in pixels after the EXIF orientation, from the header alone.

    Raises:
        ImageError: the header is damaged or of no allowed format.
    """
    header = read_header(data, HEADER_ONLY)
    if header.format == "jpeg":
        width, height, _ = jpeg_header(header)
    elif header.width:
        width, height = header.width, header.height
    else:
        with decoder_errors(header.format.upper()):
            width, height = open_lazily(header).size
    return (height, width) if header.orientation >= 5 else (width, height)


HEADER_ONLY = ImageLimits(max_bytes=2**62, max_pixels=2**62, max_side=2**31)

_ORIENT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def as_bytes(data: Encoded, limits: ImageLimits) -> bytes:
    """The data as `bytes`, copied only where it is not, and not before its size was checked."""
    if isinstance(data, bytes):
        limits.check_bytes(len(data))
        return data
    view = memoryview(data)
    limits.check_bytes(view.nbytes)
    return view.tobytes()


def read_header(data: Encoded, limits: ImageLimits) -> ImageHeader:
    """The header, by content; refused where it already tells a size beyond the limits."""
    encoded = as_bytes(data, limits)
    header = HEADER_READERS[identify(encoded)](encoded)
    limits.check_size(header.width, header.height)
    return header


def jpeg_header(header: ImageHeader) -> tuple[int, int, str]:
    """Width, height and colour space, as libjpeg itself reads them."""
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(header.payload)
    except ValueError as error:
        raise _jpeg_error(header, error) from error
    return int(width), int(height), str(colour)


def _jpeg_error(header: ImageHeader, error: ValueError) -> ImageError:
    """libjpeg-turbo's one message for any header it gives up on names the subsampling; only in a whole header is that the cause."""
    if "Premature end" in str(error) or b"\xff\xda" not in header.payload:
        return truncated("JPEG")
    if header.whole and "subsampling" in str(error):
        return ImageError("unsupported_pixels", "JPEG of unusual coding, depth or sampling; convert it to an 8-bit JPEG or a PNG")
    return corrupt("JPEG", error)


def _decode_jpeg(header: ImageHeader, limits: ImageLimits, at_least: int) -> Pixels:
    data = header.payload
    width, height, colour = jpeg_header(header)
    limits.check_size(width, height)
    if header.several_scans and (scans := data.count(b"\xff\xda")) > MAX_JPEG_SCANS:
        raise ImageError("too_many_scans", f"the JPEG is stored in {scans} passes; at most {MAX_JPEG_SCANS} are allowed")
    inverted = colour in ("CMYK", "YCCK")
    try:
        # strict: libjpeg reports missing and damaged data as a mere warning and fills up with grey.
        pixels: Pixels = simplejpeg.decode_jpeg(data, "CMYK" if inverted else "RGB", min_height=at_least, min_width=at_least, strict=True)
    except ValueError as error:
        raise _jpeg_error(header, error) from error
    return np.array(Image.fromarray(255 - pixels, mode="CMYK").convert("RGB")) if inverted else pixels


def _own(pixels: Pixels) -> Pixels:
    """The same pixels, C-contiguous, owned and writable; copied only where they are not."""
    flags = pixels.flags
    return pixels if flags.c_contiguous and flags.owndata and flags.writeable else pixels.copy(order="C")
