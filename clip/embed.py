"""Embeddings of a data set's images, with the columns retrieval shows."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.artefacts import Artefact, Plan, RecordTable, Task, open_artefact
from eosin.clip.config import ClipEmbedConfig
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ConfigError, ImageError
from eosin.images import decode_image
from eosin.models.formats import clip_format
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.pipeline import Engine, Resources, Step, chunked, run_step
from eosin.records import SPLITS, Embedding, ImageText, LabelledImage, Reject

_RECORDS: dict[str, type[ImageText] | type[LabelledImage]] = {"image_text": ImageText, "labelled_images": LabelledImage}
_COLUMNS = ("id", "source", "licence", "group", "split", "slide", "mpp", "provenance", "extra", "image")
_OWN = {"image_text": ("captions",), "labelled_images": ("label",)}
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class EmbedTask:
    """Embeds a shard's records; picklable, and a function of the task alone.

    Attributes:
        spec: of the embedder.
        data: folder of the artefact.
        thumbnail: longer side in pixels; 0 for none.
    """

    spec: EmbedderSpec
    data: str
    thumbnail: int

    def __call__(self, task: Task) -> Iterable[Embedding | Reject]:
        """The task's embeddings in the order of its records."""
        embedder, table = _embedder(self.spec), _table(self.data, task.split)
        for start in range(task.start, task.stop, self.spec.batch_size):
            rows = range(start, min(start + self.spec.batch_size, task.stop))
            yield from self._embed(embedder, [table[row] for row in rows])

    def _embed(self, embedder: Embedder, records: list[ImageText | LabelledImage]) -> Iterator[Embedding | Reject]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            thumbnails = list(pool.map(lambda record: _thumbnail(record.image, self.thumbnail), records))
        good = [record for record, thumbnail in zip(records, thumbnails, strict=True) if not isinstance(thumbnail, ImageError)]
        vectors = iter(embedder.embed_images([record.image for record in good]))
        for record, thumbnail in zip(records, thumbnails, strict=True):
            if isinstance(thumbnail, ImageError):
                yield Reject(record.id, thumbnail.reason, thumbnail.message)
            else:
                yield _embedding(record, next(vectors), thumbnail)


@functools.lru_cache(maxsize=1)
def _embedder(spec: EmbedderSpec) -> Embedder:
    """Loaded once a process, however many tasks it does."""
    return load_embedder(spec)


@functools.lru_cache(maxsize=4)
def _table(data: str, split: str) -> RecordTable[ImageText] | RecordTable[LabelledImage]:
    artefact = open_artefact(data)
    columns = (*_COLUMNS, *_OWN[artefact.kind])
    if artefact.kind == "image_text":
        return RecordTable(artefact, ImageText, split, columns)
    return RecordTable(artefact, LabelledImage, split, columns)


def _thumbnail(data: bytes, side: int) -> bytes | ImageError | None:
    """A small JPEG; what is wrong where the image cannot be decoded; None where none is wanted."""
    try:
        pixels = decode_image(data)
    except ImageError as error:
        return error
    if side == 0:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _embedding(record: ImageText | LabelledImage, vector: NDArray[np.float32], thumbnail: bytes | None) -> Embedding:
    """The record's embedding; label and caption come from its own column, else from `extra`."""
    if isinstance(record, ImageText):
        caption, label = next(iter(record.captions), None), _text(record.extra.get("label"))
    else:
        caption, label = _text(record.extra.get("caption")), record.label
    return Embedding(
        id=record.id,
        source=record.source,
        licence=record.licence,
        group=record.group,
        split=record.split,
        slide=record.slide,
        mpp=record.mpp,
        provenance=record.provenance,
        extra=record.extra,
        vector=tuple(vector.tolist()),
        caption=caption,
        label=label,
        thumbnail=thumbnail,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _fingerprint(model: Path) -> str:
    """The embedder's, without loading it: a finished artefact is found again in no time."""
    if clip_format(model) == "open_clip":
        from eosin.models.open_clip import open_clip_fingerprint

        return open_clip_fingerprint(model)
    from eosin.models.transformers_clip import transformers_fingerprint

    return transformers_fingerprint(model)


def embed_plan(config: ClipEmbedConfig, inputs: Inputs) -> Plan:
    """What the embeddings will be.

    Raises:
        ConfigError: a split is unknown, or has no records.
    """
    data, model = inputs.artefacts["data"], inputs.artefacts["model"]
    tasks = [task for split in _splits(config, data) for task in chunked("data", split, data.manifest["splits"][split], config.shard_size)]
    facts = {
        "title": f"Embeddings of {data.plan.facts.get('title', 'images')}",
        "fingerprint": _fingerprint(model.path),
        "classes": list(data.classes),
    }
    return Plan("embeddings", "clip embed", settings_of(config), inputs.refs, tuple(tasks), facts)


def _splits(config: ClipEmbedConfig, data: Artefact) -> list[str]:
    held = data.manifest["splits"]
    for split in config.splits:
        if split not in held:
            raise ConfigError(f"splits: {data.path} has no records of split {split!r}; it holds: {', '.join(held) or 'none'}")
    return [split for split in SPLITS if split in held and (not config.splits or split in config.splits)]


def embed(config: ClipEmbedConfig, inputs: Inputs, out: Path, *, engine: Engine, threads: int, device: str, overwrite: bool) -> Artefact:
    """Make the embeddings in `out`. One process a machine or GPU: torch's threads use the cores better than several models do.

    Raises:
        ArtefactError: see `ArtefactWriter`.
        ConfigError: see `embed_plan`.
    """
    data, model = inputs.artefacts["data"], inputs.artefacts["model"]
    spec = EmbedderSpec(str(model.path), device=device, batch_size=config.batch_size)
    produce = EmbedTask(spec, str(data.path), config.thumbnail)
    resources = Resources(cpus=threads, gpus=1.0 if device.startswith("cuda") else 0.0, model=True)
    step = Step("embeddings", embed_plan(config, inputs), _WithThreads(produce, threads), inputs.paths, resources=resources)
    return run_step(step, out, engine, overwrite=overwrite)


@dataclass(frozen=True)
class _WithThreads:
    """A task, with so many threads for torch."""

    produce: EmbedTask
    threads: int

    def __call__(self, task: Task) -> Iterable[Embedding | Reject]:
        import torch

        torch.set_num_threads(self.threads)
        return self.produce(task)
