"""What an encoded image says about itself, read from its bytes before any pixel is allocated.

Each format that Eosin reads has one function here: bytes in, `ImageHeader` out. Formats that can hold more than one picture are cut down
to their first one, and chunks that have no say in the pixels are left out, so that the decoder behind never sees them.

The layouts follow ITU-T T.81 (JPEG), the PNG specification (third edition), GIF89a, the WebP container specification and, for
orientation, EXIF 2.32.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from eosin.errors import ImageError

MAX_JPEG_SCANS = 100
"""More passes over one JPEG than any encoder writes; each costs as much time as a whole decode."""

_ORIENTATION_TAG = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATE_STEP = 1 << 20


class ImageHeader(NamedTuple):
    """What is known of an image before its pixels are decoded.

    Args:
        format: a key of `HEADER_READERS`.
        width, height: in pixels as stored, before the orientation is applied. 0 for BMP and TIFF, whose headers Pillow reads.
        payload: the bytes for the pixel decoder: one picture, free of text, animation and trailing data.
        orientation: EXIF orientation, 1 to 8.
        depth: bits per sample as stored (PNG).
        colour: the PNG colour type.
        key: the colour that PNG declares transparent, one value a channel at stored depth.
        frame: the part of a GIF's screen that its first frame covers: x0, y0, x1, y1.
        several_scans: the JPEG is decoded in more than one pass.
        whole: the JPEG's segments are well formed up to its first scan.
    """

    format: str
    width: int
    height: int
    payload: bytes
    orientation: int = 1
    depth: int = 8
    colour: int = 2
    key: tuple[int, ...] | None = None
    frame: tuple[int, int, int, int] | None = None
    several_scans: bool = False
    whole: bool = True


def truncated(what: str) -> ImageError:
    """The error for an image whose bytes end too early."""
    return ImageError("truncated", f"the {what} data ends too early; fetch or export the file again")


def corrupt(what: str, why: object) -> ImageError:
    """The error for an image whose bytes contradict its format."""
    return ImageError("corrupt", f"the {what} data is damaged: {why}; fetch or export the file again")


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in the first directory of an EXIF block; 1 when it is absent or the block is unreadable.

    Damaged metadata leaves the pixels whole, so it is no ground to refuse an image.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(count):
            entry = directory + 2 + 12 * index
            tag, kind, values, short = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                value = short if kind == 3 else struct.unpack_from(f"{order}I", tiff, entry + 8)[0]
                return value if kind in (3, 4) and values == 1 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def read_jpeg_header(data: bytes) -> ImageHeader:
    """Orientation and scan structure of a JPEG; its size is left to libjpeg, the one judge that also decodes it."""
    orientation, position = 1, 2
    progressive, components = True, 0
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        body, end = position + 4, position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == 0xE1 and orientation == 1 and data.startswith(b"Exif\0\0", body):
            orientation = exif_orientation(data[body:end])
        elif marker in (0xC0, 0xC1) and body + 6 <= len(data):
            progressive, components = False, data[body + 5]
        elif marker == 0xDA and end <= len(data):
            several = progressive or data[body : body + 1] != bytes([components])
            return ImageHeader("jpeg", 0, 0, data, orientation, several_scans=several)
        position = end
    return ImageHeader("jpeg", 0, 0, data, orientation, several_scans=True, whole=False)


def read_png_header(data: bytes) -> ImageHeader:
    """Header of a PNG, after every checksum up to IEND was verified. Only the default image of an animation is kept."""
    kept: list[bytes] = [_PNG_SIGNATURE]
    found: dict[bytes, bytes] = {}
    for name, start, end in _png_chunks(data):
        if (not found) != (name == b"IHDR"):
            raise corrupt("PNG", "IHDR is not its first and only header")
        if name in _PNG_KEPT:
            kept.append(data[start:end])
        elif name[0] & 0x20 == 0:
            raise corrupt("PNG", f"unknown critical chunk {name!r}")
        found.setdefault(name, b"" if name == b"IDAT" else data[start + 8 : end - 4])
    if len(found[b"IHDR"]) != 13 or b"IDAT" not in found:
        raise corrupt("PNG", "its header or its image data is missing")
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if depth not in _PNG_DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1 or not width or not height:
        raise corrupt("PNG", f"header values {depth, colour, *methods} at {width} x {height} pixels are not allowed")
    if colour == 3 and not 3 <= len(found.get(b"PLTE", b"")) <= 768:
        raise corrupt("PNG", "its palette is missing or has an impossible length")
    key = None
    if b"tRNS" in found and colour in (0, 2):
        if len(found[b"tRNS"]) != 2 * _PNG_CHANNELS[colour]:
            raise corrupt("PNG", "its transparent colour has the wrong length")
        key = struct.unpack(f">{_PNG_CHANNELS[colour]}H", found[b"tRNS"])
    orientation = exif_orientation(found.get(b"eXIf", b""))
    return ImageHeader("png", width, height, b"".join(kept), orientation, depth, colour, key)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk up to IEND, checksums verified."""
    position = len(_PNG_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise truncated("PNG")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not name.isalpha():
            raise corrupt("PNG", f"chunk name {name!r}")
        if end > len(data):
            raise truncated("PNG")
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise corrupt("PNG", f"wrong checksum in {name.decode('ascii')}")
        yield name, position, end
        if name == b"IEND":
            return
        position = end


def check_png_stream(header: ImageHeader) -> None:
    """Refuse a PNG whose compressed rows are damaged or too few, in constant memory.

    Pillow may be told, anywhere in the process, to accept such files; the promise made here must not hang on that.
    """
    wanted = _png_raw_bytes(header)
    inflater = zlib.decompressobj()
    try:
        for name, start, end in _png_chunks(header.payload):
            pending = header.payload[start + 8 : end - 4] if name == b"IDAT" else b""
            while pending and wanted > 0 and not inflater.eof:
                wanted -= len(inflater.decompress(pending, _INFLATE_STEP))
                pending = inflater.unconsumed_tail
        while wanted > 0 and (rest := inflater.decompress(inflater.unconsumed_tail, _INFLATE_STEP)):
            wanted -= len(rest)
    except zlib.error as error:
        raise corrupt("PNG", error) from error
    if wanted > 0:
        raise truncated("PNG")


def _png_raw_bytes(header: ImageHeader) -> int:
    """Bytes of all filtered rows: one filter byte a row, passes of an interlaced image one after another."""
    bits = header.depth * _PNG_CHANNELS[header.colour]
    interlaced = header.payload[28] == 1
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for x, y, step_x, step_y in passes:
        columns = max(0, -(-(header.width - x) // step_x))
        rows = max(0, -(-(header.height - y) // step_y))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def png_grey_alpha_as_rgba(payload: bytes) -> bytes:
    """Relabel 16-bit grey + alpha as 8-bit RGBA: rows and filters are the same bytes, so no precision is lost by decoding them so."""
    header = payload[12:24] + bytes([8, 6]) + payload[26:29]
    return payload[:12] + header + struct.pack(">I", zlib.crc32(header)) + payload[33:]


def read_gif_header(data: bytes) -> ImageHeader:
    """Header of a GIF, rebuilt to hold its first frame alone."""
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        screen, transparency, picture = data[10:position], b"", b""
        frame = (0, 0, 0, 0)
        while data[position] != 0x3B:
            start = position
            if data[position] == 0x21:
                position = _gif_blocks_end(data, position + 2)
                if data[start + 1] == 0xF9 and not picture and data[start + 3] & 1:
                    transparency = b"\x21\xf9\x04\x01\0\0" + data[start + 6 : start + 7] + b"\0"
            elif data[position] == 0x2C:
                x, y, columns, rows, local = struct.unpack_from("<HHHHB", data, position + 1)
                position += 10 + (3 << (local & 7) + 1 if local & 0x80 else 0)
                position = _gif_blocks_end(data, position + 1)
                if not picture:
                    frame, picture = (x, y, x + columns, y + rows), data[start:position]
            else:
                raise corrupt("GIF", f"block of kind {data[position]:#04x}")
    except (IndexError, struct.error) as error:
        raise truncated("GIF") from error
    if not picture:
        raise corrupt("GIF", "it holds no picture")
    width, height = max(width, frame[2]), max(height, frame[3])
    payload = struct.pack("<6sHH", b"GIF89a", width, height) + screen + transparency + picture + b";"
    return ImageHeader("gif", width, height, payload, frame=frame)


def _gif_blocks_end(data: bytes, position: int) -> int:
    """The position after a chain of GIF sub-blocks; IndexError where the data ends first."""
    while data[position]:
        position += 1 + data[position]
    return position + 1


def read_webp_header(data: bytes) -> ImageHeader:
    """Header of a WebP; libwebp allocates the canvas when it opens a file, so the size must be known before."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 30:
        raise truncated("WebP")
    kind, bits = data[12:16], int.from_bytes(data[21:25], "little")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L" and data[20] == 0x2F:
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
    else:
        raise corrupt("WebP", f"first chunk {kind!r} holds no picture header")
    if not width or not height:
        raise corrupt("WebP", f"{width} x {height} pixels")
    return ImageHeader("webp", width, height, data[:end], exif_orientation(_riff_chunk(data[:end], b"EXIF")))


def _riff_chunk(data: bytes, wanted: bytes) -> bytes:
    """The body of the first chunk of this name, empty when there is none."""
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name == wanted:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""


def _read_by_pillow(kind: str) -> Callable[[bytes], ImageHeader]:
    """Formats whose Pillow plugin allocates nothing before the pixels are asked for."""
    return lambda data: ImageHeader(kind, 0, 0, data)


HEADER_READERS: dict[str, Callable[[bytes], ImageHeader]] = {
    "jpeg": read_jpeg_header,
    "png": read_png_header,
    "gif": read_gif_header,
    "webp": read_webp_header,
    "bmp": _read_by_pillow("bmp"),
    "tiff": _read_by_pillow("tiff"),
}

_SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    _PNG_SIGNATURE: "png",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
}


def identify(data: bytes) -> str:
    """The format by content; a file's suffix has no say.

    Raises:
        ImageError: `unknown_format`; `truncated` when the bytes are the start of a known signature and no more.
    """
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            return kind
        if signature.startswith(data):
            raise truncated(kind.upper())
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if b"RIFF".startswith(data[:4]) and b"WEBP".startswith(data[8:12]):
        raise truncated("WebP")
    raise ImageError("unknown_format", f"the first bytes are {data[:8]!r}; allowed: {', '.join(HEADER_READERS)}")
