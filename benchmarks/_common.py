"""What every benchmark script shares: its command line, fair timing beside a peer, the table, and the last line for machines.

    options = parse_options(__doc__)
    rates = alternate({"eosin": ours, "pillow": theirs}, rounds=5 if options.quick else 15)
    print_table(("decoder", "images/s"), [(name, f"{median(values):.0f}") for name, values in rates.items()])
    report("decode", ratios={"vs_pillow": ratio(rates, "eosin", "pillow")}, figures={})

Run as `python benchmarks/NAME.py`, Python finds this module beside the script.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from types import ModuleType
from typing import Any


def parse_options(description: str | None, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of every benchmark: `quick` asks for fewer and smaller rounds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: minutes become seconds, numbers become rough")
    return parser.parse_args(argv)


def require(module: str) -> ModuleType:
    """Import a peer, or end with exit code 1 and the name of the target that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        sys.exit(f"{module} is not installed ({error}); run: make bench-env")


def alternate(runs: Mapping[str, Callable[[], int]], *, rounds: int) -> dict[str, list[float]]:
    """Time competitors in one process, in alternating rounds, so that a change in the machine's load meets all of them alike.

    Args:
        runs: name -> a function that does the work once and returns how many items it did.
        rounds: timed rounds; one more runs before them, untimed. The order within a round rotates from round to round.

    Returns:
        name -> items per second, one value a round.
    """
    for run in runs.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            items = runs[name]()
            rates[name].append(items / (time.perf_counter() - start))
        order = order[1:] + order[:1]
    return rates


def ratio(rates: Mapping[str, Sequence[float]], ours: str, peer: str) -> float:
    """Throughput of `ours` over that of `peer`: the median of the rounds' own ratios, each of which compares neighbours in time."""
    return round(median(mine / theirs for mine, theirs in zip(rates[ours], rates[peer], strict=True)), 4)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """What the numbers were measured on: processor, cores this process may use, memory, versions of the named packages."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("eosin", "numpy", *packages)},
    }


def report(benchmark: str, *, ratios: Mapping[str, float], figures: Mapping[str, Any], packages: Sequence[str] = ()) -> None:
    """Print the last line of a benchmark: one JSON object.

    Args:
        benchmark: the script's name without `.py`.
        ratios: Eosin beside a peer in the same run; `vs_` keys are throughput over the peer's.
        figures: absolute numbers and settings.
        packages: distributions whose versions belong to the result.
    """
    result = {"benchmark": benchmark, "ratios": dict(ratios), "figures": dict(figures), "machine": machine(packages)}
    print(json.dumps(result, sort_keys=True), flush=True)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())
    except OSError:
        return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
