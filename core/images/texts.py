"""An image file without what it tells beside its pixels: names, dates, places, thumbnails.

Scanners and cameras write the patient, the operator or the case into EXIF, XMP, comments and descriptions. Pixels, colour profiles and
the orientation stay, bit for bit; what is taken out is everything else that JPEG (ITU-T T.81), PNG (third edition), WebP and GIF89a
allow for, and of TIFF 6.0 the values of all text tags and of blocks that hold text, which are overwritten with zeros in place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from eosin.errors import ImageError
from eosin.images.headers import identify, read_gif_header, read_jpeg_header, read_png_header, read_webp_header

_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs", b"bKGD", b"cICP")
_WEBP_KEPT = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP")
_WEBP_EXIF_FLAG = 0x08
_WEBP_TEXT_FLAGS = _WEBP_EXIF_FLAG | 0x04
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_ASCII = 2
# XMP, IPTC, Photoshop's resources, the maker's notes, comments.
_TIFF_BLOCKS = (700, 33723, 34377, 37500, 37510)
_TIFF_FOLDERS = (330, 34665, 34853)
_MOST_FOLDERS = 1000


def without_texts(data: bytes) -> bytes:
    """The same picture without what the file tells beside it; the same bytes where there is nothing to take out.

    Formats that hold nothing of the kind (BMP), BigTIFF and files that are damaged come back as they are: decode what is kept first.

    Args:
        data: an encoded image.
    """
    try:
        found = _CLEANERS.get(identify(data), bytes)(data)
    except (ImageError, struct.error, IndexError):
        return data
    return data if found == data else found


def _exif(orientation: int) -> bytes:
    """An EXIF block that tells the orientation alone."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def _jpeg(data: bytes) -> bytes:
    header = read_jpeg_header(data)
    if not header.whole:
        return data
    exif = b"Exif\0\0" + _exif(header.orientation)
    kept = [data[:2]]
    turned = [b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif] if header.orientation != 1 else []
    position = 2
    while data[position + 1] != 0xDA:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker not in (0xE0, 0xFE):
            kept, turned = kept + turned, []
        if not _tells(marker, data[position + 4 : end]):
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, *turned, data[position:]])


def _tells(marker: int, body: bytes) -> bool:
    """Whether a JPEG segment says something beside the pixels: comments and applications' blocks but JFIF's, Adobe's and profiles."""
    if marker == 0xE0:
        return not body.startswith(b"JFIF\0")
    if marker == 0xE2:
        return not body.startswith(b"ICC_PROFILE\0")
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)


def _png(data: bytes) -> bytes:
    orientation = read_png_header(data).orientation
    kept, position = [data[:8]], 8
    while True:
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if name in _PNG_KEPT:
            kept.append(data[position:end])
        if name == b"IHDR" and orientation != 1:
            body = b"eXIf" + _exif(orientation)
            kept.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        if name == b"IEND":
            return b"".join(kept)
        position = end


def _webp(data: bytes) -> bytes:
    orientation = read_webp_header(data).orientation
    exif = _exif(orientation)
    kept, position, end = [], 12, 8 + int.from_bytes(data[4:8], "little")
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, position)
        after = position + 8 + length + length % 2
        if name in _WEBP_KEPT:
            kept.append(data[position:after])
        position = after
    if kept and kept[0].startswith(b"VP8X"):
        turned = orientation != 1
        kept[0] = kept[0][:8] + bytes([kept[0][8] & ~_WEBP_TEXT_FLAGS | _WEBP_EXIF_FLAG * turned]) + kept[0][9:]
        kept += [b"EXIF" + struct.pack("<I", len(exif)) + exif] if turned else []
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _tiff(data: bytes) -> bytes:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return data
    out = bytearray(data)
    waiting, seen = [struct.unpack_from(f"{order}I", data, 4)[0]], set[int]()
    while waiting and len(seen) < _MOST_FOLDERS:
        folder = waiting.pop()
        if folder == 0 or folder in seen:
            continue
        seen.add(folder)
        (count,) = struct.unpack_from(f"{order}H", data, folder)
        for place in range(folder + 2, folder + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, place)
            size = values * _TIFF_SIZES.get(kind, 1)
            start = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, place + 8)[0]
            if kind == _TIFF_ASCII or tag in _TIFF_BLOCKS:
                stop = min(start + size, len(out))
                out[start:stop] = bytes(max(0, stop - start))
            elif tag in _TIFF_FOLDERS and kind in (4, 13):
                waiting += struct.unpack_from(f"{order}{values}I", data, start)
        waiting += struct.unpack_from(f"{order}I", data, folder + 2 + 12 * count)
    return bytes(out)


_CLEANERS: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": lambda data: read_gif_header(data).payload,
    "tiff": _tiff,
}
