"""Images spoilt as scanners, stains and file formats spoil them, in five strengths: `CORRUPTIONS` names them all.

After MedMNIST-C (Di Salvo et al. 2024, arXiv:2406.17536), which picks for each kind of image what happens to it in practice, and ImageNet-C
(Hendrycks and Dietterich 2019). The strengths are our own: they are set for tiles of 0.5 microns per pixel and scale with the image's side
where the effect has a size. `stain_shift` scales haematoxylin and eosin apart in optical density (Ruifrok and Johnston 2001; Tellez et
al. 2019).
What is random is drawn from the image's own bytes: the same image is spoilt alike in every run and for every model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from eosin.errors import MissingDependency
from eosin.eval.pictures import uncompressed
from eosin.eval.tasks.names import Corruption
from eosin.images import Pixels, decode_image, encode_jpeg
from eosin.numerics import STAINS

Random = np.random.Generator


def corrupt(image: bytes, name: Corruption, severity: int) -> bytes:
    """The image under a corruption, as a BMP of the same size.

    Args:
        image: encoded.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.

    Raises:
        ImageError: the image cannot be decoded.
        MissingDependency: scipy is not installed.
    """
    digest = hashlib.sha256(f"{name}:{severity}:".encode() + image).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return uncompressed(CORRUPTIONS[name](decode_image(image), severity - 1, rng))


def _jpeg(pixels: Pixels, level: int, rng: Random) -> Pixels:
    return decode_image(encode_jpeg(pixels, quality=(50, 30, 18, 12, 7)[level]))


def _pixelate(pixels: Pixels, level: int, rng: Random) -> Pixels:
    height, width = pixels.shape[:2]
    share = (0.6, 0.45, 0.33, 0.25, 0.18)[level]
    image = Image.fromarray(pixels)
    small = image.resize((max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _defocus(pixels: Pixels, level: int, rng: Random) -> Pixels:
    radius = (0.006, 0.01, 0.015, 0.022, 0.03)[level] * min(pixels.shape[:2])
    side = int(np.ceil(radius))
    offsets = np.arange(-side, side + 1)
    disc = np.clip(radius + 0.5 - np.hypot(offsets[:, None], offsets[None]), 0, 1)
    return _convolved(pixels, disc / disc.sum())


def _motion(pixels: Pixels, level: int, rng: Random) -> Pixels:
    length = max(3, round((0.02, 0.035, 0.05, 0.07, 0.1)[level] * min(pixels.shape[:2])) | 1)
    line = Image.new("L", (length, length))
    angle = rng.uniform(0, np.pi)
    middle, reach = (length - 1) / 2, (length - 1) / 2
    ends = [(middle + sign * reach * np.cos(angle), middle + sign * reach * np.sin(angle)) for sign in (-1, 1)]
    ImageDraw.Draw(line).line(ends, fill=255)
    kernel = np.asarray(line, dtype=np.float64)
    return _convolved(pixels, kernel / kernel.sum())


def _convolved(pixels: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    try:
        from scipy.ndimage import convolve
    except ModuleNotFoundError as error:
        raise MissingDependency("scipy", "eval") from error
    channels = [convolve(pixels[:, :, channel].astype(np.float32), kernel, mode="reflect") for channel in range(3)]
    return _bytes(np.stack(channels, axis=2))


def _noise(pixels: Pixels, level: int, rng: Random) -> Pixels:
    return _bytes(pixels + rng.normal(0, (6, 12, 20, 30, 45)[level], pixels.shape))


def _brighter(pixels: Pixels, level: int, rng: Random) -> Pixels:
    return _bytes(pixels * (1.08, 1.15, 1.25, 1.35, 1.5)[level])


def _darker(pixels: Pixels, level: int, rng: Random) -> Pixels:
    return _bytes(pixels * (0.9, 0.8, 0.7, 0.58, 0.45)[level])


def _less_contrast(pixels: Pixels, level: int, rng: Random) -> Pixels:
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _bytes(mean + (pixels - mean) * (0.8, 0.65, 0.5, 0.35, 0.2)[level])


def _saturate(pixels: Pixels, level: int, rng: Random) -> Pixels:
    grey = pixels.mean(axis=2, keepdims=True)
    return _bytes(grey + (pixels - grey) * (1.2, 1.4, 1.7, 2.1, 2.6)[level])


def _bubble(pixels: Pixels, level: int, rng: Random) -> Pixels:
    """An air bubble under the cover slip: a bright disc with a dark rim."""
    return _with_spots(pixels, 1, (0.15, 0.22, 0.3, 0.38, 0.48)[level], rng, fill=(250, 250, 250, 120), rim=(90, 90, 90, 200))


def _deposit(pixels: Pixels, level: int, rng: Random) -> Pixels:
    """Grains of precipitated stain."""
    return _with_spots(pixels, (3, 6, 10, 16, 24)[level], 0.025, rng, fill=(45, 20, 85, 235), rim=(45, 20, 85, 235))


def _with_spots(pixels: Pixels, count: int, radius: float, rng: Random, *, fill: tuple[int, ...], rim: tuple[int, ...]) -> Pixels:
    height, width = pixels.shape[:2]
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    side = min(height, width)
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        r = max(1.0, side * radius * rng.uniform(0.7, 1.3))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=rim, width=max(1, side // 60))
    soft = layer.filter(ImageFilter.GaussianBlur(max(0.5, side / 250)))
    return np.asarray(Image.alpha_composite(Image.fromarray(pixels).convert("RGBA"), soft).convert("RGB"))


def _stain_shift(pixels: Pixels, level: int, rng: Random) -> Pixels:
    """Haematoxylin and eosin stronger or weaker, each on its own."""
    reach = (0.1, 0.2, 0.3, 0.4, 0.55)[level]
    factors = np.concatenate([1 + reach * rng.choice([-1.0, 1.0], 2), [1.0]])
    density = -np.log(np.maximum(pixels, 1) / 255.0) @ np.linalg.inv(STAINS)
    return _bytes(255.0 * np.exp(-(density * factors) @ STAINS))


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


CORRUPTIONS: dict[Corruption, Callable[[Pixels, int, Random], Pixels]] = {
    "jpeg": _jpeg,
    "pixelate": _pixelate,
    "defocus": _defocus,
    "motion": _motion,
    "noise": _noise,
    "brighter": _brighter,
    "darker": _darker,
    "less_contrast": _less_contrast,
    "saturate": _saturate,
    "bubble": _bubble,
    "deposit": _deposit,
    "stain_shift": _stain_shift,
}
