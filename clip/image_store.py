"""Training images by number: some decoded and kept small in memory, the others decoded again whenever they are wanted.

Images are kept a quarter larger than the model's input, so that a crop still has pixels to be cut from. What a batch holds does not depend
on the memory budget.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.images import decode_image
from eosin.records import ImageText

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Resize = Literal["squash", "shortest"]

_SOURCE_SCALE = 1.25


def source_side(image_size: int) -> int:
    """The side in which training images are kept."""
    return round(_SOURCE_SCALE * image_size)


def fit(pixels: Pixels, side: int, resize: Resize) -> Pixels:
    """An image as uint8 [3, side, side]: all of it (`squash`), or its middle square (`shortest`), as the model will see it."""
    height, width = pixels.shape[:2]
    box: tuple[float, float, float, float] = (0, 0, width, height)
    if resize == "shortest" and height != width:
        edge = min(height, width)
        left, top = (width - edge) / 2, (height - edge) / 2
        box = (left, top, left + edge, top + edge)
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        side: of the kept images, in pixels.
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


def room_for(images: int, reading: Reading) -> Pixels:
    """uint8 [n, 3, side, side] for as many of `images` as the budget allows; the system gives the memory as it fills."""
    side = reading.side
    return np.empty((min(images, reading.budget // (3 * side * side)), 3, side, side), dtype=np.uint8)


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
        first: the images 0 to k - 1 where they were decoded before, uint8 [at least k, 3, side, side], and k.
    """

    def __init__(self, table: Table, rows: Ints, reading: Reading, first: tuple[Pixels, int] | None = None) -> None:
        self._table, self._rows, self._reading = table, rows, reading
        self._kept, count = first or (room_for(len(rows), reading), 0)
        self._filled = np.arange(len(self._kept)) < count
        self._reads = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def kept(self) -> int:
        """How many need no decoding any more."""
        return int(self._filled.sum())

    def batch(self, numbers: Ints) -> Pixels:
        """uint8 [n, 3, side, side]."""
        inside = numbers < len(self._kept)
        inside[inside] = self._filled[numbers[inside]]
        if inside.all():
            return np.asarray(self._kept[numbers])
        side = self._reading.side
        images = np.empty((len(numbers), 3, side, side), dtype=np.uint8)
        images[inside] = self._kept[numbers[inside]]
        for place in np.flatnonzero(~inside):
            number = int(numbers[place])
            images[place] = self._decode(number)
            if number < len(self._kept):
                self._kept[number] = images[place]
                self._filled[number] = True
        return images

    def _decode(self, number: int) -> Pixels:
        with self._reads:
            data = self._table[int(self._rows[number])].image
        return decode_small(data, self._reading)


def decode_small(data: bytes, reading: Reading) -> Pixels:
    """An encoded image as uint8 [3, side, side].

    Raises:
        ImageError: the image is refused.
    """
    return fit(decode_image(data, at_least=reading.side), reading.side, reading.resize)
