"""Embeddings of a data set's images, with the columns retrieval shows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eosin.artefacts import Artefact, Plan, Task
from eosin.clip.embed_images import ArtefactImages, FolderImages, Found, Images
from eosin.clip.embed_slides import SlideTiles
from eosin.clip.model_config import ClipEmbedConfig
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ConfigError
from eosin.images import Pixels
from eosin.models.formats import fingerprint_of_model
from eosin.models.hub import fetch_model
from eosin.models.protocols import PixelEmbedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.models.vision_presets import load_preset
from eosin.pipeline import Engine, Resources, Step, run_step
from eosin.records import Embedding, Reject

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
    data: Images
    thumbnail: int

    def __call__(self, task: Task) -> Iterator[Embedding | Reject]:
        """The task's embeddings in the order of its records; the next batch is read and decoded while the model is at work."""
        embedder = _embedder(self.spec)
        with closing(self.data.batches(task, self.spec.batch_size)) as batches, ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = ahead.submit(next, batches, None)
                yield from self._embed(embedder, batch)

    def _embed(self, embedder: PixelEmbedder, batch: Sequence[Found | Reject]) -> Iterator[Embedding | Reject]:
        vectors = iter(embedder.embed_pixels([item.pixels for item in batch if not isinstance(item, Reject)]))
        for item in batch:
            yield item if isinstance(item, Reject) else _embedding(item, next(vectors), _thumbnail(item.pixels, self.thumbnail))


@functools.lru_cache(maxsize=1)
def _embedder(spec: EmbedderSpec) -> PixelEmbedder:
    """Loaded once a process, however many tasks it does."""
    return load_embedder(spec)


def _thumbnail(pixels: Pixels, side: int) -> bytes | None:
    """A small JPEG; None where none is wanted."""
    if side == 0:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _embedding(found: Found, vector: NDArray[np.float32], thumbnail: bytes | None) -> Embedding:
    record = found.record
    return Embedding(
        id=record.id,
        source=record.source,
        licence=record.licence,
        group=record.group,
        split=record.split,
        slide=record.slide,
        mpp=record.mpp,
        provenance=record.provenance,
        extra=found.extra,
        vector=tuple(vector.tolist()),
        caption=found.caption,
        label=found.label,
        thumbnail=thumbnail,
    )


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


def find_images(config: ClipEmbedConfig, inputs: Inputs, threads: int) -> Images:
    """What the recipe wants embedded.

    Raises:
        ConfigError: not one of `data`, `images` and `tiles` is given, a split is unknown, or tiles come without their slides.
    """
    given = [name for name in ("data", "images", "tiles") if name in inputs.artefacts or name in inputs.folders]
    if len(given) != 1:
        got = ", ".join(given) or "none"
        raise ConfigError(f"what is embedded is one of data=ARTEFACT, images=FOLDER and tiles=ARTEFACT with slides=ARTEFACT; got {got}")
    splits = tuple(config.splits)
    if ("slides" in inputs.artefacts) != ("tiles" in inputs.artefacts):
        raise ConfigError("tiles=ARTEFACT and slides=ARTEFACT go together: the tiles say where, the slides hold the pixels")
    if "tiles" in inputs.artefacts:
        tiles, slides = (str(inputs.artefacts[name].path) for name in ("tiles", "slides"))
        return SlideTiles(tiles, slides, str(inputs.folders.get("root", "")), splits, threads)
    if "data" in inputs.artefacts:
        return ArtefactImages(str(inputs.artefacts["data"].path), splits)
    if config.splits:
        raise ConfigError("splits: a plain folder of images has none; add splits=[], or build an artefact of the folder first")
    return FolderImages(str(inputs.folders["images"]), config.source, config.licence)


def embed_plan(config: ClipEmbedConfig, inputs: Inputs, data: Images, tower: Tower) -> Plan:
    """What the embeddings will be.

    Raises:
        ConfigError: a split is unknown, or has no records.
    """
    tasks = data.tasks(config.shard_size)
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
    data, tower = find_images(config, inputs, threads), find_tower(config, inputs)
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
