"""Training pairs: captions by number, who belongs to whom, and the records that could not be used.

Every image is decoded once before training, so that all that cannot be used is known, and counted, before the first step. What is found
is kept beside the checkpoints: a run that goes on does not look again. Memory holds some numbers a record (about 250 bytes with its
caption's key), never texts or pixels beyond the budget.
"""

from __future__ import annotations

import zipfile
import zlib
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.artefacts.files import replacing
from eosin.checkpoint import damaged
from eosin.clip.crops import Pixels
from eosin.clip.image_store import ImageStore, Kept, Reading, decode_small
from eosin.clip.joined import Joined
from eosin.clip.text_store import TextStore, TextStoreWriter, text_key
from eosin.errors import ConfigError, ImageError, InputError
from eosin.images import image_size
from eosin.progress import bar
from eosin.records import REJECT_SCHEMA, ImageText, Reject

Ints = NDArray[np.int64]

_CHUNK = 256
_COLUMNS = ("id", "source", "licence", "group", "split", "mpp", "image", "captions", "extra")


@dataclass(frozen=True)
class Index:
    """Usable records by number, as plain arrays.

    Attributes:
        rows: int64 [records]: place of each in the split.
        starts: int64 [records + 1]: where its captions begin in `held`.
        held: int64: numbers of all captions, record after record.
        hard_starts: int64 [records + 1]: likewise of `hard`.
        hard: int64: numbers of hard captions.
        groups: int64 [records]: key of its group.
        labels: int64 [records]: number of `extra["label"]`, -1 where there is none.
        nodes: int64 [records]: its disease in the ontology, -1 for none.
        microns: float64 [records, 2]: width and height of what is seen of the image, NaN where the scale is unknown.
    """

    rows: Ints
    starts: Ints
    held: Ints
    hard_starts: Ints
    hard: Ints
    groups: Ints
    labels: Ints
    nodes: Ints
    microns: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def drawn(self, records: Ints, u: NDArray[np.float64], each: int = 1) -> Ints:
        """`each` captions' numbers a record, by uniform numbers `u` in [0, 1): the one u falls on, and those that follow. [n, each]."""
        counts = self.starts[records + 1] - self.starts[records]
        first = (u * counts).astype(np.int64)
        places = (first[:, None] + np.arange(each)) % counts[:, None]
        return self.held[self.starts[records][:, None] + places]

    def held_by(self, records: Ints) -> Ints:
        """[n, most] numbers of all captions of each record, filled up with -1."""
        return _padded(self.held, self.starts, records, -1)

    def hard_of(self, records: Ints, each: int) -> Ints:
        """[n, each] numbers of the first hard captions of each record, filled up with -1."""
        found = np.full((len(records), each), -1, dtype=np.int64)
        padded = _padded(self.hard, self.hard_starts, records, -1)[:, :each]
        found[:, : padded.shape[1]] = padded
        return found


class Holders:
    """Of every hard caption, the labels or diseases of the records whose own caption it is: for them it is no negative.

    Args:
        index: the records.
        kinds: int64 [records] label or disease of each, -1 for none.
    """

    def __init__(self, index: Index, kinds: Ints) -> None:
        of_captions = np.repeat(kinds, np.diff(index.starts))
        told = (of_captions >= 0) & np.isin(index.held, index.hard)
        pairs = np.unique(np.stack([index.held[told], of_captions[told]]), axis=1)
        self._kinds = pairs[1]
        self._texts, first = np.unique(pairs[0], return_index=True)
        self._starts = np.append(first, len(self._kinds))

    def of(self, texts: Ints) -> Ints:
        """[n, most] the kinds of some texts by number, filled up with -1."""
        if not len(self._texts):
            return np.full((len(texts), 1), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._texts, texts), len(self._texts) - 1)
        found = _padded(self._kinds, self._starts, places, -1)
        return np.where((self._texts[places] == texts)[:, None], found, -1)


def _padded(values: Ints, starts: Ints, records: Ints, fill: int) -> Ints:
    counts = starts[records + 1] - starts[records]
    columns = np.arange(max(int(counts.max(initial=0)), 1))
    inside = columns < counts[:, None]
    places = np.where(inside, starts[records][:, None] + columns, 0)
    return np.where(inside, values[places] if len(values) else -1, fill)


@dataclass(frozen=True)
class Pairs:
    """What is trained on: `len(index)` usable records of `seen`, and why the others were not.

    Attributes:
        blocks: int64: number of the first record of each row group, the unit of reading.
    """

    index: Index
    texts: TextStore
    images: ImageStore
    blocks: Ints
    rejects: tuple[Reject, ...]
    seen: int

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a record beyond image and captions.

    Attributes:
        scale: it must tell its microns a pixel.
        node: finds its disease.
        hard: its hard captions, if it tells any, must be texts.
    """

    scale: bool = False
    node: Callable[[ImageText], int] | None = None
    hard: bool = False


class _IndexBuilder:
    """Takes usable records as they come."""

    def __init__(self, texts: TextStoreWriter) -> None:
        self._texts = texts
        self._labels: dict[str, int] = {}
        self._columns = {item.name: array("q") for item in fields(Index) if item.name != "microns"}
        self._columns["starts"].append(0)
        self._columns["hard_starts"].append(0)
        self._microns = array("d")

    def __len__(self) -> int:
        return len(self._columns["rows"])

    def add(self, row: int, record: ImageText, captions: Sequence[str], node: int, microns: tuple[float, float]) -> None:
        """The next usable record."""
        columns = self._columns
        columns["rows"].append(row)
        columns["held"].extend(self._texts.number(caption) for caption in dict.fromkeys(captions))
        columns["starts"].append(len(columns["held"]))
        columns["hard"].extend(self._texts.number(caption) for caption in _hard_captions(record) or ())
        columns["hard_starts"].append(len(columns["hard"]))
        # A key of 63 bits: no table of groups, however many there are.
        columns["groups"].append(text_key(f"{record.source}\n{record.group}") >> 1)
        label = record.extra.get("label")
        columns["labels"].append(-1 if label is None else self._labels.setdefault(str(label), len(self._labels)))
        columns["nodes"].append(node)
        self._microns.extend(microns)

    def close(self) -> Index:
        """All of them as arrays."""
        arrays = {name: np.array(column, dtype=np.int64) for name, column in self._columns.items()}
        return Index(**arrays, microns=np.array(self._microns).reshape(-1, 2))


def load_pairs(artefact: Artefact, reading: Reading, folder: Path, wanted: Wanted | None = None, more: Sequence[Artefact] = ()) -> Pairs:
    """The split `train`, from what an earlier run found in `folder`, else read once.

    Args:
        artefact: of kind image_text.
        reading: of images.
        folder: where texts, index and rejects are kept.
        wanted: what a record must tell.
        more: further artefacts, whose records come behind.

    Raises:
        InputError: fewer than two records can be used.
        ArtefactError: a shard is missing or damaged.
    """
    data = Joined((artefact, *more), "train")
    starts, rows = data.blocks()
    first = None
    if not (folder / "index.npz").is_file():
        first = _look_at_all(data, rows, reading, folder, wanted or Wanted())
    index, texts, rejects = _found_before(folder)
    if len(index) < 2:
        reasons = ", ".join(sorted({reject.reason for reject in rejects}))
        why = f" ({reasons})" if reasons else ""
        raise InputError(f"{data.name}: {len(index)} of {rows} train records can be used{why}; at least 2 are needed")
    table = data.table(_COLUMNS, reading.window, 2 * reading.threads + 2)
    images = ImageStore(table, index.rows, reading, first)
    blocks = np.unique(np.searchsorted(index.rows, starts))
    return Pairs(index, texts, images, blocks[blocks < len(index)], rejects, rows)


def _found_before(folder: Path) -> tuple[Index, TextStore, tuple[Reject, ...]]:
    """What a first look left.

    Raises:
        ArtefactError: a file of it is gone or damaged.
    """
    try:
        with np.load(folder / "index.npz") as saved:
            index = Index(**saved)
        rows = pq.read_table(folder / "rejects.parquet").to_pylist()
        return index, TextStore(folder / "texts.bin"), tuple(Reject(row["key"], row["reason"], row["message"]) for row in rows)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, TypeError, ValueError) as error:
        raise damaged(folder, error) from error


def _look_at_all(data: Joined, rows: int, reading: Reading, folder: Path, wanted: Wanted) -> Kept:
    """Decode every image once; writes texts, rejects and, last, the index. Gives the images that fit into the budget."""
    kept = Kept(reading.budget)
    rejects: list[Reject] = []
    numbered = enumerate(data.records(_COLUMNS))
    with TextStoreWriter(folder / "texts.bin") as texts, ThreadPoolExecutor(reading.threads) as pool, bar("images", rows) as moving:
        builder = _IndexBuilder(texts)
        while chunk := list(islice(numbered, _CHUNK)):
            for (row, record), looked in zip(chunk, pool.map(lambda item: _look(item[1], reading, wanted), chunk), strict=True):
                if isinstance(looked, Reject):
                    rejects.append(looked)
                    continue
                image, captions, microns = looked
                kept.offer(len(builder), image)
                builder.add(row, record, captions, wanted.node(record) if wanted.node else -1, microns)
            moving.advance(len(chunk))
    write_rejects(folder / "rejects.parquet", rejects)
    with replacing(folder / "index.npz") as temporary, temporary.open("wb") as handle:
        np.savez(handle, **vars(builder.close()))
    return kept


def _look(record: ImageText, reading: Reading, wanted: Wanted) -> tuple[Pixels, list[str], tuple[float, float]] | Reject:
    """A record's small image, captions, and microns; or why it cannot be used."""
    captions = [caption.strip() for caption in record.captions if caption.strip()]
    try:
        image = decode_small(record.image, reading)
    except ImageError as error:
        return Reject(record.id, error.reason, error.message)
    if not captions:
        return Reject(record.id, "no_caption", "the record has no caption, or only blank ones")
    if wanted.hard and _hard_captions(record) is None:
        return Reject(record.id, "bad_hard_captions", "extra.hard_captions is neither a text nor a list of texts")
    if not wanted.scale:
        return image, captions, (np.nan, np.nan)
    if record.mpp is None or not record.mpp > 0:
        return Reject(record.id, "no_scale", "augment.mpp asks for a scale in microns, and the record does not tell its microns a pixel")
    width, height = image_size(record.image)
    if reading.resize == "shortest":
        width = height = min(width, height)
    return image, captions, (width * record.mpp, height * record.mpp)


def _hard_captions(record: ImageText) -> list[str] | None:
    """The texts of `extra.hard_captions`, blanks and nulls left out; None where it is something else."""
    told = record.extra.get("hard_captions") or []
    texts = [told] if isinstance(told, str) else told
    if not isinstance(texts, list) or not all(isinstance(text, str | None) for text in texts):
        return None
    return [text for text in texts if text and text.strip()]


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Rejects as Parquet."""
    rows = [{"task": "train", "key": reject.key, "reason": reject.reason, "message": reject.message} for reject in rejects]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA), temporary)


def check_labels(index: Index) -> None:
    """Refuse `positives: same_caption_or_label` where no record tells its label.

    Raises:
        ConfigError: as said.
    """
    if (index.labels < 0).all():
        raise ConfigError("positives is same_caption_or_label, but no record has a label in its extra column; use same_caption or pair")
