"""JPEG decoding beside bare Pillow and bare libjpeg-turbo (simplejpeg), one thread, on textured H&E-like tiles of 224 and 768 pixels.

Every decoder turns the same bytes into a full-size uint8 RGB array. `vs_pillow` and `vs_libjpeg_turbo` are the lower of the two sizes'
ratios; those of each size are in the figures. With EOSIN_REAL_DATA set, the JPEG tiles found there (at most 64 a size) are measured too.

    python benchmarks/decode.py [--quick]
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import simplejpeg
from _common import alternate, parse_options, print_table, ratio, report
from PIL import Image

from eosin.images import decode_image, encode_jpeg, image_size

_REAL_FOLDERS = {"real 224 px": "tiles/lc25000_224px", "real 768 px": "tiles/lc25000_768px"}


def synthetic_tile(side: int, seed: int) -> bytes:
    """A JPEG of purple nuclei over a pink, fibrous ground, with noise at several scales as a scanner leaves it."""
    rng = np.random.default_rng(seed)
    ground = np.zeros((side, side), dtype=np.float32)
    for cells in (8, 32, 96):
        noise = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        ground += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) * (24 / cells**0.25)
    rows, columns = np.mgrid[:side, :side]
    nuclei = np.zeros((side, side), dtype=bool)
    for _ in range(side * side // 900):
        row, column, radius = rng.integers(side), rng.integers(side), rng.integers(3, 8)
        near = np.s_[max(0, row - 8) : row + 8, max(0, column - 8) : column + 8]
        nuclei[near] |= (rows[near] - row) ** 2 + (columns[near] - column) ** 2 < radius**2
    colours = np.where(nuclei[..., None], (92, 58, 132), (226, 168, 196)) + ground[..., None] + rng.normal(0, 4, (side, side, 3))
    return encode_jpeg(colours.clip(0, 255).astype(np.uint8), quality=90)


def real_tiles(folder: Path, count: int) -> list[bytes]:
    """The first JPEG files below a folder, in a stable order."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))
    return [path.read_bytes() for path in paths[:count]]


def by_pillow(data: bytes) -> np.ndarray:
    """Bare Pillow."""
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def by_libjpeg_turbo(data: bytes) -> np.ndarray:
    """Bare libjpeg-turbo."""
    return simplejpeg.decode_jpeg(data, "RGB")


def run_over(tiles: list[bytes], decode: Callable[[bytes], np.ndarray]) -> Callable[[], int]:
    """Decode all tiles once."""

    def run() -> int:
        for tile in tiles:
            decode(tile)
        return len(tiles)

    return run


def main() -> None:
    """Measure every tile set and print."""
    quick = parse_options(__doc__).quick
    small, large = (16, 4) if quick else (64, 16)
    sets = {
        "224 px": [synthetic_tile(224, seed) for seed in range(small)],
        "768 px": [synthetic_tile(768, seed) for seed in range(large)],
    }
    if root := os.environ.get("EOSIN_REAL_DATA"):
        sets |= {name: tiles for name, folder in _REAL_FOLDERS.items() if (tiles := real_tiles(Path(root) / folder, small))}
    decoders = {"eosin": decode_image, "pillow": by_pillow, "libjpeg-turbo": by_libjpeg_turbo}
    figures: dict[str, dict[str, float]] = {}
    for name, tiles in sets.items():
        for tile in tiles:
            if not np.array_equal(decode_image(tile), by_pillow(tile)):
                raise SystemExit(f"a tile of {image_size(tile)} pixels decodes differently from Pillow")
        rates = alternate({key: run_over(tiles, decode) for key, decode in decoders.items()}, rounds=7 if quick else 21)
        scaled = alternate({"scaled": run_over(tiles, lambda tile: decode_image(tile, at_least=224))}, rounds=3)
        figures[name] = {f"{key}_images_per_second": round(median(values), 1) for key, values in (rates | scaled).items()}
        figures[name] |= {"vs_pillow": ratio(rates, "eosin", "pillow"), "vs_libjpeg_turbo": ratio(rates, "eosin", "libjpeg-turbo")}
    columns = list(next(iter(figures.values())))
    print_table(("tiles", *columns), [(name, *values.values()) for name, values in figures.items()])
    ratios = {key: min(figures[name][key] for name in ("224 px", "768 px")) for key in ("vs_pillow", "vs_libjpeg_turbo")}
    report("decode", ratios=ratios, figures=figures, packages=("pillow", "simplejpeg"))


if __name__ == "__main__":
    main()
