"""Cross-modal retrieval: R@k of an image's captions, and of a caption's images (Karpathy and Fei-Fei 2015; Radford et al. 2021).

Equal images (by their bytes) and equal captions (by their words) are one candidate each, and every pairing that a record makes is right: in
ARCH one caption belongs to several images, in Quilt-1M one image to several captions. Counting one of them as the only right one, as
several published scorers do, calls right answers wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import EosinError, InputError, Unsupported
from eosin.eval.asking import ask_each
from eosin.eval.encoder_config import RetrievalConfig
from eosin.eval.metrics.ranks import first_positive_ranks
from eosin.eval.questions import Candidate, Selection, read_columns, select
from eosin.eval.tasks.protocol import protocol_facts
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import Floats
from eosin.pipeline import Step, chunked
from eosin.progress import track
from eosin.records import ImageText, Prediction

# Cosines held at once: 64 MB.
_SCORES_AT_ONCE = 1 << 24
WAYS = ("image_to_text", "text_to_image")


@dataclass
class Candidates:
    """The distinct images and captions of a split, and which belong together.

    Attributes:
        images: hash -> the record it was first seen in.
        texts: caption -> the record.
        pairs: (number of the image, number of the caption), each once.
    """

    images: dict[str, ImageText] = field(default_factory=dict)
    texts: dict[str, ImageText] = field(default_factory=dict)
    pairs: dict[tuple[int, int], None] = field(default_factory=dict)
    _image_places: dict[str, int] = field(default_factory=dict)
    _text_places: dict[str, int] = field(default_factory=dict)

    def add(self, record: ImageText) -> str | None:
        """Take a record in; the hash of its image where that is new."""
        key = hashlib.sha256(record.image).hexdigest()
        new = key not in self.images
        image = self._image_places.setdefault(key, len(self._image_places))
        # The image itself is not kept: it is embedded as it passes.
        bare = ImageText(**{**vars(record), "image": b"", "extra": {}, "provenance": None})
        self.images.setdefault(key, bare)
        for caption in dict.fromkeys(" ".join(text.split()) for text in record.captions if text.strip()):
            text = self._text_places.setdefault(caption, len(self._text_places))
            self.texts.setdefault(caption, bare)
            self.pairs[image, text] = None
        return key if new else None


def retrieval_step(config: RetrievalConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many questions it asks.

    Raises:
        InputError: no record has a caption.
    """
    data = inputs.artefacts["data"]
    selection = select(_candidates(data, config.split), config.limit, config.seed)
    images, texts = _counted(data, config.split, selection)
    tasks = [*chunked(WAYS[0], config.split, images, config.shard_size), *chunked(WAYS[1], config.split, texts, config.shard_size)]
    facts = {
        "title": "Predictions: cross-modal retrieval",
        "questions": {**selection.facts(), "images": images, "captions": texts},
        **protocol_facts("retrieval", config),
    }
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tuple(tasks), facts)
    folder = inputs.artefacts["model"].path if config.model else inputs.folders["folder"]
    spec = EmbedderSpec(str(folder), device=config.device, batch_size=config.batch_size)
    return Step("retrieval", plan, Retrieval(config, data, selection, spec), inputs.paths), images + texts


def _candidates(data: Artefact, split: str) -> Iterator[Candidate]:
    for number, row in enumerate(read_columns(data, split, ["id", "group", "captions"])):
        captioned = any(text.strip() for text in row["captions"] or ())
        yield Candidate(number, row["id"], row["group"], "retrieval", None if captioned else "without a caption")


def _counted(data: Artefact, split: str, selection: Selection) -> tuple[int, int]:
    table = RecordTable(data, ImageText, split, cached_groups=2)
    found = Candidates()
    for row in track(selection.rows, "retrieval: counting candidates"):
        found.add(table[row])
    return len(found.images), len(found.texts)


@dataclass(frozen=True)
class Embedded:
    """All candidates as vectors; `failed` holds the images that could not be embedded, by number."""

    candidates: Candidates
    images: Floats
    texts: Floats
    failed: dict[int, str]


@dataclass(frozen=True)
class Retrieval:
    """Ranks the candidates for a task's questions; embeds all of them at the first one."""

    config: RetrievalConfig
    data: Artefact
    selection: Selection
    spec: EmbedderSpec

    @cached_property
    def _embedder(self) -> Embedder:
        return load_embedder(self.spec)

    @cached_property
    def _embedded(self) -> Embedded:
        """Vectors of distinct images and captions; the images pass once and are not kept."""
        found, vectors, failed = Candidates(), [], dict[int, str]()
        table = RecordTable(self.data, ImageText, self.config.split, cached_groups=2)
        waiting: list[bytes] = []
        count = 0
        if "text" not in self._embedder.supports:
            raise Unsupported(f"{self.spec.path} has no text tower: nothing can be retrieved across image and text")
        for row in track(self.selection.rows, "retrieval: embedding"):
            record = table[row]
            if found.add(record) is not None:
                waiting.append(record.image)
            if len(waiting) >= self.config.batch_size or (waiting and row == self.selection.rows[-1]):
                for vector in ask_each(lambda batch: list(self._embedder.embed_images(batch)), waiting):
                    if isinstance(vector, EosinError):
                        failed[count] = str(vector)
                        vector = np.zeros(self._embedder.dim, dtype=np.float32)
                    vectors.append(vector)
                    count += 1
                waiting = []
        if len(failed) == count:
            raise InputError(f"no image could be embedded; the first: {failed[0]}")
        return Embedded(found, np.stack(vectors), self._embedder.embed_texts(list(found.texts)), failed)

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction an image or a caption, in order.

        Raises:
            Unsupported: the model has no text tower.
        """
        embedded = self._embedded
        forward = task.source == WAYS[0]
        asked, among = (embedded.images, embedded.texts) if forward else (embedded.texts, embedded.images)
        pairs = np.array(list(embedded.candidates.pairs), dtype=np.int64)
        pairs = pairs if forward else pairs[:, ::-1]
        step = max(1, _SCORES_AT_ONCE // len(among))
        for start in range(task.start, task.stop, step):
            stop = min(start + step, task.stop)
            scores = asked[start:stop] @ among.T
            if not forward and embedded.failed:
                scores[:, list(embedded.failed)] = -np.inf
            positives = _positives(pairs, start, stop, len(among))
            ranks = first_positive_ranks(scores, positives)
            yield from self._predictions(task.source, start, ranks, scores.argmax(axis=1), positives)

    def _predictions(
        self, way: str, start: int, ranks: NDArray[np.float64], best: NDArray[np.intp], positives: NDArray[np.bool_]
    ) -> Iterator[Prediction]:
        found = self._embedded
        images, texts = list(found.candidates.images.items()), list(found.candidates.texts.items())
        forward = way == WAYS[0]
        for offset, rank in enumerate(ranks.tolist()):
            number = start + offset
            key, record = images[number] if forward else texts[number]
            right = int(np.flatnonzero(positives[offset])[0])
            failed = forward and number in found.failed
            extra: dict[str, Any] = {"positives": int(positives[offset].sum()), "question": "" if forward else key}
            yield Prediction(
                **{name: getattr(record, name) for name in ("source", "licence", "group", "split", "slide", "mpp")},
                id=f"{way}/{hashlib.sha256(key.encode()).hexdigest()[:24]}",
                extra={**extra, "error": found.failed[number]} if failed else extra,
                question=f"{way}/{hashlib.sha256(key.encode()).hexdigest()[:24]}",
                benchmark=self.data.digest,
                condition="plain",
                task="retrieval",
                answer=texts[right][0] if forward else images[right][1].id,
                reply="" if failed else texts[best[offset]][0] if forward else images[best[offset]][1].id,
                finish_reason="error" if failed else "argmax",
                prompt_hash="",
                model=self._embedder.fingerprint,
                scores=() if failed else (rank,),
                topic=way,
            )


def _positives(pairs: NDArray[np.int64], start: int, stop: int, count: int) -> NDArray[np.bool_]:
    """What is right for the questions `start` to `stop`: bool [stop - start, count]."""
    found = np.zeros((stop - start, count), dtype=bool)
    inside = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < stop)]
    found[inside[:, 0] - start, inside[:, 1]] = True
    return found
