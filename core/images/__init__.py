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

from eosin.images.decode import Encoded, decode_image, image_size
from eosin.images.encode import encode_jpeg, encode_png, to_plain
from eosin.images.limits import DEFAULT_LIMITS, ImageLimits, read_image_file
from eosin.images.pixels import Pixels, on_white
from eosin.images.texts import without_texts

__all__ = [
    "DEFAULT_LIMITS",
    "Encoded",
    "ImageLimits",
    "Pixels",
    "decode_image",
    "encode_jpeg",
    "encode_png",
    "image_size",
    "on_white",
    "read_image_file",
    "to_plain",
    "without_texts",
]
