"""Samples made ready: tokenised, their images encoded, and every one that cannot be used named with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.artefacts.files import replacing
from eosin.errors import ImageError, InputError
from eosin.llm.batches import Item
from eosin.llm.encoding import Encoded, Encoder
from eosin.llm.image_store import ImageStore, ImageStoreWriter
from eosin.llm.samples import Sample
from eosin.progress import say, track
from eosin.records import REJECT_SCHEMA, Reject


@dataclass
class Dataset:
    """What a run learns from.

    Attributes:
        items: in the order of the data.
        store: their images.
        rejects: samples, or variants of samples, that were not taken.
        read: samples that came in.
    """

    items: list[Item]
    store: ImageStore
    rejects: list[Reject] = field(default_factory=list)
    read: int = 0

    @property
    def counts(self) -> dict[str, object]:
        """What came in, what is used, what was rejected by reason."""
        reasons = Counter(reject.reason for reject in self.rejects)
        return {"in": self.read, "used": len(self.items), "images": len(self.store), "rejected": dict(sorted(reasons.items()))}


def prepare(samples: Iterable[Sample], encoder: Encoder, writer: ImageStoreWriter, max_length: int) -> Dataset:
    """Tokenise the samples and encode their images.

    Args:
        samples: streamed once.
        encoder: of the model.
        writer: opened; each distinct image is put into it once.
        max_length: a conversation with more tokens is rejected whole; cutting it would cut images or answers.

    Raises:
        InputError: nothing is left.
    """
    items: list[Item] = []
    rejects: list[Reject] = []
    read = 0
    for sample in track(samples, "preparing samples"):
        read += 1
        item = _item(sample, encoder, writer, max_length, rejects)
        if item is not None:
            items.append(item)
    found = Dataset(items, writer.finish(), rejects, read)
    if not items:
        reasons = ", ".join(f"{reject.key}: {reject.message}" for reject in rejects[:3])
        raise InputError(f"none of {read} samples can be used; {reasons}")
    if rejects:
        say(f"{len(rejects)} rejects among {read} samples: {found.counts['rejected']}; see rejects/rejects.parquet")
    return found


def _item(sample: Sample, encoder: Encoder, writer: ImageStoreWriter, max_length: int, rejects: list[Reject]) -> Item | None:
    variants: list[Encoded] = []
    for messages in sample.variants:
        try:
            encoded = encoder.encode(messages)
        except InputError as error:
            rejects.append(Reject(sample.id, "not_a_conversation", str(error)))
            continue
        if len(encoded) > max_length:
            rejects.append(Reject(sample.id, "too_long", f"{len(encoded)} tokens; batch.max_length is {max_length}"))
            continue
        variants.append(encoded)
    if not sample.variants:
        rejects.append(Reject(sample.id, "no_text", "the record has no caption"))
    if not variants:
        return None
    try:
        images = tuple(writer.add(image) for image in sample.images)
    except ImageError as error:
        rejects.append(Reject(sample.id, error.reason, error.message))
        return None
    return Item(tuple(variants), images, sample.upright)


def write_rejects(folder: Path, rejects: Iterable[Reject]) -> None:
    """`rejects/rejects.parquet` of an artefact that has no shards; no file where nothing was rejected."""
    rows = [{"task": "samples", "key": item.key, "reason": item.reason, "message": item.message} for item in rejects]
    if rows:
        with replacing(folder / "rejects" / "rejects.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA), temporary)
