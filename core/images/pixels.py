"""From the payload of an `ImageHeader` to `uint8 [height, width, 3]` RGB, for every format but JPEG, through Pillow's format plugins.

The plugins are called directly rather than by `Image.open`, so that neither a plugin registered elsewhere nor Pillow's process-wide limits
decide what is read.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from eosin.errors import ImageError
from eosin.images.headers import ImageHeader, corrupt, png_grey_alpha_as_rgba, truncated

Pixels: TypeAlias = npt.NDArray[np.uint8]

_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "png": PngImageFile,
    "gif": GifImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "tiff": TiffImageFile,
}
_COLOUR_MODES = ("1", "L", "P", "RGB", "CMYK")
_ALPHA_MODES = ("LA", "PA", "RGBA")
# Fax compression is left out: libtiff paints damaged rows over and reports success.
_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "webp")
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR, _TIFF_SAMPLE_FORMAT = 256, 257, 258, 262, 284, 339
_TIFF_STRIPS, _TIFF_STRIP_BYTES = 273, 279
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH, _TIFF_TILES, _TIFF_TILE_BYTES = 322, 323, 324, 325

# What Pillow's plugins and codecs raise on damaged bytes; anything else is a fault of ours and must surface as such.
_DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class _WholeBytes(io.BytesIO):
    """A file that refuses to be read past its end, where Pillow may be told to carry on.

    While a header is read every read must be served in full; pixel data is fetched in blocks, of which the last may be short.
    """

    def __init__(self, data: bytes, kind: str) -> None:
        super().__init__(data)
        self.kind = kind
        self.reading_pixels = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and size > 0 and (not data if self.reading_pixels else len(data) < size):
            raise truncated(self.kind)
        return data


class _WholePng(PngImageFile):
    """A PNG whose rows must all be there."""

    def load_read(self, read_bytes: int) -> bytes:
        data = super().load_read(read_bytes)
        if not data:
            raise truncated("PNG")
        return data


@contextmanager
def decoder_errors(kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into an `ImageError`."""
    try:
        yield
    except MemoryError as error:
        raise ImageError("out_of_memory", f"no memory for the {kind} image; lower the limits or use smaller images") from error
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise corrupt(kind, error) from error


def open_lazily(header: ImageHeader, payload: bytes | None = None) -> ImageFile.ImageFile:
    """The image behind Pillow's plugin, its pixels not yet decoded.

    Raises:
        ImageError: `truncated`, `corrupt`, `unsupported_pixels`.
    """
    kind = header.format.upper()
    plugin = _WholePng if header.format == "png" else _PLUGINS[header.format]
    try:
        image = plugin(_WholeBytes(header.payload if payload is None else payload, kind))
    except SyntaxError as error:
        if str(error) in ("unknown pixel mode", "unknown data organization"):
            raise _unsupported(kind, str(error)) from error
        raise
    if isinstance(image, TiffImageFile):
        _check_tiff(image, header.payload)
    elif isinstance(image, BmpImageFile):
        _check_bmp(image, header.payload)
    return image


def tile_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height of the blocks a TIFF is decoded by, which its header sets apart from the image's size; (0, 0) elsewhere."""
    if not isinstance(image, TiffImageFile):
        return 0, 0
    return int(image.tag_v2.get(_TIFF_TILE_WIDTH, 0)), int(image.tag_v2.get(_TIFF_TILE_LENGTH, 0))


def decode_pixels(header: ImageHeader, image: ImageFile.ImageFile) -> Pixels:
    """Decode the image that `open_lazily` gave.

    Returns:
        uint8 [height, width, 3]; TIFF with its orientation applied, the others as stored.

    Raises:
        ImageError: `truncated`, `corrupt`, `unsupported_pixels`.
    """
    if header.format == "png" and header.colour == 4 and header.depth == 16:
        return _grey_alpha_16(header)
    if header.format == "gif" and ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError("unverifiable", "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which hides damage in GIF; unset it or use PNG")
    if (low_tiles := _low_byte_tiles(image)) is not None:
        low_image = open_lazily(header)
        low_image.tile = low_tiles
        high, low = _load(image), _load(low_image)
        return _sixteen_bit(header, image.mode, _join(high, low))
    if image.mode.startswith("I;16"):
        return _grey_16(header, image)
    if image.mode not in _COLOUR_MODES + _ALPHA_MODES:
        raise _unsupported(header.format.upper(), f"samples of mode {image.mode}")
    return _eight_bit(header, image)


def on_white(rgba: Pixels) -> Pixels:
    """Composite on white, each channel rounded to the nearest level.

    Args:
        rgba: uint8 [height, width, 4], alpha not premultiplied.

    Returns:
        uint8 [height, width, 3].
    """
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _unsupported(kind: str, what: str) -> ImageError:
    return ImageError("unsupported_pixels", f"{kind} with {what}; convert it to 8- or 16-bit grey or RGB")


def _load(image: ImageFile.ImageFile) -> Pixels:
    """Decoded samples as Pillow stores them."""
    if isinstance(image.fp, _WholeBytes):
        image.fp.reading_pixels = True
    if isinstance(image, TiffImageFile):
        # Pillow takes a TIFF's orientation from XMP as well, which its size does not reflect. And it would allocate the pixels only after
        # asking its process-wide limit, where ours has already decided.
        image.info.pop("xmp", None)
        image.im = Image.new(image.mode, (image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT])).im
    image.load()
    return np.asarray(image)


def _eight_bit(header: ImageHeader, image: ImageFile.ImageFile) -> Pixels:
    _load(image)
    if image.mode in _ALPHA_MODES or (image.mode == "P" and "transparency" in image.info):
        pixels = on_white(np.asarray(image.convert("RGBA")))
    elif image.mode == "L" and isinstance(index := image.info.pop("transparency", None), int) and header.format == "gif":
        grey = np.asarray(image)
        pixels = np.where(grey == index, np.uint8(255), grey)[..., None].repeat(3, axis=-1)
    else:
        image.info.pop("transparency", None)
        pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if header.key is not None:
        peak = 2**header.depth - 1
        key = np.array([(255 * value + peak // 2) // peak if value <= peak else -1 for value in header.key])
        pixels[(pixels == key).all(axis=-1)] = 255
    if header.frame is not None:
        x0, y0, x1, y1 = header.frame
        framed = np.full_like(pixels, 255)
        framed[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
        return framed
    return pixels


def _grey_16(header: ImageHeader, image: ImageFile.ImageFile) -> Pixels:
    values = _load(image).astype(np.uint16)
    peak = 65535
    if isinstance(image, TiffImageFile):
        peak = 2 ** int(image.tag_v2[_TIFF_BITS][0]) - 1
        if image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            values = peak - values
    grey = _scale(values, peak)
    if header.key is not None:
        grey[values == header.key[0]] = 255
    return grey[..., None].repeat(3, axis=-1)


def _grey_alpha_16(header: ImageHeader) -> Pixels:
    samples = _load(open_lazily(header, png_grey_alpha_as_rgba(header.payload)))
    grey_alpha = _scale(_join(samples[..., 0::2], samples[..., 1::2]))
    return on_white(grey_alpha[..., (0, 0, 0, 1)])


def _join(high: Pixels, low: Pixels) -> npt.NDArray[np.uint16]:
    joined = high.astype(np.uint16)
    joined *= 256
    joined += low
    return joined


def _sixteen_bit(header: ImageHeader, mode: str, values: npt.NDArray[np.uint16]) -> Pixels:
    samples = _scale(values)
    if mode == "RGBA":
        return on_white(samples)
    if mode == "CMYK":
        return np.array(Image.fromarray(samples, mode="CMYK").convert("RGB"))
    if header.key is not None:
        samples[(values == np.array(header.key)).all(axis=-1)] = 255
    return samples


def _scale(values: npt.NDArray[np.uint16], peak: int = 65535) -> Pixels:
    """Map 0..peak to 0..255, rounded to the nearest level."""
    levels = (np.arange(65536, dtype=np.uint32).clip(max=peak) * 255 + peak // 2) // peak
    scaled: Pixels = levels.astype(np.uint8)[values]
    return scaled


_NATIVE, _SWAPPED = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_BYTE = {"L": "B", "B": "L", "N": _SWAPPED}


def _low_byte_tiles(image: ImageFile.ImageFile) -> list[ImageFile._Tile] | None:
    """Tiles that decode the low byte of 16-bit colour, or None where samples have 8 bits.

    Pillow keeps the high byte of such samples only. Read in the other byte order, the same codec keeps the low one.
    """
    tiles = []
    for tile in image.tile:
        rest = () if isinstance(tile.args, str) or tile.args is None else tile.args[1:]
        raw_mode = tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0])
        if raw_mode[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16", "CMYK;16"):
            return None
        swapped = raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]]
        tiles.append(tile._replace(args=(swapped, *rest) if rest else swapped))
    return tiles or None


def _check_tiff(image: TiffImageFile, data: bytes) -> None:
    """Refuse the layouts that Pillow would decode to wrong or partial pixels without saying so."""
    tags = image.tag_v2
    compression = str(image.info["compression"])
    if compression not in _TIFF_COMPRESSIONS:
        raise _unsupported("TIFF", f"compression {compression}")
    if any(kind != 1 for kind in tags.get(_TIFF_SAMPLE_FORMAT, (1,))):
        raise _unsupported("TIFF", "samples that are not unsigned whole numbers")
    deep = max(tags.get(_TIFF_BITS, (1,))) > 8
    planar = tags.get(_TIFF_PLANAR, 1) == 2
    if deep and (planar or any("RGBa" in str(tile.args) for tile in image.tile)):
        raise _unsupported("TIFF", "16-bit samples in planes or premultiplied by alpha")
    if compression == "raw":
        covered = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (tile.extents or (0, 0, 0, 0) for tile in image.tile))
        if covered < tags[_TIFF_WIDTH] * tags[_TIFF_HEIGHT] * (len(image.getbands()) if planar else 1):
            raise truncated("TIFF")
    else:
        _check_tiff_blocks(image, data, is_jpeg=compression == "jpeg")


def _check_tiff_blocks(image: TiffImageFile, data: bytes, *, is_jpeg: bool) -> None:
    """Refuse compressed strips and tiles that reach past the file, and JPEG ones without an end, which libtiff fills up with grey."""
    tags = image.tag_v2
    offsets = tags.get(_TIFF_STRIPS, tags.get(_TIFF_TILES, ()))
    counts = tags.get(_TIFF_STRIP_BYTES, tags.get(_TIFF_TILE_BYTES, ()))
    if len(offsets) != len(counts) or not offsets:
        raise corrupt("TIFF", f"{len(offsets)} blocks with {len(counts)} lengths")
    for start, count in zip(offsets, counts, strict=True):
        end = start + count
        if end > len(data) or (is_jpeg and not data[max(start, end - 64) : end].rstrip(b"\0").endswith(b"\xff\xd9")):
            raise truncated("TIFF")


def _check_bmp(image: BmpImageFile, data: bytes) -> None:
    """Refuse run-length BMP, which Pillow fills up when it is short, and grey palettes whose indices Pillow takes for another depth."""
    bits = int.from_bytes(data[24:26] if data[14] == 12 else data[28:30], "little")
    if image.tile[0].codec_name != "raw":
        raise _unsupported("BMP", "run-length compression")
    if (image.mode, bits) in (("1", 4), ("1", 8), ("L", 1), ("L", 4)):
        raise _unsupported("BMP", f"a grey palette of {bits}-bit indices")
