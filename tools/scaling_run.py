"""Build many synthetic records through every step, watch the memory of all processes, and draw it.

python tools/scaling_run.py [--records 200000] [--side 96] [--workers 2] [--engine local | ray] [--png docs/images/memory_200k.png]

Labelled images of noise (JPEG, each of its own) become image-text pairs and conversations; these are cleaned, searched for duplicates,
split, and exported as WebDataset tars and LLaVA's JSON. It prints the cost of each step, and its memory late over its memory early
(medians of the last and the second quarter of its time): 1.0 is flat. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import add_engine, engine_of
from eosin.config import load_recipe, read_recipe
from eosin.data_builders.cli import BUILDERS, Steps
from eosin.data_builders.questions import QuestionCounts
from eosin.data_builders.teaching import TeachingConfig, conversations_step, pairs_step, vocabulary_of
from eosin.images import encode_jpeg
from eosin.labels import LabelClass, LabelSet
from eosin.pipeline import Engine, Step, chunked, run_step
from eosin.records import LabelledImage

CLASSES = {"ADI": "adipose tissue", "LYM": "lymphocytes", "MUC": "mucus", "TUM": "tumour epithelium"}
IMAGES_A_SHARD = 1000
BLOCK_PX = 4
INTERVAL_S = 0.25


@dataclass(frozen=True)
class DrawNoise:
    """Labelled images of coloured blocks; picklable."""

    side: int

    def __call__(self, task: Task) -> Iterator[LabelledImage]:
        """Each from its own number alone."""
        cells = self.side // BLOCK_PX
        for number in range(task.start, task.stop):
            noise = np.random.default_rng(number).integers(96, 255, (cells, cells, 3), dtype=np.uint8)
            image = encode_jpeg(np.kron(noise, np.ones((BLOCK_PX, BLOCK_PX, 1), np.uint8)), quality=80)
            label = list(CLASSES)[number % len(CLASSES)]
            common: dict[str, Any] = {"source": "noise", "licence": "CC0-1.0", "group": f"G{number // 100}", "split": task.split}
            yield LabelledImage(id=f"noise/{number}", image=image, label=label, **common)


def steps(records: int, side: int, out: Path) -> Generator[Step, Artefact, None]:
    """The steps, one after another."""
    settings = {"records": records, "side": side}
    tasks = tuple(chunked("noise", "train", records, IMAGES_A_SHARD))
    plan = Plan("labelled_images", "build", settings, (), tasks, {"title": "Noise", "classes": list(CLASSES)})
    images = yield Step("labelled_images", plan, DrawNoise(side))
    labels = LabelSet({name: LabelClass(words) for name, words in CLASSES.items()})
    none = dict.fromkeys(("detail_open", "detail_closed", "class_mcq", "detail_mcq", "grounding", "caption", "report", "dialogue"), 0.0)
    teaching = TeachingConfig(train=QuestionCounts(class_open=1.0, class_closed=0.5, **none))
    vocabulary = vocabulary_of(teaching, labels)
    pairs = yield pairs_step("image_text", images, vocabulary, teaching)
    talks = yield conversations_step("conversations", images, vocabulary, teaching)
    yield from builder_steps("data/clean-captions", pairs, out / "clean", "rules.patient_data=null")
    yield from builder_steps("data/dedup", images, out / "dedup")
    yield from builder_steps("data/split", pairs, out / "split")
    yield from builder_steps("data/export-webdataset", pairs, out / "export")
    yield from builder_steps("data/export-llava", talks, out / "export")


def builder_steps(recipe: str, data: Artefact, out: Path, *overrides: str) -> Steps:
    """The steps of a shipped recipe, each named after its folder too."""
    builder = BUILDERS[str(read_recipe(recipe)["builder"])]
    work = builder.steps(load_recipe(builder.config, recipe, (f"data={data.path}", *overrides)), out)
    step = next(work, None)
    while step is not None:
        artefact = yield dataclasses.replace(step, name=f"{out.name}/{step.name}")
        try:
            step = work.send(artefact)
        except StopIteration:
            step = None


@dataclass
class Watch:
    """Memory of this process and all below it.

    Attributes:
        stage: what is being done.
        samples: (stage, seconds since the start, megabytes resident, all processes together; shared pages count in each).
    """

    stage: str = ""
    samples: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample until the block ends."""
        stop, begun = threading.Event(), time.monotonic()

        def sample() -> None:
            while not stop.wait(INTERVAL_S):
                self.samples.append((self.stage, time.monotonic() - begun, _resident_mb()))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _resident_mb() -> float:
    total, process = 0, psutil.Process()
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def measure(records: int, side: int, out: Path, engine: Engine) -> tuple[list[dict[str, Any]], Watch]:
    """Run the steps; the cost of each, and the memory samples."""
    found, watch = [], Watch()
    work = steps(records, side, out)
    with watch.running():
        step = next(work, None)
        while step is not None:
            watch.stage, begun = step.name, time.monotonic()
            artefact = run_step(step, out / step.name, engine)
            found.append(cost(artefact, step.name, time.monotonic() - begun, watch, found[-1]["records"] if found else records))
            try:
                step = work.send(artefact)
            except StopIteration:
                step = None
    return found, watch


def cost(artefact: Artefact, name: str, seconds: float, watch: Watch, before: int = 1) -> dict[str, Any]:
    """What a stage took, for a million records, and how its memory grew; `before`: the records of the stage before it."""
    # A search that finds nothing has no records: its cost is that of what it went through.
    count = artefact.manifest["counts"]["out"] or before
    size = sum(facts["size"] for facts in artefact.manifest["files"].values())
    memory = [megabytes for stage, _, megabytes in watch.samples if stage == name] or [0.0]
    quarter = max(1, len(memory) // 4)
    early, late = median(memory[quarter : 2 * quarter] or memory), median(memory[-quarter:])
    return {
        "step": name,
        "records": count,
        "seconds": round(seconds, 1),
        "records_per_second": round(count / seconds),
        "minutes_per_million": round(seconds / count * 1e6 / 60, 1),
        "gigabytes_per_million": round(size / count * 1e6 / 1e9, 2),
        "peak_mb": round(max(memory)),
        "late_over_early": round(late / early, 2) if early else 0.0,
    }


def print_table(found: list[dict[str, Any]]) -> None:
    """The costs, a line a stage."""
    columns = list(found[0])
    widths = [max(len(column), *(len(str(row[column])) for row in found)) for column in columns]
    for cells in (columns, *([str(row[column]) for column in columns] for row in found)):
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def draw(watch: Watch, title: str, path: Path) -> None:
    """The memory over time, steps told apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    for number, stage in enumerate(dict.fromkeys(stage for stage, _, _ in watch.samples)):
        points = [(seconds, megabytes) for name, seconds, megabytes in watch.samples if name == stage]
        seconds, megabytes = zip(*points, strict=True)
        axes.axvspan(seconds[0], seconds[-1], color=f"C{number}", alpha=0.12, linewidth=0)
        axes.plot(seconds, megabytes, color=f"C{number}", label=stage)
    axes.set(xlabel="seconds", ylabel="MB resident, all processes", title=title, ylim=(0, None))
    axes.legend(loc="lower right", ncols=3, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=96, help="of an image, in pixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--png", type=Path, help="draw the memory over time there")
    add_engine(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, engine_of(options) as engine:
        found, watch = measure(options.records, options.side, Path(folder), engine)
    print_table(found)
    if options.png:
        draw(watch, f"{options.records:,} records, {options.workers} workers, engine {options.engine}", options.png)
    settings = {name: getattr(options, name) for name in ("records", "side", "workers", "engine")}
    print(json.dumps({"tool": "scaling_run", **settings, "steps": found, "platform": platform.platform()}, sort_keys=True))


if __name__ == "__main__":
    main()
