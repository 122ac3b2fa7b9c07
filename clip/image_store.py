"""Training images by number: some decoded and kept small in memory, the others decoded again whenever they are wanted.

Images are decoded at the smallest scale that is still a quarter larger than the model's input, so that a crop has pixels to be cut from,
and kept as they come: resampling happens once, when a crop is cut. What a batch holds does not depend on the memory budget.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from eosin.clip.crops import Floats64, Pixels, crop, resized
from eosin.images import decode_image
from eosin.records import ImageText

Ints = NDArray[np.int64]
Resize = Literal["squash", "shortest"]

_SOURCE_SCALE = 1.25
# Larger ones are made smaller before they are kept; JPEG is decoded in eighths, and rarely is.
_MOST_AREA = 2.0


def source_side(image_size: int) -> int:
    """The side that training images keep at least, where they have it."""
    return round(_SOURCE_SCALE * image_size)


def fit(pixels: Pixels, side: int, resize: Resize) -> Pixels:
    """What is kept of an image, uint8 [height, width, 3].

    Args:
        pixels: uint8 [h, w, 3].
        side: an image of more than twice the pixels of such a square becomes one.
        resize: all of the image (`squash`), or its middle square (`shortest`), as the model will see it.
    """
    height, width = pixels.shape[:2]
    if resize == "shortest" and height != width:
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        pixels = np.ascontiguousarray(pixels[top : top + edge, left : left + edge])
    if pixels.shape[0] * pixels.shape[1] > _MOST_AREA * side * side:
        return np.ascontiguousarray(resized(pixels, side, side).transpose(1, 2, 0))
    return pixels


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        side: of the kept images, in pixels, about.
        resize: see `fit`.
        budget: bytes of memory for decoded images.
        threads: that decode.
        window: records whose files stay in memory.
    """

    side: int
    resize: Resize
    budget: int
    threads: int = 1
    window: int = 16384


class Kept:
    """Decoded images by number, as many as fit into a number of bytes; may be asked from several threads."""

    def __init__(self, budget: int) -> None:
        self._room = budget
        self._images: dict[int, Pixels] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._images)

    def get(self, number: int) -> Pixels | None:
        """The image, where it is kept."""
        return self._images.get(number)

    def offer(self, number: int, pixels: Pixels) -> None:
        """Keep an image if there is room."""
        with self._lock:
            if pixels.nbytes <= self._room and number not in self._images:
                self._room -= pixels.nbytes
                self._images[number] = pixels


class Table(Protocol):
    """Records by number."""

    def __getitem__(self, index: int, /) -> ImageText:
        """The record of that number."""


class ImageStore:
    """Decoded images by number; may be asked from several threads.

    Args:
        table: the records.
        rows: int64 [images] the row of each image in the table; its length is that of the store.
        reading: side, resize, memory.
        kept: what was decoded before.
    """

    def __init__(self, table: Table, rows: Ints, reading: Reading, kept: Kept | None = None) -> None:
        self._table, self._rows, self._reading = table, rows, reading
        self._kept = kept if kept is not None else Kept(reading.budget)
        self._reads = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def kept(self) -> int:
        """How many need no decoding any more."""
        return len(self._kept)

    def batch(self, numbers: Ints, affine: Floats64, size: int) -> Pixels:
        """Crops of images.

        Args:
            numbers: int64 [n].
            affine: [n, 2, 3], see `eosin.clip.crops.crop`.
            size: side of a crop.

        Returns:
            uint8 [n, 3, size, size].
        """
        images = np.empty((len(numbers), 3, size, size), dtype=np.uint8)
        for place, number in enumerate(numbers.tolist()):
            pixels = self._kept.get(number)
            if pixels is None:
                pixels = self._decode(number)
                self._kept.offer(number, pixels)
            crop(pixels, affine[place], size, images[place])
        return images

    def _decode(self, number: int) -> Pixels:
        with self._reads:
            data = self._table[int(self._rows[number])].image
        return decode_small(data, self._reading)


def decode_small(data: bytes, reading: Reading) -> Pixels:
    """An encoded image as it is kept, uint8 [height, width, 3].

    Raises:
        ImageError: the image is refused.
    """
    return fit(decode_image(data, at_least=reading.side), reading.side, reading.resize)
