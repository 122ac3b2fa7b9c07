from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from eosin.errors import ConfigError, ImageError, InputError
from eosin.images import decode_image, encode_jpeg, encode_png, image_size, read_image_file, to_plain

Array = npt.NDArray[np.uint8]
ORIENTATION = 0x0112
FEW = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def smooth(width: int, height: int, seed: int = 0) -> Array:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


TILE = smooth(37, 29)


def save(image: Image.Image | Array, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(samples: npt.NDArray[np.generic], colour: int, depth: int, *extra: bytes, stream: bytes | None = None) -> bytes:
    """A PNG by hand: the independent writer for what Pillow cannot write."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = zlib.compress(rows) if stream is None else stream
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(samples: npt.NDArray[np.generic], photometric: int, order: str = "<", *, bits: int | None = None, kind: int = 1) -> bytes:
    """An uncompressed TIFF by hand, its directory before its pixels."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    depth = samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes() if bits is None else samples.tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits or depth), (259, 3, 1, 1), (262, 3, 1, photometric)]
    start = 8 + 2 + 12 * 10 + 4
    entries += [(273, 4, 1, start), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(data)), (339, 3, 1, kind)]
    packed = b"".join(
        struct.pack(f"{order}HHI", tag, field, count)
        + (struct.pack(f"{order}HH", value, 0) if field == 3 else struct.pack(f"{order}I", value))
        for tag, field, count, value in entries
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(entries)) + packed + b"\0" * 4 + data


def grey(values: Array) -> Array:
    return values[..., None].repeat(3, axis=-1)


def over_white(rgba: Array) -> Array:
    share = rgba[..., 3:].astype(float) / 255
    return np.floor(rgba[..., :3] * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def to_8_bit(values: npt.NDArray[np.uint16]) -> Array:
    return np.rint(values / 257).astype(np.uint8)


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)  # type: ignore[arg-type]
    return caught.value.reason


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_full_jpeg_decode_equals_pillow(mode: str, options: dict[str, object]) -> None:
    data = save(Image.fromarray(smooth(131, 77)).convert(mode), "JPEG", **options)
    if mode == "CMYK" and options.get("subsampling") == 1:
        assert refusal(data) == "unsupported_pixels"
        return
    assert np.array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_real_or_synthetic_tiles_equal_pillow() -> None:
    root = os.environ.get("EOSIN_REAL_DATA")
    paths = sorted((Path(root) / "tiles").rglob("*.jp*g"))[:20] if root else []
    for data in [path.read_bytes() for path in paths] or [encode_jpeg(smooth(224, 224, seed)) for seed in range(3)]:
        assert np.array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("width", range(1, 20))
def test_result_is_owned_contiguous_and_writable_whatever_the_source(width: int) -> None:
    for format, options in (("JPEG", {"exif": exif(6)}), ("PNG", {}), ("TIFF", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {})):
        pixels = decode_image(save(smooth(width, 3), format, **options))
        assert pixels.dtype == np.uint8
        assert pixels.shape == ((width, 3, 3) if format == "JPEG" else (3, width, 3))
        assert pixels.flags.owndata
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, pa.py_buffer, lambda data: memoryview(pa.py_buffer(data))])
def test_any_buffer_is_taken(wrap: object) -> None:
    assert decode_image(wrap(save(TILE, "JPEG", exif=exif(6)))).shape == (37, 29, 3)  # type: ignore[operator]


@FEW
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    seed=st.integers(0, 9),
    format=st.sampled_from(["PNG", "TIFF", "WEBP", "BMP", "GREY"]),
)
def test_lossless_formats_give_the_pixels_back(width: int, height: int, seed: int, format: str) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if format == "GREY":
        assert np.array_equal(decode_image(encode_png(pixels[..., 0])), grey(pixels[..., 0]))
        return
    data = encode_png(pixels) if format == "PNG" else save(pixels, format, **({"lossless": True} if format == "WEBP" else {}))
    assert np.array_equal(decode_image(data), pixels)
    assert image_size(data) == (width, height)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_gives_the_pixels_back(compression: str) -> None:
    assert np.array_equal(decode_image(save(TILE, "TIFF", compression=compression)), TILE)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_equals_pillows_transpose(format: str, orientation: int) -> None:
    data = save(TILE, format, exif=exif(orientation), **({"lossless": True} if format == "WEBP" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    pixels = decode_image(data)
    assert np.array_equal(pixels, expected)
    assert image_size(data) == (pixels.shape[1], pixels.shape[0])
    if orientation == 6:
        assert pixels.shape[:2] == (37, 29)


def test_unreadable_exif_leaves_the_image_as_stored() -> None:
    for block in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"):
        assert decode_image(save(TILE, "JPEG", exif=block)).shape == TILE.shape


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_samples_are_rounded_to_8_bits(order: str) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (19, 23, 4), dtype=np.uint16)
    values[0, :5, :] = np.array([0, 128, 129, 65406, 65535])[:, None]
    rgb, one = np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 0])
    assert np.array_equal(decode_image(png(one, 0, 16)), grey(to_8_bit(one)))
    assert np.array_equal(decode_image(png(rgb, 2, 16)), to_8_bit(rgb))
    assert np.array_equal(decode_image(png(values, 6, 16)), over_white(to_8_bit(values)))
    assert np.array_equal(decode_image(png(values[..., :2], 4, 16)), over_white(to_8_bit(values)[..., (0, 0, 0, 1)]))
    assert np.array_equal(decode_image(tiff(one, 1, order)), grey(to_8_bit(one)))
    assert np.array_equal(decode_image(tiff(rgb, 2, order)), to_8_bit(rgb))
    assert np.array_equal(decode_image(tiff(values, 2, order)), over_white(to_8_bit(values)))


def test_white_is_zero_tiff_is_inverted() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (19, 23), dtype=np.uint16)
    assert np.array_equal(decode_image(tiff(deep, 0)), grey(to_8_bit(65535 - deep)))
    assert np.array_equal(decode_image(tiff(TILE[..., 0], 0)), grey(255 - TILE[..., 0]))


def test_12_bit_grey_tiff_fills_the_range() -> None:
    packed = np.array([[0x00, 0x0F, 0xFF]], dtype=np.uint8)
    header_width_2 = bytearray(tiff(packed, 1, bits=12))
    header_width_2[18:20] = struct.pack("<H", 2)
    assert decode_image(bytes(header_width_2))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_equal_pillows_conversion(mode: str) -> None:
    for format in ("PNG", "TIFF", "BMP"):
        if mode == "CMYK" and format != "TIFF":
            continue
        data = save(Image.fromarray(TILE).convert(mode), format)
        assert np.array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_alpha_is_composited_on_white() -> None:
    rgba = np.random.default_rng(3).integers(0, 256, (31, 17, 4), dtype=np.uint8)
    expected = over_white(rgba)
    assert np.array_equal(decode_image(save(rgba, "PNG")), expected)
    assert np.array_equal(decode_image(save(rgba, "TIFF")), expected)
    assert np.array_equal(decode_image(save(rgba, "WEBP", lossless=True, exact=True)), expected)
    grey_alpha = np.ascontiguousarray(rgba[..., 2:])
    assert np.array_equal(decode_image(png(grey_alpha, 4, 8)), over_white(grey_alpha[..., (0, 0, 0, 1)]))


def test_transparent_palette_entries_and_key_colours_turn_white() -> None:
    palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    some = save(palette, "PNG", transparency=b"\xff\x80\x00")
    assert (
        decode_image(some).tolist()
        == over_white(np.array([[[10, 20, 30, 255], [40, 50, 60, 128], [70, 80, 90, 0]]], dtype=np.uint8)).tolist()
    )
    assert decode_image(save(palette, "GIF", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]
    colours = np.array([[[1, 2, 3], [1, 2, 4]]])
    for depth in (8, 16):
        key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
        first, second = decode_image(png(colours, 2, depth, key))[0].tolist()
        assert first == [255, 255, 255]
        assert second == ([1, 2, 4] if depth == 8 else [0, 0, 0])
    deep = np.array([[256, 257]])
    assert decode_image(png(deep, 0, 16, chunk(b"tRNS", struct.pack(">H", 257))))[0, :, 0].tolist() == [1, 255]
    four_bit = png(np.array([[0x3A]]), 0, 4, chunk(b"tRNS", struct.pack(">H", 10)))
    two_wide = four_bit[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)) + four_bit[33:]
    assert decode_image(two_wide)[0, :, 0].tolist() == [0x33, 255]


def test_first_frame_of_animations_and_first_page_of_tiff() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for format, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = save(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(decode_image(data), np.asarray(frames[0])), format
    default = save(frames[0], "PNG", save_all=True, default_image=True, append_images=frames[1:])
    assert np.array_equal(decode_image(default), np.asarray(frames[0]))


def test_small_gif_frame_lies_on_white() -> None:
    data = bytearray(save(Image.new("P", (2, 2), 0), "GIF"))
    data[6:10] = struct.pack("<HH", 4, 3)
    pixels = decode_image(bytes(data))
    assert pixels.shape == (3, 4, 3)
    assert (pixels[2:] == 255).all()
    assert (pixels[:, 2:] == 255).all()
    assert (pixels[:2, :2] != 255).any()


@pytest.mark.parametrize("width", [224, 768, 1000])
def test_at_least_never_falls_below_and_saves_pixels(width: int) -> None:
    data = encode_jpeg(smooth(width, 600))
    pixels = decode_image(data, at_least=224)
    assert 224 <= min(pixels.shape[:2]) <= min(width, 600)
    if width == 1000:
        assert pixels.shape[0] < 600
        assert np.abs(np.asarray(Image.fromarray(decode_image(data)).resize(pixels.shape[1::-1])).astype(int) - pixels).mean() < 4
    assert decode_image(data, at_least=2000).shape == (600, width, 3)
    assert decode_image(save(smooth(64, 64), "PNG"), at_least=8).shape == (64, 64, 3)
    with pytest.raises(ConfigError):
        decode_image(data, at_least=0)


@pytest.mark.parametrize("tolerant", [False, True])
def test_png_with_damaged_or_missing_rows_is_refused(tolerant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    rows = b"".join(b"\0" + row.tobytes() for row in TILE)
    assert decode_image(png(TILE, 2, 8)).shape == TILE.shape
    assert refusal(png(TILE, 2, 8, stream=zlib.compress(rows[:-1]))) == "truncated"
    assert refusal(png(TILE, 2, 8, stream=zlib.compress(rows)[:-300])) == "truncated"
    assert refusal(png(TILE, 2, 8, stream=b"\x78\x9c" + b"\xff" * 60)) == "corrupt"
    flipped = bytearray(png(TILE, 2, 8))
    flipped[-100] ^= 1
    assert refusal(bytes(flipped)) == "corrupt"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not an image at all", "unknown_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unknown_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown_format"),
        (save(TILE, "PPM"), "unknown_format"),
        (save(TILE, "ICO"), "unknown_format"),
        (save(TILE, "JPEG2000"), "unknown_format"),
        (tiff(np.zeros((4, 4), np.float32), 1, kind=3), "unsupported_pixels"),
        (tiff(np.zeros((4, 4), np.float64), 1, kind=3), "unsupported_pixels"),
        (tiff(np.zeros((4, 4), np.float16), 1, kind=3), "unsupported_pixels"),
        (tiff(np.zeros((4, 4), np.int8), 1, kind=2), "unsupported_pixels"),
        (tiff(np.zeros((4, 4), np.uint32), 1), "unsupported_pixels"),
        (tiff(np.zeros((4, 4, 3), np.uint8), 8), "unsupported_pixels"),
        (save(Image.fromarray(TILE).convert("1"), "TIFF", compression="group4"), "unsupported_pixels"),
        (tiff(np.zeros((0, 4), np.uint8), 1), "corrupt"),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "tile.jpg"
    path.write_bytes(encode_png(TILE))
    assert np.array_equal(decode_image(read_image_file(path)), TILE)


def test_encoders_are_deterministic_and_check_their_input() -> None:
    assert encode_png(TILE) == encode_png(TILE.copy())
    assert encode_jpeg(TILE, quality=80) == encode_jpeg(np.asfortranarray(TILE), quality=80)
    assert np.abs(decode_image(encode_jpeg(TILE)).astype(int) - TILE).mean() < 2
    for wrong in (TILE.astype(np.float32), TILE[..., :2], TILE[:0], np.zeros(5, np.uint8)):
        with pytest.raises(InputError):
            encode_png(wrong)
    with pytest.raises(InputError):
        encode_jpeg(TILE[..., 0])
    with pytest.raises(ConfigError):
        encode_jpeg(TILE, quality=0)


CHANGED: list[tuple[str, dict[str, object]]] = [
    ("JPEG", {"exif": exif(6)}),
    ("JPEG", {"keep_rgb": True}),
    ("PNG", {"exif": exif(3)}),
    ("TIFF", {}),
    ("WEBP", {}),
    ("GIF", {}),
    ("BMP", {}),
]


def test_plain_images_pass_unchanged_and_others_become_png_of_the_same_pixels() -> None:
    plain = (encode_jpeg(TILE), save(TILE, "JPEG", subsampling=2), encode_png(TILE))
    assert all(to_plain(data) == data for data in plain)
    others = [save(TILE, format, **options) for format, options in CHANGED]
    rgba = save(np.dstack([TILE, TILE[..., 0]]), "PNG")
    frames = save(TILE, "PNG", save_all=True, append_images=[Image.new("RGB", (37, 29))])
    keyed = png(TILE, 2, 8, chunk(b"tRNS", struct.pack(">3H", *TILE[0, 0].tolist())))
    for data in (*others, rgba, frames, keyed, save(TILE[..., 0], "JPEG")):
        sent = to_plain(data)
        assert sent != data
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), decode_image(data))
    with pytest.raises(ImageError):
        to_plain(plain[0][:-40])


def test_files_are_sized_before_they_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    missing, folder, large, empty = tmp_path / "no.png", tmp_path / "folder", tmp_path / "large.png", tmp_path / "empty.png"
    folder.mkdir()
    empty.touch()
    with large.open("wb") as file:
        file.truncate(1 << 40)
    for path in (missing, folder, missing / "below"):
        with pytest.raises(InputError, match=str(path)) as caught:
            read_image_file(path)
        assert not isinstance(caught.value, ImageError)
    with pytest.raises(ImageError, match="too_many_bytes"):
        read_image_file(large)
    with pytest.raises(ImageError, match="empty"):
        read_image_file(str(empty))


def test_simplejpeg_still_reports_what_the_decoder_relies_on() -> None:
    assert simplejpeg.decode_jpeg_header(save(Image.fromarray(TILE).convert("CMYK"), "JPEG"))[2] == "CMYK"
    with pytest.raises(ValueError, match="Premature end"):
        simplejpeg.decode_jpeg(encode_jpeg(TILE)[:-30], strict=True)
