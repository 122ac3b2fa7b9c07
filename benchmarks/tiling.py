"""Cutting tiles from a slide beside a plain OpenSlide loop, tiatoolbox and bare JPEG decoding, one process, on a phantom slide.

Every competitor hands out the same tiles of level 0 as uint8 RGB arrays; before timing, Eosin's are compared with the loop's, pixel by
pixel. The ratios are those of 256 px tiles at the slide's own resolution, without overlap; other grids are in the figures.

    vs_openslide_loop   read_region of each tile, Pillow's convert to RGB (and resize where the level does not match)
    vs_tiatoolbox       WSIReader.read_rect of each tile, in an environment of its own (make bench-env; EOSIN_TIATOOLBOX_PYTHON names
                        another); it times itself, so that its start does not count, in rounds that alternate with ours
    pure_decode_time    our time over that of opening the slide and decoding each of its JPEG tiles once, with as many threads as ours

With EOSIN_REAL_DATA set, the real slide there is measured too.

    python benchmarks/tiling.py [--quick]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import openslide
from _common import alternate, parse_options, print_table, ratio, report

from eosin.data_builders.phantoms import TileSpec, render_tile
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.data_builders.slides.grid import Grid
from eosin.slides.jpeg_tiles import JpegLevel, jpeg_level
from eosin.slides.reader import SlideReader
from eosin.slides.sampling import sampling_of
from eosin.slides.stream import iter_tiles

THREADS = 2
ROOT = Path(__file__).resolve().parents[1]
PEER = """
import json, sys, time
from tiatoolbox.wsicore.wsireader import WSIReader
reader = None
for line in sys.stdin:
    job = json.loads(line)
    if reader is None:
        reader = WSIReader.open(job["slide"])
    start = time.perf_counter()
    for x, y in job["places"]:
        reader.read_rect((x, y), (job["size"], job["size"]), resolution=0, units="level")
    print("SECONDS", time.perf_counter() - start, flush=True)
"""


@dataclass(frozen=True)
class Job:
    """Tiles to cut: all at `places`, `size` px at `mpp`, each `side` px at level 0."""

    slide: Path
    size: int
    mpp: float
    side: int
    places: list[tuple[int, int]]


def phantom_slide(path: Path, side: int) -> Path:
    """Drawn tissue, repeated: what it costs to read a slide does not depend on how often a patch comes back."""
    specs = [
        TileSpec(seed, name, "P0", "S0", "birch", 500, 0.5)
        for seed, name in enumerate(("TUM", "STR", "NORM", "LYM", "MUS", "MUC", "ADI", "DEB"))
    ]
    patches = [render_tile(spec).image for spec in specs]
    rows = [
        np.concatenate([patches[(row * 3 + column * 5) % len(patches)] for column in range(side // 500)], axis=1)
        for row in range(len(patches))
    ]
    write_pyramid(path, (side, side), 0.5, (rows[band % len(rows)] for band in range(side // 500)))
    return path


def job_of(path: Path, size: int, mpp: float | None, most: int) -> Job:
    """A block of whole rows of the grid, `most` tiles at most."""
    with SlideReader(path) as slide:
        wanted = mpp or slide.mpp
        side = sampling_of(slide.levels, slide.mpp, size, wanted).side
        grid = Grid.of(slide.size, side, 0)
        rows = max(1, min(grid.rows, most // grid.columns))
        return Job(path, size, wanted, side, [place for row in range(rows) for place in grid.row(row)])


def by_eosin(job: Job, threads: int = THREADS) -> Callable[[], int]:
    """Ours."""

    def run() -> int:
        with SlideReader(job.slide) as slide:
            return sum(tile.pixels is not None for tile in iter_tiles(slide, job.places, job.size, job.mpp, threads=threads))

    return run


def by_openslide(job: Job) -> Callable[[], int]:
    """The plain loop."""

    def run() -> int:
        with openslide.OpenSlide(job.slide) as slide:
            for place in job.places:
                loop_tile(slide, job, place)
        return len(job.places)

    return run


def loop_tile(slide: openslide.OpenSlide, job: Job, place: tuple[int, int]) -> np.ndarray:
    """One tile of the plain loop."""
    level = slide.get_best_level_for_downsample(job.side / job.size)
    side = round(job.side / slide.level_downsamples[level])
    image = slide.read_region(place, level, (side, side)).convert("RGB")
    return np.asarray(image if side == job.size else image.resize((job.size, job.size)))


def opened_level(job: Job) -> JpegLevel:
    """Level 0, of a slide that was opened for it."""
    with SlideReader(job.slide) as slide:
        level = jpeg_level(slide, 0)
    if level is None:
        sys.exit(f"{job.slide.name} is no TIFF of JPEG tiles")
    return level


def by_decoding(job: Job, threads: int) -> Callable[[], int]:
    """The slide opened, and each JPEG tile of level 0 that the job touches decoded once. Counts the job's tiles, so that rates compare."""
    with SlideReader(job.slide) as slide:
        level = jpeg_level(slide, 0)
        if level is None:
            sys.exit(f"{job.slide.name} is no TIFF of JPEG tiles")
    across, down = level.tile
    touched = sorted(
        {
            (row, column)
            for x, y in job.places
            for row in range(y // down, (y + job.side - 1) // down + 1)
            for column in range(x // across, (x + job.side - 1) // across + 1)
        }
    )

    def run() -> int:
        # Nobody decodes a slide without opening it, which on a small one is a fifth of all the time.
        level = opened_level(job)
        file = os.open(job.slide, os.O_RDONLY)
        chunks = [touched[start : start + 64] for start in range(0, len(touched), 64)]
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda chunk: [level.decode(file, column, row).shape for row, column in chunk], chunks):
                pass
        os.close(file)
        return len(job.places)

    return run


class Tiatoolbox:
    """tiatoolbox in its own interpreter, kept running; it times itself."""

    def __init__(self) -> None:
        given = os.environ.get("EOSIN_TIATOOLBOX_PYTHON")
        python = Path(given) if given else ROOT / ".venv-tiatoolbox/bin/python"
        probe = [str(python), "-c", "from tiatoolbox.wsicore.wsireader import WSIReader"]
        if not python.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
            sys.exit(f"tiatoolbox is not installed in {python}; run: make bench-env")
        self._process = subprocess.Popen(
            [str(python), "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def seconds(self, job: Job) -> float:
        """Time of one round over the job's tiles."""
        if self._process.stdin is None or self._process.stdout is None:
            sys.exit("tiatoolbox's process has no pipes")
        self._process.stdin.write(json.dumps({"slide": str(job.slide), "places": job.places, "size": job.size}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("SECONDS"):
                return float(line.split()[1])
        sys.exit("tiatoolbox ended without a result; try the environment by hand, or run: make bench-env")

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def compare_pixels(job: Job) -> None:
    """End where a tile is not the loop's, pixel for pixel."""
    places = job.places[:: max(1, len(job.places) // 50)]
    with SlideReader(job.slide) as ours, openslide.OpenSlide(job.slide) as theirs:
        for tile in iter_tiles(ours, places, job.size, job.mpp):
            if tile.pixels is None or not np.array_equal(tile.pixels, loop_tile(theirs, job, (tile.x, tile.y))):
                sys.exit(f"the tile at {tile.x}, {tile.y} of {job.slide.name} is not OpenSlide's")


def measure(job: Job, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Rates of all but tiatoolbox, and the figures."""
    runs = {"eosin": by_eosin(job), "openslide_loop": by_openslide(job), "pure_decode": by_decoding(job, THREADS)}
    runs |= {"eosin_one_thread": by_eosin(job, 1), "pure_decode_one_thread": by_decoding(job, 1)}
    rates = alternate(runs, rounds=rounds)
    figures = {f"{name}_tiles_per_second": round(median(values), 1) for name, values in rates.items()}
    figures["vs_openslide_loop"] = ratio(rates, "eosin", "openslide_loop")
    figures["pure_decode_time"] = ratio(rates, "pure_decode", "eosin")
    figures["tiles"] = len(job.places)
    return rates, figures


def against_tiatoolbox(job: Job, peer: Tiatoolbox, rounds: int) -> tuple[float, float]:
    """Our throughput over theirs, and theirs in tiles a second."""
    ours = by_eosin(job)
    ours()
    peer.seconds(job)
    pairs = []
    for number in range(rounds):
        # Who goes first changes, so that neither always meets what the other left behind.
        before = peer.seconds(job) if number % 2 else 0.0
        start = time.perf_counter()
        ours()
        pairs.append((time.perf_counter() - start, before or peer.seconds(job)))
    return round(median(theirs / mine for mine, theirs in pairs), 4), round(len(job.places) / median(theirs for _, theirs in pairs), 1)


def main() -> None:
    """Measure every grid and print."""
    quick = parse_options(__doc__).quick
    rounds, most, side = (3, 400, 10_000) if quick else (7, 2000, 20_000)
    peer = Tiatoolbox()
    with tempfile.TemporaryDirectory() as folder:
        slide = phantom_slide(Path(folder) / "phantom.tiff", side)
        jobs = {
            "phantom 256 px": job_of(slide, 256, None, most),
            "phantom 224 px": job_of(slide, 224, None, most),
            "phantom 224 px at 1 um": job_of(slide, 224, 1.0, most // 3),
        }
        if root := os.environ.get("EOSIN_REAL_DATA"):
            jobs["real 224 px"] = job_of(Path(root) / "wsi/CMU-1-Small-Region.svs", 224, None, most)
        figures = {}
        for name, job in jobs.items():
            if job.side == job.size:
                compare_pixels(job)
            _, figures[name] = measure(job, rounds)
        first = next(iter(jobs))
        versus, rate = against_tiatoolbox(jobs[first], peer, rounds)
        figures[first] |= {"tiatoolbox_tiles_per_second": rate, "vs_tiatoolbox": versus}
        peer.close()
    columns = [key for key in figures[first] if "tiatoolbox" not in key]
    print_table(("grid", *columns), [(name, *(values[key] for key in columns)) for name, values in figures.items()])
    ratios = {key: figures[first][key] for key in ("vs_openslide_loop", "vs_tiatoolbox", "pure_decode_time")}
    report("tiling", ratios=ratios, figures=figures, packages=("openslide-python", "openslide-bin", "simplejpeg", "tifffile"))


if __name__ == "__main__":
    main()
