"""Near duplicates: recall and precision over planted copies, by transform and method, and the time and memory of a million hashes.

python benchmarks/dedup.py [--quick]

Copies of phantom tiles are planted, and of real tiles where EOSIN_REAL_DATA names a folder that holds tiles/lc25000_768px with its
splits.csv; pairs within one of its groups are augmentations of one photograph, and count neither as true nor as false. The embedder is the
one in EOSIN_EMBEDDER, a clip_model artefact (that of `eosin demo` will do); without it that method is left out. The million pictures
are drawn from random fields whose frequencies fade as those of tissue do; one in a hundred is a copy that went through one of the
transforms. The same radius, orientations and windows serve both parts.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import parse_options, print_table, report
from numpy.typing import NDArray
from PIL import Image

from eosin.data_builders.duplicates.image_hash import RADIUS, ImagePrint, grey_picture, image_print
from eosin.data_builders.duplicates.links import Nearness
from eosin.data_builders.duplicates.neighbours import Pairs, embedding_pairs, hash_pairs
from eosin.data_builders.duplicates.overlay import SIDE as GREY_SIDE
from eosin.data_builders.duplicates.overlay import overlap
from eosin.data_builders.duplicates.union import components
from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile
from eosin.images import encode_png
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import STAINS

MILLION = 1_000_000
PROCESSES = 2
Pixels = NDArray[np.uint8]
Random = np.random.Generator


def window(pixels: Pixels, draw: Random) -> Pixels:
    """A window of 95 % of each side, anywhere."""
    return cut(pixels, 0.95, *draw.random(2))


def border(pixels: Pixels, draw: Random) -> Pixels:
    """5 % cut off each side."""
    return cut(pixels, 0.9, 0.5, 0.5)


def cut(pixels: Pixels, share: float, across: float, down: float) -> Pixels:
    """A window of a share of each side at a place of 0 to 1."""
    side = round(len(pixels) * share)
    y, x = round((len(pixels) - side) * down), round((len(pixels) - side) * across)
    return pixels[y : y + side, x : x + side]


def resized(pixels: Pixels, draw: Random) -> Pixels:
    """To a side of 0.4 to 1.5 of what it was."""
    side = round(len(pixels) * draw.uniform(0.4, 1.5))
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def jpeg(pixels: Pixels, draw: Random) -> Pixels:
    """Through JPEG at a quality of 40 to 90."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(draw.integers(40, 91)))
    return np.asarray(Image.open(buffer).convert("RGB"))


def flipped(pixels: Pixels, draw: Random) -> Pixels:
    """Left to right, or upside down."""
    return pixels[:, ::-1] if draw.random() < 0.5 else pixels[::-1]


def turned(pixels: Pixels, draw: Random) -> Pixels:
    """By 90 or 270 degrees."""
    return np.rot90(pixels, 1 if draw.random() < 0.5 else 3)


def stained(pixels: Pixels, draw: Random) -> Pixels:
    """Stains scaled by 0.8 to 1.2 and shifted by 0.05 (Tellez et al. 2018)."""
    amounts = -np.log((pixels.astype(np.float64) + 1) / 256) @ np.linalg.inv(STAINS)
    amounts = amounts * draw.uniform(0.8, 1.2, 3) + draw.uniform(-0.05, 0.05, 3)
    return np.clip(256 * np.exp(-amounts @ STAINS) - 1, 0, 255).astype(np.uint8)


TRANSFORMS: dict[str, Callable[[Pixels, Random], Pixels]] = {
    "crop 95 % anywhere": window,
    "crop 5 % each side": border,
    "resize": resized,
    "jpeg": jpeg,
    "flip": flipped,
    "rotate 90": turned,
    "stain jitter": stained,
}


@dataclass(frozen=True)
class Tiles:
    """Tiles to plant copies of, and their groups."""

    name: str
    pixels: list[Pixels]
    groups: list[str]


def render(number: int) -> Pixels:
    """A phantom tile of its own for each number."""
    tissues, scanners = list(TISSUES), list(SCANNERS)
    spec = TileSpec(number, tissues[number % len(tissues)], f"P{number % 50:03d}", f"S{number % 2}", scanners[number % len(scanners)])
    return render_tile(spec).image


def tile_sets(count: int) -> Iterator[Tiles]:
    """Phantoms, and real tiles where there are any."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        yield Tiles("phantoms", list(pool.map(render, range(count), chunksize=9)), [str(number) for number in range(count)])
    if "EOSIN_REAL_DATA" in os.environ:
        root = Path(os.environ["EOSIN_REAL_DATA"]) / "tiles" / "lc25000_768px"
        rows = list(csv.DictReader((root / "splits.csv").open(newline="")))
        yield Tiles("LC25000", [np.asarray(Image.open(root / row["path"]).convert("RGB")) for row in rows], [row["group"] for row in rows])


@dataclass(frozen=True)
class Planted:
    """Tiles followed by their copies, a row an image.

    Attributes:
        pixels: of both.
        groups: likewise.
        origin: the row of the tile it shows.
        transform: how it came about; empty for the tiles themselves.
    """

    pixels: list[Pixels]
    groups: list[str]
    origin: NDArray[np.int64]
    transform: NDArray[np.str_]


def plant(tiles: Tiles) -> Planted:
    """Every tile with a copy by every transform."""
    draw = np.random.default_rng(0)
    pixels, origin, transform = list(tiles.pixels), list(range(len(tiles.pixels))), [""] * len(tiles.pixels)
    for name, change in TRANSFORMS.items():
        pixels += [change(tile, draw) for tile in tiles.pixels]
        origin += range(len(tiles.pixels))
        transform += [name] * len(tiles.pixels)
    return Planted(pixels, [tiles.groups[row] for row in origin], np.array(origin), np.array(transform))


def by_hash(planted: Planted) -> Pairs:
    """Pairs by perceptual hash."""
    prints = [image_print(grey_picture(pixels)[None]) for pixels in planted.pixels]
    joined = ImagePrint(*(np.concatenate([getattr(one, name) for one in prints]) for name in ("signs", "spectra", "blank")))
    return hash_pairs(joined.signs, joined.spectra)


def by_embedding(planted: Planted, embedder: Any) -> Pairs:
    """Pairs by embedding, laid over each other."""
    vectors = embedder.embed_images([encode_png(np.ascontiguousarray(pixels)) for pixels in planted.pixels])
    nearness = Nearness()
    found = embedding_pairs(vectors, nearness.likeness, nearness.neighbours)
    greys = [grey_picture(pixels, GREY_SIDE) for pixels in planted.pixels]
    scores = [
        max(overlap(greys[one], greys[other]), overlap(greys[other], greys[one]))
        for one, other in zip(found.left, found.right, strict=True)
    ]
    near = np.array(scores) >= nearness.overlap
    return Pairs(found.left[near], found.right[near], found.distance[near])


@dataclass(frozen=True)
class Score:
    """Of one method on one set of tiles: recall by transform, recall and precision over all."""

    by_transform: dict[str, float]
    recall: float
    precision: float


def score(planted: Planted, pairs: Pairs) -> Score:
    """A copy is found when its cluster holds its tile. Of the pairs reported, those of other groups are false; those of one group
    that show other tiles are left out of the count."""
    clusters = components(len(planted.pixels), pairs.left, pairs.right)
    found = clusters == clusters[planted.origin]
    copies = planted.transform != ""
    groups = np.array(planted.groups)
    true = planted.origin[pairs.left] == planted.origin[pairs.right]
    false = groups[pairs.left] != groups[pairs.right]
    recalls = {name: float(found[planted.transform == name].mean()) for name in TRANSFORMS}
    return Score(recalls, float(found[copies].mean()), float(true.sum() / max((true | false).sum(), 1)))


FIELD, SEEN, WINDOWED = 72, 64, 0.95


def field_prints(numbers: tuple[int, int]) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """Hashes and spectra of the pictures `start` to `stop`; every hundredth is a changed copy of the one before."""
    start, stop = numbers
    draw = np.random.default_rng([7, start])
    pictures = fields(draw, stop - start, SEEN)
    copies = np.flatnonzero(np.arange(start, stop) % 100 == 99)
    for place, field in zip(copies.tolist(), fields(draw, len(copies), FIELD), strict=True):
        pictures[place - 1] = zoomed(field, 1.0, 0.0, 0.0)
        pictures[place] = changed(field, draw)
    printed = image_print(pictures)
    return printed.signs, printed.spectra.astype(np.float16)


def fields(draw: Random, count: int, side: int) -> NDArray[np.float32]:
    """Random pictures, float32 [count, side, side], whose frequencies fade as those of tissue do: some faster, some slower."""
    radius = np.hypot(np.fft.fftfreq(side, 1 / side)[:, None], np.fft.rfftfreq(side, 1 / side)).astype(np.float32)
    shape = (count, side, side // 2 + 1)
    waves = draw.standard_normal(shape, np.float32) + 1j * draw.standard_normal(shape, np.float32)
    waves *= (1 + radius) ** -draw.uniform(0.7, 1.6, (count, 1, 1)).astype(np.float32)
    waves[:, 0, 0] = 0
    found = np.fft.irfft2(waves, (side, side)).astype(np.float32)
    return found * (25 / found.std((1, 2), keepdims=True))


def changed(field: NDArray[np.float32], draw: Random) -> NDArray[np.float32]:
    """A field cropped anywhere by 5 %, turned, with its contrast changed and noise on it, as a picture of 64 x 64."""
    shown = zoomed(field, WINDOWED, *draw.uniform(0, 1 - WINDOWED, 2))
    shown = np.rot90(shown if draw.random() < 0.5 else shown.T, int(draw.integers(4)))
    return np.asarray(shown * draw.uniform(0.8, 1.2) + draw.normal(0, 1, shown.shape), np.float32)


def zoomed(field: NDArray[np.float32], share: float, x: float, y: float) -> NDArray[np.float32]:
    """A window of a share of each side, resampled linearly."""
    rows = []
    for start in (y, x):
        places = np.clip((start + (np.arange(SEEN) + 0.5) / SEEN * share) * len(field) - 0.5, 0, len(field) - 1.001)
        left = places.astype(int)
        weights = np.zeros((SEEN, len(field)), np.float32)
        weights[np.arange(SEEN), left], weights[np.arange(SEEN), left + 1] = 1 - (places - left), places - left
        rows.append(weights)
    return rows[0] @ field @ rows[1].T


def million(count: int) -> dict[str, float]:
    """Cluster `count` stored hashes: seconds, memory of the process that does it, recall and precision over the planted copies."""
    blocks = [(start, min(start + 2000, count)) for start in range(0, count, 2000)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        parts = list(pool.map(field_prints, blocks))
    signs, spectra = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"eosin-dedup-{os.getpid()}"
    folder.mkdir()
    np.save(folder / "signs.npy", signs)
    np.save(folder / "spectra.npy", spectra)
    del parts, signs, spectra
    with ProcessPoolExecutor(1, context) as pool:
        found = pool.submit(cluster_stored, str(folder)).result()
    for name in ("signs.npy", "spectra.npy"):
        (folder / name).unlink()
    folder.rmdir()
    return found


def cluster_stored(folder: str) -> dict[str, float]:
    """Read the hashes, find the pairs and join them; runs in a process of its own, whose memory is all counted."""
    start, busy = time.perf_counter(), time.process_time()
    signs, spectra = np.load(Path(folder) / "signs.npy"), np.load(Path(folder) / "spectra.npy")
    pairs = hash_pairs(signs, spectra)
    clusters = components(len(signs), pairs.left, pairs.right)
    seconds = time.perf_counter() - start
    copies = np.arange(99, len(signs), 100)
    true = (pairs.right % 100 == 99) & (pairs.left == pairs.right - 1)
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - busy, 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "recall": float((clusters[copies] == clusters[copies - 1]).mean()),
        "precision": float(true.mean()),
    }


def quality(count: int) -> dict[str, Score]:
    """Method and tiles -> score."""
    found = {}
    path = os.environ.get("EOSIN_EMBEDDER")
    embedder = load_embedder(EmbedderSpec(path)) if path else None
    for tiles in tile_sets(count):
        planted = plant(tiles)
        found[f"hash, {tiles.name}"] = score(planted, by_hash(planted))
        if embedder is not None:
            found[f"embedding, {tiles.name}"] = score(planted, by_embedding(planted, embedder))
    return found


def main() -> None:
    """Measure and print."""
    options = parse_options(__doc__)
    large = million(MILLION)
    scores = quality(90 if options.quick else 450)
    rows = [
        (name, *(f"{one.by_transform[key]:.3f}" for key in TRANSFORMS), f"{one.recall:.4f}", f"{one.precision:.4f}")
        for name, one in scores.items()
    ]
    print_table(("method, tiles", *TRANSFORMS, "recall", "precision"), rows)
    print(
        f"a million hashes within {RADIUS} bits: {large['seconds']} s, {large['memory_mb']} MB; "
        f"of the planted {large['recall']:.4f} found, precision {large['precision']:.4f}"
    )
    figures = {
        "recall": min(one.recall for one in scores.values()),
        "precision": min(one.precision for one in scores.values()),
        "million_seconds": large["seconds"],
        "million_processor_seconds": large["processor_seconds"],
        "million_memory_mb": large["memory_mb"],
        "million_recall": large["recall"],
        "million_precision": large["precision"],
        "radius": RADIUS,
        "by_method": {name: {**one.by_transform, "recall": one.recall, "precision": one.precision} for name, one in scores.items()},
    }
    report("dedup", ratios={}, figures=figures, packages=("faiss-cpu",))


if __name__ == "__main__":
    main()
