"""Images of a training run, each distinct one once: as the tower's hidden states while it is frozen, as pixels while it learns.

They lie in one file of the run's scratch folder and are mapped, so that memory does not grow with the data; the encoding of
the images happens once, not once an epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from eosin.clip.augment import draw, recolour
from eosin.clip.config import AugmentConfig
from eosin.errors import ConfigError
from eosin.images import decode_image
from eosin.llm.assistant import Assistant

_BATCH = 64


@dataclass(frozen=True)
class Views:
    """How often each image is encoded, and what differs between the views.

    Attributes:
        count: the image as it is, then its flips and quarter turns; see `turned`.
        stain: jitter of the stains in all views but the first, as `eosin.clip` augments.
        seed: of the jitter, which depends on (seed, view, image) alone.
    """

    count: int = 1
    stain: float = 0.0
    seed: int = 0


class ImageStore:
    """What the model sees of each image and view: float32 [images, views, ...]; row numbers by content.

    Args:
        path: the file.
        data: of every image in order.
        shape: of one view of one image.
    """

    def __init__(self, path: Path, views: int, count: int, shape: tuple[int, ...]) -> None:
        # An empty file cannot be mapped.
        whole = (count, views, *shape)
        self._data: NDArray[np.float32] = np.memmap(path, np.float32, "r", shape=whole) if count else np.zeros(whole, np.float32)

    def __len__(self) -> int:
        return len(self._data)

    def read(self, images: Sequence[int], views: Sequence[int]) -> Tensor:
        """float32 [n, ...]: a view of each image."""
        return torch.from_numpy(np.ascontiguousarray(self._data[list(images), list(views)]))


class ImageStoreWriter:
    """Fills a store; a context manager.

    Args:
        path: the file; written anew.
        assistant: whose tower and image processor are used.
        views: of each image that are kept.
        frozen: keep hidden states, not pixels.
    """

    def __init__(self, path: Path, assistant: Assistant, views: Views, *, frozen: bool) -> None:
        self._path, self._assistant, self._views, self._frozen = path, assistant, views, frozen
        self._rows: dict[bytes, int] = {}
        self._waiting: list[Any] = []
        blank = assistant.blank_image()
        if (views.count > 4 or views.stain) and blank.shape[-1] != blank.shape[-2]:
            raise ConfigError(
                f"views: images of {tuple(blank.shape[-2:])} pixels can be flipped, not turned or stained; at most 4 views, stain 0"
            )
        self._shape = tuple(self._seen(blank).shape[1:])

    def __enter__(self) -> ImageStoreWriter:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, image: bytes) -> int:
        """The image's row number; one that is known already is not decoded again.

        Raises:
            ImageError: it cannot be decoded.
        """
        key = hashlib.sha256(image).digest()
        if key not in self._rows:
            self._waiting.append(Image.fromarray(decode_image(image)))
            self._rows[key] = len(self._rows)
            if len(self._waiting) == _BATCH:
                self._flush()
        return self._rows[key]

    def finish(self) -> ImageStore:
        """Everything written, to be read."""
        self._flush()
        self._file.flush()
        return ImageStore(self._path, self._views.count, len(self._rows), self._shape)

    def _flush(self) -> None:
        if not self._waiting:
            return
        pixels = self._assistant.pixels(self._waiting)
        rows = np.arange(len(self._rows) - len(self._waiting), len(self._rows))
        views = torch.stack([self._seen(self._view(pixels, rows, view)) for view in range(self._views.count)], dim=1)
        self._file.write(views.numpy().astype(np.float32).tobytes())
        self._waiting = []

    def _view(self, pixels: Tensor, rows: NDArray[np.int64], view: int) -> Tensor:
        """View 0 is the image as it is; the others are turned and, where that is wanted, stained otherwise."""
        if view and self._views.stain:
            augment = AugmentConfig(symmetries="none", crop_area=1.0, crop_ratio=1.0, stain=self._views.stain)
            mean, scale = self._assistant.pixel_scale()
            raw = (pixels * scale + mean).mul(255.0)
            jittered = recolour(draw(augment, self._views.seed, view, rows), raw, augment)
            pixels = (jittered / 255.0 - mean) / scale
        return turned(pixels, view)

    def _seen(self, pixels: Tensor) -> Tensor:
        if not self._frozen:
            return pixels.float()
        with torch.no_grad():
            return self._assistant.image_states(pixels).float().cpu()


def turned(pixels: Tensor, view: int) -> Tensor:
    """One of an image's eight symmetries: 0 as it is, 1 to 3 flipped (across, down, both), 4 to 7 those with rows and columns swapped.

    Args:
        pixels: [n, 3, height, width].
        view: 0 to 7.
    """
    if view & 1:
        pixels = pixels.flip(-1)
    if view & 2:
        pixels = pixels.flip(-2)
    return (pixels.transpose(-1, -2) if view & 4 else pixels).contiguous()
