"""Training pairs: images decoded once and kept small in memory, captions by number, and the records that could not be used.

Images are kept a quarter larger than the model's input, so that a crop still has pixels to be cut from. Those beyond the memory
budget are decoded again in every epoch; what a batch holds does not depend on the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.artefacts import Artefact, RecordTable
from eosin.errors import ConfigError, ImageError, InputError
from eosin.images import decode_image
from eosin.progress import bar
from eosin.records import ImageText, Reject

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Resize = Literal["squash", "shortest"]

_SOURCE_SCALE = 1.25
_CHUNK = 256
_COLUMNS = ("id", "source", "licence", "group", "split", "image", "captions", "extra")


@dataclass(frozen=True)
class Captions:
    """The captions of the usable records.

    Attributes:
        texts: every distinct caption, in order of first use.
        held: int64 [records, most]: numbers of each record's captions, filled up with -1.
        counts: int64 [records]: how many it has.
        labels: int64 [records]: number of `extra["label"]`, -1 where there is none.
    """

    texts: tuple[str, ...]
    held: Ints
    counts: Ints
    labels: Ints

    def drawn(self, records: Ints, u: NDArray[np.float64]) -> Ints:
        """One caption's number a record, by uniform numbers `u` in [0, 1)."""
        return self.held[records, (u * self.counts[records]).astype(np.int64)]


@dataclass(frozen=True)
class Pairs:
    """What is trained on: `len(captions.counts)` usable records of `seen`, and why the others were not."""

    images: ImageStore
    captions: Captions
    rejects: tuple[Reject, ...]
    seen: int

    def __len__(self) -> int:
        return len(self.captions.counts)


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


class ImageStore:
    """Decoded images by number.

    Args:
        table: the records.
        side: of the kept images.
        resize: see `fit`.
        budget: bytes of memory for them.
    """

    def __init__(self, table: RecordTable[ImageText], side: int, resize: Resize, budget: int) -> None:
        self._table, self._side, self._resize = table, side, resize
        capacity = min(len(table), budget // (3 * side * side))
        self._kept = np.empty((capacity, 3, side, side), dtype=np.uint8)
        self._rows: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def kept(self) -> int:
        """How many need no decoding any more."""
        return min(len(self._rows), len(self._kept))

    def decode(self, data: bytes) -> Pixels:
        """uint8 [3, side, side].

        Raises:
            ImageError: the image is refused.
        """
        return fit(decode_image(data, at_least=self._side), self._side, self._resize)

    def add(self, row: int, image: Pixels) -> None:
        """The next image, which lies in `row` of the table."""
        if len(self._rows) < len(self._kept):
            self._kept[len(self._rows)] = image
        self._rows.append(row)

    def batch(self, numbers: Ints) -> Pixels:
        """uint8 [n, 3, side, side]."""
        inside = numbers < self.kept
        if inside.all():
            return np.asarray(self._kept[numbers])
        images = np.empty((len(numbers), 3, self._side, self._side), dtype=np.uint8)
        images[inside] = self._kept[numbers[inside]]
        for place in np.flatnonzero(~inside):
            images[place] = self.decode(self._table[self._rows[numbers[place]]].image)
        return images


class _CaptionBook:
    """Numbers captions and labels as they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._held: list[list[int]] = []
        self._label_of: list[int] = []

    def add(self, captions: Sequence[str], label: object) -> None:
        """The captions and the label of the next usable record."""
        self._held.append([self._numbers.setdefault(caption, len(self._numbers)) for caption in dict.fromkeys(captions)])
        self._label_of.append(-1 if label is None else self._labels.setdefault(str(label), len(self._labels)))

    def close(self) -> Captions:
        """All of them as arrays."""
        held = np.full((len(self._held), max(map(len, self._held), default=1)), -1, dtype=np.int64)
        for row, numbers in enumerate(self._held):
            held[row, : len(numbers)] = numbers
        counts = np.array([len(numbers) for numbers in self._held], dtype=np.int64)
        return Captions(tuple(self._numbers), held, counts, np.array(self._label_of, dtype=np.int64))


def load_pairs(artefact: Artefact, side: int, resize: Resize, budget: int, threads: int) -> Pairs:
    """Read the split `train` once: every image is decoded, so that all that cannot be used is known before training.

    Args:
        artefact: of kind image_text.
        side: of the kept images, in pixels.
        resize: see `fit`.
        budget: bytes of memory for decoded images.
        threads: that decode.

    Raises:
        InputError: fewer than two records can be used.
    """
    table = RecordTable(artefact, ImageText, "train", _COLUMNS)
    store, book, rejects = ImageStore(table, side, resize, budget), _CaptionBook(), []
    numbered = enumerate(artefact.records(ImageText, "train", _COLUMNS))
    with ThreadPoolExecutor(threads) as pool, bar("images", len(table)) as moving:
        while chunk := list(islice(numbered, _CHUNK)):
            for (row, record), image in zip(chunk, pool.map(lambda item: _try_decode(store, item[1].image), chunk), strict=True):
                captions = [caption.strip() for caption in record.captions if caption.strip()]
                if isinstance(image, ImageError):
                    rejects.append(Reject(record.id, image.reason, image.message))
                elif not captions:
                    rejects.append(Reject(record.id, "no_caption", "the record has no caption, or only blank ones"))
                else:
                    store.add(row, image)
                    book.add(captions, record.extra.get("label"))
            moving.advance(len(chunk))
    if len(store) < 2:
        reasons = ", ".join(sorted({reject.reason for reject in rejects}))
        raise InputError(f"{artefact.path}: {len(store)} of {len(table)} train records can be used ({reasons}); at least 2 are needed")
    return Pairs(store, book.close(), tuple(rejects), len(table))


def _try_decode(store: ImageStore, data: bytes) -> Pixels | ImageError:
    try:
        return store.decode(data)
    except ImageError as error:
        return error


def check_labels(captions: Captions) -> None:
    """Refuse the objective's `same_caption_or_label` where no record tells its label.

    Raises:
        ConfigError: as said.
    """
    if (captions.labels < 0).all():
        raise ConfigError("positives is same_caption_or_label, but no record has a label in its extra column; use same_caption or pair")
