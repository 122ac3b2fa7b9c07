"""Build three inputs that no machine should load whole, and watch the memory of all processes.

python tools/large_inputs.py [--share 1.0] [--workers 2] [--png docs/images/large_inputs.png] [--only slide h5 json] [--keep DIR]

    slide   200,704 tiles of 256 px at the slide's own resolution, read, judged and kept as pictures
    h5      262,144 images of 96 px in one HDF5 file, in PatchCamelyon's layout
    json    1 GB of conversations in one JSON list, in LLaVA's layout

It writes them first (the slide and the h5 take minutes), then builds each with the builder a user would take. It prints the cost of each
and its memory late over its memory early (medians of the last and the second quarter of its time): 1.0 is flat. --share makes all three
smaller. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scaling_run import Watch, cost, draw, print_table

from eosin.artefacts import open_artefact
from eosin.config import load
from eosin.data_builders.cli import BUILDERS, run_steps
from eosin.data_builders.phantoms.pyramid import ImageArray, write_pyramid
from eosin.pipeline import LocalEngine

SLIDE_TILES = 448
TILE_PX = 256
H5_IMAGES = 262_144
H5_SIDE = 96
JSON_BYTES = 10**9


def tissue(rng: np.random.Generator, height: int, width: int, cell: int = 4) -> ImageArray:
    """uint8 [height, width, 3]: pink noise of cells' size, enough for the judgements of a tile."""
    coarse = rng.integers(0, 90, (height // cell, width // cell, 1))
    base = np.array([235, 160, 200]) - coarse * np.array([0.9, 1.0, 0.5])
    return np.kron(base.clip(0, 255).astype(np.uint8), np.ones((cell, cell, 1), np.uint8))


def write_slide(folder: Path, share: float) -> dict[str, Any]:
    """A pyramid of one slide; what builds it."""
    side = max(4, round(SLIDE_TILES * share**0.5)) * TILE_PX
    rng = np.random.default_rng(0)
    # Cells so large make tiles of 8 KB: a TIFF of all of them must stay under 4 GiB.
    patch = tissue(rng, TILE_PX, 4096, cell=16)
    wide = np.tile(patch, (1, -(-side // 4096), 1))[:, :side]
    folder.mkdir()
    write_pyramid(folder / "large.tiff", (side, side), 0.5, (np.roll(wide, 37 * row, axis=1) for row in range(side // TILE_PX)))
    return {"builder": "tile_slides", "slides": str(folder), "size": TILE_PX, "mpp": 0.5, "images": True}


def write_h5(folder: Path, share: float) -> dict[str, Any]:
    """One pair of PatchCamelyon's files; what builds them."""
    count = round(H5_IMAGES * share)
    folder.mkdir()
    rng = np.random.default_rng(0)
    stem = "camelyonpatch_level_2_split_train"
    with h5py.File(folder / f"{stem}_x.h5", "w") as x, h5py.File(folder / f"{stem}_y.h5", "w") as y:
        images = x.create_dataset(
            "x", (count, H5_SIDE, H5_SIDE, 3), np.uint8, chunks=(32, H5_SIDE, H5_SIDE, 3), compression="gzip", compression_opts=1
        )
        for start in range(0, count, 1024):
            stop = min(start + 1024, count)
            images[start:stop] = tissue(rng, H5_SIDE * (stop - start), H5_SIDE).reshape(-1, H5_SIDE, H5_SIDE, 3)
        y.create_dataset("y", data=(np.arange(count) % 2).reshape(-1, 1, 1, 1).astype(np.uint8))
    return {"builder": "source", "source": "pcam", "folder": str(folder)}


def write_json(folder: Path, share: float) -> dict[str, Any]:
    """A JSON list of text-only conversations; what builds it."""
    folder.mkdir()
    words = " ".join(["glands"] * 120)
    with (folder / "conversations.json").open("w") as file:
        file.write("[")
        for number in range(10**9):
            talk = [{"from": "human", "value": f"Question {number}? {words}"}, {"from": "gpt", "value": f"Answer {number}."}]
            file.write((", " if number else "") + json.dumps({"id": str(number), "conversations": talk}))
            if file.tell() >= JSON_BYTES * share:
                break
        file.write("]")
    return {"builder": "source", "source": "llava", "folder": str(folder)}


INPUTS = {"slide": write_slide, "h5": write_h5, "json": write_json}


@contextlib.contextmanager
def working_folder(keep: Path | None) -> Iterator[Path]:
    """`keep`, or one that is gone afterwards."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Write, build, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=tuple(INPUTS), default=tuple(INPUTS))
    parser.add_argument("--png", type=Path)
    parser.add_argument("--keep", type=Path, help="leave inputs and artefacts there")
    options = parser.parse_args()
    found, watch = [], Watch()
    with working_folder(options.keep) as folder:
        recipes = {name: INPUTS[name](folder / name, options.share) for name in options.only}
        with watch.running():
            for name, recipe in recipes.items():
                builder, out = BUILDERS[recipe["builder"]], folder / f"{name}_out"
                watch.stage, begun = name, time.monotonic()
                made = run_steps(builder.steps(load(builder.config, recipe), out), out, LocalEngine(options.workers))
                last = open_artefact(list(made.values())[-1].path)
                found.append(cost(last, name, time.monotonic() - begun, watch))
    print_table(found)
    if options.png:
        draw(watch, f"large inputs ({', '.join(options.only)}), {options.workers} workers", options.png)
    print(json.dumps({"tool": "large_inputs", "share": options.share, "inputs": found, "platform": platform.platform()}, sort_keys=True))


if __name__ == "__main__":
    main()
