"""Build a recipe twice, once undisturbed and once killed at random points, and compare every byte.

python tools/kill_and_resume.py RECIPE [KEY=VALUE ...] --out DIR [--kills 10] [--seed 0] [--workers 1]

A point is a number of finished shards and a moment after it, both drawn at random; there SIGKILL ends the command and its workers, and
the same command starts again. DIR/straight and DIR/killed are left for a look. The last line is one JSON object; the exit code is 1 where
a file differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from eosin.artefacts import open_artefact, verify

# What holds times and locks is outside every promise.
LEFT_OUT = ("run.json", ".lock")
LONGEST_DELAY_S = 0.2
POLL_S = 0.005


def start(recipe: str, overrides: list[str], out: Path, workers: int) -> subprocess.Popen[bytes]:
    """The command, in a session of its own, so that its workers can be killed with it."""
    command = [sys.executable, "-m", "eosin.cli", "build", recipe, *overrides, "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the command; its own words where it fails."""
    _, said = process.communicate()
    if process.returncode:
        sys.exit(f"the build failed with exit code {process.returncode}:\n{said.decode()}")


def finished_shards(out: Path) -> int:
    """How many tasks of all steps are done."""
    return sum(1 for _ in out.glob("*/_done/*-?????.json"))


def kill_at(process: subprocess.Popen[bytes], out: Path, shards: int, delay: float) -> bool:
    """Kill the command so long after so many shards are finished; whether it still ran."""
    while process.poll() is None and finished_shards(out) < shards:
        time.sleep(POLL_S)
    time.sleep(delay)
    ran = process.poll() is None
    if ran:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return ran


def contents(out: Path) -> dict[str, bytes]:
    """Every file that is promised to be the same."""
    found = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in LEFT_OUT)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def main() -> None:
    """Build, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_intermixed_args()
    straight, killed = options.out / "straight", options.out / "killed"
    finish(start(options.recipe, options.overrides, straight, options.workers))
    shards, draw = finished_shards(straight), random.Random(options.seed)
    points = sorted((draw.randrange(shards), round(LONGEST_DELAY_S * draw.random(), 3)) for _ in range(options.kills))
    hits = [kill_at(start(options.recipe, options.overrides, killed, options.workers), killed, *point) for point in points]
    finish(start(options.recipe, options.overrides, killed, options.workers))
    one, two = contents(straight), contents(killed)
    different = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    for manifest in killed.glob("*/manifest.json"):
        different += [f"{manifest.parent.name}: {problem}" for problem in verify(open_artefact(manifest.parent))]
    for (count, delay), hit in zip(points, hits, strict=True):
        print(f"{'killed' if hit else 'ended before'}: {delay:.3f} s after {count} of {shards} shards")
    print("\n".join(different) or f"all {len(one)} files are the same")
    print(json.dumps({"tool": "kill_and_resume", "kills": sum(hits), "shards": shards, "files": len(one), "different": different}))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
