"""The step that embeds the images of a data set for an audit, where no embeddings were made before."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.data_builders.duplicates.fingerprints import RECORDS_A_TASK, Source, images_of
from eosin.errors import ImageError
from eosin.images import decode_image
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.pipeline import Resources, Step, chunked
from eosin.records import RECORD_TYPES, Embedding, Reject

_IMAGES_AT_ONCE = 64


def embedding_step(name: str, data: Artefact, spec: EmbedderSpec) -> Step:
    """An `embeddings` artefact with a row an image, by the ids of the fingerprints."""
    fingerprint = _embedder(spec).fingerprint
    tasks = tuple(task for split, count in data.manifest["splits"].items() for task in chunked("records", split, count, RECORDS_A_TASK))
    facts = {"title": f"embeddings of {data.plan.facts.get('title', data.kind)}"}
    plan = Plan("embeddings", "audit", {"fingerprint": fingerprint}, (data.ref("data"),), tasks, facts)
    results = functools.partial(_results, fingerprint)
    return Step(name, plan, EmbedImages(data, spec), {"data": str(data.path.resolve())}, results, Resources(model=True))


def _results(fingerprint: str) -> dict[str, str]:
    return {"fingerprint": fingerprint}


@functools.lru_cache(maxsize=1)
def _embedder(spec: EmbedderSpec) -> Embedder:
    return load_embedder(spec)


@dataclass(frozen=True)
class EmbedImages:
    """Embeds a task's images; picklable."""

    data: Artefact
    spec: EmbedderSpec

    def __call__(self, task: Task) -> Iterator[Embedding | Reject]:
        """A vector an image in their order; the rejects of a batch come before it."""
        waiting = self._images(task)
        while batch := list(itertools.islice(waiting, _IMAGES_AT_ONCE)):
            yield from (reject for _, _, reject in batch if reject is not None)
            good = [(values, image) for values, image, reject in batch if reject is None]
            if good:
                vectors = _embedder(self.spec).embed_images([image for _, image in good])
                for (values, _), vector in zip(good, vectors, strict=True):
                    yield Embedding(**values, vector=tuple(vector.tolist()))

    def _images(self, task: Task) -> Iterator[tuple[dict[str, Any], bytes, Reject | None]]:
        record_type: type[Any] = RECORD_TYPES[self.data.kind]
        table = RecordTable(self.data, record_type, task.split, cached_groups=1)
        for row in range(task.start, task.stop):
            record: Source = table[row]
            images = images_of(record)
            for place, image in enumerate(images):
                name = record.id if len(images) == 1 else f"{record.id}#{place}"
                values = {"id": name, **{key: getattr(record, key) for key in ("source", "licence", "group", "split")}}
                yield values, image, _refused(name, image)


def _refused(name: str, image: bytes) -> Reject | None:
    try:
        decode_image(image)
    except ImageError as error:
        return Reject(name, error.reason, error.message)
    return None
