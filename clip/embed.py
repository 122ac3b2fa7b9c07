"""Embeddings of a data set's images, with the columns retrieval shows."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.artefacts import Artefact, Plan, Task
from eosin.clip.config import ClipEmbedConfig
from eosin.clip.embed_images import ArtefactImages, FolderImages, Pictured
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ConfigError, ImageError
from eosin.images import decode_image
from eosin.models.formats import fingerprint_of_model
from eosin.models.hub import fetch_model
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.models.vision_presets import load_preset
from eosin.pipeline import Engine, Resources, Step, chunked, run_step
from eosin.records import Embedding, ImageText, Reject

_JPEG_QUALITY = 85


@dataclass(frozen=True)
class EmbedTask:
    """Embeds some records; picklable, and a function of the task alone.

    Attributes:
        spec: of the embedder.
        data: what is embedded.
        thumbnail: longer side in pixels; 0 for none.
    """

    spec: EmbedderSpec
    data: ArtefactImages | FolderImages
    thumbnail: int

    def __call__(self, task: Task) -> Iterable[Embedding | Reject]:
        """The task's embeddings in the order of its records."""
        embedder = _embedder(self.spec)
        for start in range(task.start, task.stop, self.spec.batch_size):
            yield from self._embed(embedder, self.data.read(task, start, min(start + self.spec.batch_size, task.stop)))

    def _embed(self, embedder: Embedder, found: Sequence[Pictured | Reject]) -> Iterator[Embedding | Reject]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            looked = list(pool.map(self._look, found))
        vectors = iter(embedder.embed_images([item[0].image for item in looked if not isinstance(item, Reject)]))
        for item in looked:
            yield item if isinstance(item, Reject) else _embedding(item[0], next(vectors), item[1])

    def _look(self, found: Pictured | Reject) -> tuple[Pictured, bytes | None] | Reject:
        """The record with its thumbnail, or why it cannot be embedded."""
        if isinstance(found, Reject):
            return found
        try:
            return found, _thumbnail(found.image, self.thumbnail)
        except ImageError as error:
            return Reject(found.id, error.reason, error.message)


@functools.lru_cache(maxsize=1)
def _embedder(spec: EmbedderSpec) -> Embedder:
    """Loaded once a process, however many tasks it does."""
    return load_embedder(spec)


def _thumbnail(data: bytes, side: int) -> bytes | None:
    """A small JPEG; None where none is wanted.

    Raises:
        ImageError: the image cannot be decoded.
    """
    pixels = decode_image(data)
    if side == 0:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _embedding(record: Pictured, vector: NDArray[np.float32], thumbnail: bytes | None) -> Embedding:
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


@dataclass(frozen=True)
class Tower:
    """The model that embeds: its folder, and what a plan tells of it."""

    folder: Path
    fingerprint: str
    repository: str = ""
    commit: str = ""


def find_tower(config: ClipEmbedConfig, inputs: Inputs) -> Tower:
    """The model that the recipe names, fetched where it is named by its repository.

    Raises:
        ConfigError: none or several are named.
        InputError: it cannot be had, or its folder is none of a model.
    """
    named = [key for key in ("model", "folder", "name") if getattr(config, key)]
    if len(named) > 1 or not (named or config.preset):
        raise ConfigError(
            f"one model embeds: model=ARTEFACT, folder=DIR, name=ORGANISATION/REPOSITORY or preset=NAME alone; "
            f"got {', '.join(named) or 'none'}"
        )
    if "model" in inputs.artefacts:
        folder = inputs.artefacts["model"].path
    elif "folder" in inputs.folders:
        folder = inputs.folders["folder"]
    else:
        repository = config.name or load_preset(config.preset).repository
        folder = fetch_model(repository, config.revision)
        return Tower(folder, fingerprint_of_model(folder, config.preset), repository, folder.name)
    return Tower(folder, fingerprint_of_model(folder, config.preset))


def find_images(config: ClipEmbedConfig, inputs: Inputs) -> ArtefactImages | FolderImages:
    """What the recipe wants embedded.

    Raises:
        ConfigError: neither or both of `data` and `images` are given, or a split is unknown.
    """
    if ("data" in inputs.artefacts) == ("images" in inputs.folders):
        raise ConfigError("what is embedded is either data=ARTEFACT or images=FOLDER; give one of them")
    if "data" in inputs.artefacts:
        return ArtefactImages(str(inputs.artefacts["data"].path), tuple(config.splits))
    if config.splits:
        raise ConfigError("splits: a plain folder of images has none; leave splits out, or build an artefact of the folder first")
    return FolderImages(str(inputs.folders["images"]), config.source, config.licence)


def embed_plan(config: ClipEmbedConfig, inputs: Inputs, data: ArtefactImages | FolderImages, tower: Tower) -> Plan:
    """What the embeddings will be.

    Raises:
        ConfigError: a split is unknown, or has no records.
    """
    tasks = [task for split, count in data.counts().items() for task in chunked(data.name, split, count, config.shard_size)]
    facts = {
        "title": f"Embeddings of {data.title()}",
        "fingerprint": tower.fingerprint,
        "classes": data.classes(),
        **({"repository": tower.repository, "commit": tower.commit} if tower.repository else {}),
        **({"preset": settings_of(load_preset(config.preset))} if config.preset else {}),
    }
    return Plan("embeddings", "clip embed", settings_of(config), inputs.refs, tuple(tasks), facts)


def embed(config: ClipEmbedConfig, inputs: Inputs, out: Path, *, engine: Engine, threads: int, device: str, overwrite: bool) -> Artefact:
    """Make the embeddings in `out`. One process a machine or GPU: torch's threads use the cores better than several models do.

    Raises:
        ArtefactError: see `ArtefactWriter`.
        ConfigError, InputError: see `find_tower`, `find_images` and `embed_plan`.
    """
    data, tower = find_images(config, inputs), find_tower(config, inputs)
    spec = EmbedderSpec(str(tower.folder), device=device, batch_size=config.batch_size, preset=config.preset, precision=config.precision)
    produce = EmbedTask(spec, data, config.thumbnail)
    resources = Resources(cpus=threads, gpus=1.0 if device.startswith("cuda") else 0.0, model=True)
    step = Step(
        "embeddings",
        embed_plan(config, inputs, data, tower),
        _WithThreads(produce, threads),
        inputs.paths,
        resources=resources,
        half_vectors=config.store == "float16",
    )
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
