"""How fast phantom tiles of 224 px are drawn: per second with two processes, and processor time per tile of each class.

python benchmarks/phantoms.py [--quick]
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from statistics import mean, median

from _common import parse_options, print_table, report

from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile

PROCESSES = 2


def specs(count: int, first_seed: int) -> list[TileSpec]:
    """Tiles of all classes in turn, from many patients and every scanner."""
    tissues, scanners = list(TISSUES), list(SCANNERS)
    return [
        TileSpec(first_seed + n, tissues[n % len(tissues)], f"P{n % 50:03d}", f"S{n % 2}", scanners[n % len(scanners)])
        for n in range(count)
    ]


def render(spec: TileSpec) -> tuple[str, float]:
    """The tile's class and the processor seconds it took."""
    start = time.process_time()
    render_tile(spec)
    return spec.tissue, time.process_time() - start


def main() -> None:
    """Measure and print."""
    options = parse_options(__doc__)
    count, rounds = (450, 3) if options.quick else (1800, 5)
    rates, seconds = [], []
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(render, specs(180, 0), chunksize=9))  # each process makes its noise fields once
        for round_number in range(rounds):
            start = time.perf_counter()
            seconds += list(pool.map(render, specs(count, 1000 * round_number), chunksize=9))
            rates.append(count / (time.perf_counter() - start))
    by_tissue = {name: 1000 * mean(cost for tissue, cost in seconds if tissue == name) for name in TISSUES}
    cost_ms = mean(by_tissue.values())
    print_table(("class", "processor ms a tile"), [(name, f"{value:.1f}") for name, value in by_tissue.items()])
    print(f"all classes: {cost_ms:.1f} ms a tile; {median(rates):.0f} tiles a second with {PROCESSES} processes")
    figures = {"tiles_per_second": round(median(rates), 1), "processor_ms_per_tile": round(cost_ms, 2)}
    report("phantoms", ratios={}, figures=figures)


if __name__ == "__main__":
    main()
