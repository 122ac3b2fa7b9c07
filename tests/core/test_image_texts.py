"""What a file tells beside its pixels is taken out; the pixels are not touched."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from eosin.images import decode_image, encode_jpeg, encode_png, without_texts

SECRET = "PATIENT SUSAN BARKER"
PIXELS = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112], found[0x010E], found[0x013B] = orientation, SECRET, SECRET
    found.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + SECRET.encode()
    return found


def written(kind: str, orientation: int) -> bytes:
    image, file = Image.fromarray(PIXELS), io.BytesIO()
    more: dict[str, object] = {"exif": exif(orientation)}
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", SECRET)
        texts.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET}</x>")
        more["pnginfo"] = texts
    elif kind == "JPEG":
        more |= {"comment": SECRET, "xmp": f"<x>{SECRET}</x>".encode(), "icc_profile": PROFILE}
    elif kind == "WEBP":
        more |= {"xmp": f"<x>{SECRET}</x>".encode(), "lossless": True, "icc_profile": PROFILE}
    elif kind == "GIF":
        more = {"comment": SECRET}
    elif kind == "TIFF":
        more = {"tiffinfo": exif(orientation), "compression": "tiff_lzw"}
    image.save(file, kind, **more)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_texts_go_and_pixels_profile_and_orientation_stay(kind: str, orientation: int) -> None:
    data = written(kind, orientation)
    assert SECRET.encode() in data
    found = without_texts(data)
    assert SECRET.encode() not in found
    assert np.array_equal(decode_image(found), decode_image(data))
    assert without_texts(found) == found
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(found)) as after:
        assert after.info.get("icc_profile") == before.info.get("icc_profile")


@pytest.mark.parametrize("data", [encode_jpeg(PIXELS), encode_png(PIXELS), encode_png(PIXELS[..., 0])])
def test_where_there_is_nothing_to_take_out_the_bytes_are_the_same(data: bytes) -> None:
    assert without_texts(data) is data


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF"]), st.integers(0, 3000), st.integers(0, 255))
def test_damaged_files_end_in_no_error(kind: str, place: int, value: int) -> None:
    data = bytearray(written(kind, 6))
    data[place % len(data)] = value
    without_texts(bytes(data))
    without_texts(bytes(data[: place % len(data)]))
