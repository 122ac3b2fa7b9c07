"""The one image decoder of Eosin: encoded bytes in, `uint8 [height, width, 3]` RGB out, or an `ImageError` with a stable reason.

The format is decided by content. Sizes are checked from the header before any pixel is allocated. What each kind of image becomes:

    input                                   result
    --------------------------------------  -----------------------------------------------------------------------
    JPEG: grey, YCbCr, RGB                  libjpeg-turbo's full decode, pixel for pixel Pillow's
    JPEG: CMYK, YCCK                        taken as inverted, as Adobe writes it and every reader assumes; Pillow's RGB
    EXIF orientation 2 to 8                 applied; XMP is not consulted; unreadable EXIF counts as orientation 1
    16-bit grey or colour (PNG, TIFF)       round(value / 257): neither clipped nor cut to the high byte
    12-bit grey TIFF                        round(value * 255 / 4095)
    1-, 2-, 4-bit grey                      scaled to 0..255; "white is zero" TIFF inverted
    palette                                 looked up, with its transparency
    alpha, a transparent colour             composited on white
    animated GIF, WebP, APNG                first frame (APNG: the default image); a GIF frame smaller than its screen lies on white
    multi-page TIFF                         first page
    colour profiles, gamma                  ignored, as the models' own image processors do
    data after the image                    ignored
    float, signed, 32-bit, Lab samples      refused: unsupported_pixels
    run-length BMP; fax and old JPEG TIFF   refused: unsupported_pixels
    16-bit TIFF, planar or premultiplied    refused: unsupported_pixels
    damage that a decoder could patch over  refused: truncated or corrupt

Reasons: `empty`, `too_many_bytes`, `too_many_pixels`, `too_long_side`, `too_many_scans`, `unknown_format`, `unsupported_pixels`,
`truncated`, `corrupt`, `out_of_memory`, `unverifiable` (a GIF while other code makes Pillow accept damaged files). Pillow's process-wide
switches for damaged and very large files are neither changed nor obeyed, and no function keeps state, so all of them may be called from
any number of threads. One gap: of a JPEG inside a TIFF only the end of each block is checked, not that all of its rows are there.
"""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import simplejpeg
from PIL import Image

from eosin.errors import ConfigError, ImageError, InputError
from eosin.image_formats import HEADER_READERS, MAX_JPEG_SCANS, ImageHeader, check_png_stream, corrupt, identify, truncated
from eosin.image_pixels import Pixels, decode_pixels, decoder_errors, open_lazily, tile_size

Encoded: TypeAlias = bytes | bytearray | memoryview
"""Encoded image bytes; any other object with the buffer protocol, such as a `pyarrow.Buffer`, works as well."""


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


def decode_image(data: Encoded, *, limits: ImageLimits = DEFAULT_LIMITS, at_least: int | None = None) -> Pixels:
    """Decode an image to RGB as the table above says.

    Args:
        data: the encoded image.
        limits: checked from the header, before pixels are allocated.
        at_least: let JPEG decode at a reduced scale whose shorter side still has so many pixels. Several times faster, and the pixels
            differ from those of a full decode: for training only. Other formats decode fully.

    Returns:
        uint8 [height, width, 3], C-contiguous, owned and writable.

    Raises:
        ImageError: the image is refused; `reason` is one of those above.
        ConfigError: `at_least` below 1.
    """
    if at_least is not None and at_least < 1:
        raise ConfigError(f"at_least must be 1 or more pixels, or None for a full decode; got {at_least}")
    header = _read_header(data, limits)
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
    header = _read_header(data, _HEADER_ONLY)
    if header.format == "jpeg":
        width, height, _ = _jpeg_header(header)
    elif header.width:
        width, height = header.width, header.height
    else:
        with decoder_errors(header.format.upper()):
            width, height = open_lazily(header).size
    return (height, width) if header.orientation >= 5 else (width, height)


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
    encoded = _as_bytes(data, limits)
    pixels = decode_image(encoded, limits=limits)
    return encoded if _is_plain(encoded) else encode_png(pixels)


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
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no image at {path}; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the image at {path} cannot be read: {error}") from error
    limits.check_bytes(len(data))
    return data


_HEADER_ONLY = ImageLimits(max_bytes=2**62, max_pixels=2**62, max_side=2**31)

_ORIENT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def _as_bytes(data: Encoded, limits: ImageLimits) -> bytes:
    """The data as `bytes`, copied only where it is not, and not before its size was checked."""
    if isinstance(data, bytes):
        limits.check_bytes(len(data))
        return data
    view = memoryview(data)
    limits.check_bytes(view.nbytes)
    return view.tobytes()


def _read_header(data: Encoded, limits: ImageLimits) -> ImageHeader:
    encoded = _as_bytes(data, limits)
    header = HEADER_READERS[identify(encoded)](encoded)
    limits.check_size(header.width, header.height)
    return header


def _jpeg_header(header: ImageHeader) -> tuple[int, int, str]:
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
    width, height, colour = _jpeg_header(header)
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


def _check_pixels(pixels: Pixels, *, allow_grey: bool) -> None:
    shape_fits = (pixels.ndim == 3 and pixels.shape[-1] == 3) or (allow_grey and pixels.ndim == 2)
    if pixels.dtype != np.uint8 or not shape_fits or 0 in pixels.shape:
        raise InputError(f"pixels must be uint8 [height, width, 3]; got {pixels.dtype} {list(pixels.shape)}")


def _is_plain(encoded: bytes) -> bool:
    header = _read_header(encoded, _HEADER_ONLY)
    if header.orientation != 1:
        return False
    if header.format == "jpeg":
        return _jpeg_header(header)[2] == "YCbCr"
    rgb = header.format == "png" and (header.colour, header.depth, header.key) == (2, 8, None)
    return rgb and b"acTL" not in encoded
