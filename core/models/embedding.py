"""What every two-tower embedder does alike: device, decoding, batches, unit rows."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from eosin.errors import ConfigError, InputError, MissingDependency, Unsupported
from eosin.images import Pixels, decode_image
from eosin.models.specs import EmbedderSpec
from eosin.numerics import Floats, unit_rows

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def pick_device(name: str) -> torch.device:
    """The torch device `name`; `auto` is a GPU where there is one.

    Raises:
        ConfigError: torch knows no such device, or this machine does not have it.
        MissingDependency: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependency("torch", "clip") from error
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no GPU here; use auto or cpu")
    return device


class TwoTowerEmbedder(ABC):
    """An `eosin.models.protocols.Embedder` over an image tower and, mostly, a text tower.

    A subclass loads the model, sets `device` and implements the two encoders.
    """

    device: torch.device

    def __init__(self, spec: EmbedderSpec) -> None:
        if spec.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1; got {spec.batch_size}")
        self._spec = spec

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of a vector."""

    @property
    @abstractmethod
    def supports(self) -> frozenset[str]:
        """Of `image`, `text`, `pair`."""

    @abstractmethod
    def _prepare(self, pixels: Pixels) -> torch.Tensor:
        """A decoded image, uint8 [height, width, 3], as the image tower takes it, float32 [3, size, size]; called from several threads."""

    @abstractmethod
    def _encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Prepared images, [n, 3, size, size] on the device, as features [n, dim]; runs in inference mode."""

    @abstractmethod
    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        """Texts as features [n, dim]; runs in inference mode."""

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        """See `Embedder.embed_images`."""
        return self._embed(images, lambda data: self._prepare(decode_image(data)))

    def embed_pixels(self, images: Sequence[Pixels]) -> Floats:
        """See `PixelEmbedder.embed_pixels`."""
        return self._embed(images, self._prepare)

    def _embed(self, images: Sequence[T], prepare: Callable[[T], torch.Tensor]) -> Floats:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return self._encoded(self._batches(images, prepare, pool), self._encode_images)

    def _batches(self, images: Sequence[T], prepare: Callable[[T], torch.Tensor], pool: ThreadPoolExecutor) -> Iterator[torch.Tensor]:
        """Prepared batches; the next one is decoded while the tower is at work, for both let go of the interpreter's lock."""
        import torch

        def submit(start: int) -> list[Future[torch.Tensor]]:
            return [pool.submit(prepare, image) for image in images[start : start + size]]

        size = self._spec.batch_size
        waiting = submit(0)
        for start in range(0, len(images), size):
            coming = submit(start + size)
            yield torch.stack([future.result() for future in waiting]).to(self.device)
            waiting = coming

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """See `Embedder.embed_texts`."""
        if "text" not in self.supports:
            raise Unsupported(f"{self._spec.path} has no text tower, or no tokenizer for one; it embeds images only")
        size = self._spec.batch_size
        return self._encoded((list(texts[start : start + size]) for start in range(0, len(texts), size)), self._encode_texts)

    def embed_pairs(self, images: Sequence[bytes], texts: Sequence[str]) -> Floats:
        """See `Embedder.embed_pairs`: the unit mean of both unit vectors."""
        if len(images) != len(texts):
            raise InputError(f"pairs need as many texts as images; got {len(images)} images and {len(texts)} texts")
        vectors = self.embed_texts(texts)
        return unit_rows(self.embed_images(images) + vectors) if len(texts) else vectors

    def _encoded(self, batches: Iterable[T], encode: Callable[[T], torch.Tensor]) -> Floats:
        import torch

        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._spec.precision == "bf16"):
            found = [unit_rows(encode(batch).float().cpu().numpy()) for batch in batches]
        return np.concatenate([np.zeros((0, self.dim), dtype=np.float32), *found])
