"""The one image decoder of Eosin: encoded bytes in, `uint8 [height, width, 3]` RGB out, or an `ImageError` with a stable reason.

The format is decided by content. Sizes are checked from the header before any pixel is allocated. What each kind of image becomes:

    | input                              | result                                                                       |
    |------------------------------------|------------------------------------------------------------------------------|
    | JPEG: grey, YCbCr, RGB             | libjpeg-turbo's full decode (its accurate DCT), pixel for pixel Pillow's     |
    | JPEG: CMYK, YCCK                   | inverted as Adobe writes it (as every reader assumes), then Pillow's RGB     |
    | EXIF orientation 2 to 8            | applied; XMP is not consulted; unreadable EXIF counts as orientation 1       |
    | 16-bit grey or colour (PNG, TIFF)  | round(value / 257), never clipped, never cut to the low byte                 |
    | 12-bit grey TIFF                   | round(value * 255 / 4095)                                                    |
    | 1-, 2-, 4-bit grey                 | scaled to 0..255; "white is zero" TIFF inverted                              |
    | palette                            | looked up, with its transparency                                             |
    | alpha or a transparent colour      | composited on white                                                          |
    | animated GIF, WebP, APNG           | first frame (APNG: the default image); a GIF frame smaller than its screen   |
    |                                    | lies on white                                                                |
    | multi-page TIFF                    | first page                                                                   |
    | colour profiles, gamma             | ignored, as the image processors of the models do                            |
    | float, 32-bit, signed, Lab, CIE    | refused: `unsupported_pixels`                                                |
    | run-length BMP, old-style JPEG in  | refused: `unsupported_pixels`                                                |
    | TIFF, 16-bit planar or premultiplied TIFF |                                                                       |
    | data after the image               | ignored                                                                      |

Reasons: `empty`, `too_many_bytes`, `too_many_pixels`, `too_long_side`, `too_many_scans`, `unknown_format`, `unsupported_pixels`,
`truncated`, `corrupt`, `out_of_memory`. Nothing here reads or changes Pillow's switches for damaged or very large files, and no
function keeps state, so all of them may be called from any number of threads.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from eosin.errors import ConfigError, ImageError, InputError
from eosin.image_formats import (
    HEADER_READERS,
    MAX_JPEG_SCANS,
    ImageHeader,
    check_png_stream,
    corrupt,
    identify,
    png_grey_alpha_as_rgba,
    truncated,
)

Pixels: TypeAlias = npt.NDArray[np.uint8]
Encoded: TypeAlias = "bytes | bytearray | memoryview | Buffer"

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing import Any as Buffer
