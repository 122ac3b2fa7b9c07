"""Small slides: pyramids of drawn pixels, and TIFF files as Aperio's scanners write them, whole or damaged."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from PIL import Image, ImageDraw

from eosin.data_builders.phantoms import SlideSpec, SlideTruth, render_slide
from eosin.data_builders.phantoms.pyramid import write_pyramid

Pixels = npt.NDArray[np.uint8]
TILE = 64
APERIO = "Aperio Image Library v11\r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile}) JPEG/RGB Q=70"


def tissue_like(width: int, height: int, seed: int = 0) -> Pixels:
    """Pink and purple texture, sharp, with no place like another."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (height // 8 + 1, width // 8 + 1), dtype=np.uint8))
    shade = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    pixels = np.array([225, 160, 200]) * shade + np.array([120, 70, 150]) * (1 - shade) + rng.normal(0, 6, (height, width, 1))
    return pixels.clip(0, 255).astype(np.uint8)


def split_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """The tables of a JPEG as a stream of their own, and the stream without them (TIFF Technical Note 2); without Adobe's marker."""
    tables, rest, place = b"", b"", 2
    while data[place + 1] != 0xDA:
        length = 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        segment = data[place : place + length]
        if segment[1] in (0xDB, 0xC4):
            tables += segment
        elif segment[1] == 0xC0:
            rest += segment
        place += length
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + data[place:]


def numbered(data: bytes) -> bytes:
    """Component names 1, 2, 3 in place of R, G, B: as Aperio writes RGB, so that only the TIFF's tag tells it from YCbCr."""
    frame = data.index(b"\xff\xc0") + 10
    scan = data.index(b"\xff\xda") + 5
    found = bytearray(data)
    for number in range(3):
        found[frame + 3 * number] = found[scan + 2 * number] = number + 1
    return bytes(found)


def encoded(tile: Pixels, rgb: bool) -> bytes:
    if not rgb:
        return bytes(simplejpeg.encode_jpeg(tile, quality=85, colorspace="RGB", colorsubsampling="420"))
    buffer = BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=85, keep_rgb=True)
    return buffer.getvalue()


def write_svs(
    path: Path,
    pixels: Pixels,
    *,
    text: str = "|AppMag = 20|MPP = 0.5",
    rgb: bool = True,
    lost: tuple[int, ...] = (),
    broken: tuple[int, ...] = (),
) -> Path:
    """One level in tiles of 64 px. `lost` tiles have no bytes, `broken` ones bytes that are no JPEG."""
    height, width = pixels.shape[:2]
    offsets, lengths, body, tables = [], [], b"", b""
    for number, (top, left) in enumerate((top, left) for top in range(0, height, TILE) for left in range(0, width, TILE)):
        tile = np.full((TILE, TILE, 3), 255, np.uint8)
        part = pixels[top : top + TILE, left : left + TILE]
        tile[: part.shape[0], : part.shape[1]] = part
        tables, data = split_jpeg(encoded(tile, rgb))
        data = numbered(data) if rgb else data
        data = b"" if number in lost else data[:40] + b"\xff\xd8" * 60 if number in broken else data
        offsets.append(8 + len(body))
        lengths.append(len(data))
        body += data + b"\0" * (len(data) % 2)
    description = (APERIO.format(width=width, height=height, tile=TILE) + text).encode() + b"\0"
    subsampling = [] if rgb else [(530, 3, struct.pack("<2H", 2, 2))]
    fields = [
        (256, 4, struct.pack("<I", width)),
        (257, 4, struct.pack("<I", height)),
        (258, 3, struct.pack("<3H", 8, 8, 8)),
        (259, 3, struct.pack("<H", 7)),
        (262, 3, struct.pack("<H", 2 if rgb else 6)),
        (270, 2, description),
        (277, 3, struct.pack("<H", 3)),
        (284, 3, struct.pack("<H", 1)),
        (322, 4, struct.pack("<I", TILE)),
        (323, 4, struct.pack("<I", TILE)),
        (324, 4, struct.pack(f"<{len(offsets)}I", *offsets)),
        (325, 4, struct.pack(f"<{len(lengths)}I", *lengths)),
        (347, 7, tables),
        *subsampling,
    ]
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + _directory(8 + len(body), fields))
    return path


def _directory(start: int, fields: list[tuple[int, int, bytes]]) -> bytes:
    sizes = {2: 1, 3: 2, 4: 4, 7: 1}
    place = start + 2 + 12 * len(fields) + 4
    entries, extra = struct.pack("<H", len(fields)), b""
    for tag, kind, value in fields:
        count = len(value) // sizes[kind]
        if len(value) > 4:
            entry, extra = struct.pack("<I", place + len(extra)), extra + value + b"\0" * (len(value) % 2)
        else:
            entry = value.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, count) + entry
    return entries + struct.pack("<I", 0) + extra


def write_slide(path: Path, pixels: Pixels, mpp: float = 0.5) -> Path:
    """A pyramid of these pixels."""
    write_pyramid(path, (pixels.shape[1], pixels.shape[0]), mpp, iter([pixels]), quality=92)
    return path


def on_glass(width: int, height: int, box: tuple[int, int, int, int], glass: tuple[int, int, int] = (243, 241, 244)) -> Pixels:
    """Tissue in a box, glass around."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = glass
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = tissue_like(right - left, bottom - top)
    return pixels


def stroke(
    pixels: Pixels, colour: tuple[int, int, int], places: list[tuple[float, float]], width: int
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """The picture with a stroke of a marker that lets a little light through, and where it is."""
    mask = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    ImageDraw.Draw(mask).line(places, fill=255, width=width, joint="curve")
    inked = np.asarray(mask) > 0
    out = pixels.copy()
    out[inked] = (pixels[inked] / 255 * np.array(colour)).astype(np.uint8)
    return out, inked


@pytest.fixture(scope="session")
def draw() -> SimpleNamespace:
    """The functions of this file, for tests to call."""
    return SimpleNamespace(
        tissue_like=tissue_like, write_svs=write_svs, write_slide=write_slide, on_glass=on_glass, stroke=stroke, real=real
    )


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SlideTruth]:
    """A phantom slide of 2048 px with fat, and what is on it."""
    path = tmp_path_factory.mktemp("phantom") / "phantom.tiff"
    tissues = ("TUM", "STR", "NORM", "ADI", "LYM", "MUC")
    return path, render_slide(SlideSpec(3, width=2048, height=2048, tissues=tissues), path)


@pytest.fixture(scope="session")
def svs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write an Aperio slide once: `svs("name", rgb=True)`."""
    folder = tmp_path_factory.mktemp("svs")

    def make(name: str, **options: object) -> Path:
        path = folder / f"{name}.svs"
        return path if path.exists() else write_svs(path, tissue_like(500, 330), **options)  # type: ignore[arg-type]

    return make


def real(name: str) -> list[Path]:
    """A real file, where there is one: tests add it to their own."""
    root = os.environ.get("EOSIN_REAL_DATA")
    path = Path(root) / name if root else None
    return [path] if path and path.exists() else []
