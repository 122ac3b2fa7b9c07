"""Builders as steps over artefacts, run by an engine.

A step plans its tasks, then makes each task's records independently of all others: a map. A reduce (duplicates, splits,
clusters) is a step whose plan has one task and whose `produce` reads every shard of its input. An engine only runs tasks;
what is done and what is left is decided by the done files, so every engine resumes alike and gives the same bytes.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task, open_artefact
from eosin.artefacts.writer import write_shard
from eosin.errors import BackendError
from eosin.progress import bar, say
from eosin.records import Record, Reject

NamedTask = tuple[str, Task]
Produce = Callable[[Task], Iterable[Record | Reject]]


class Engine(Protocol):
    """Runs a picklable function over tasks, in any order, and hands back each result."""

    def run(self, tasks: list[NamedTask], function: Callable[[NamedTask], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Results in the order in which they finish."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine; one worker runs in this process.

    Processes are spawned, never forked: libraries with threads (FAISS, torch) do not survive a fork.
    """

    workers: int = 1

    def run(self, tasks: list[NamedTask], function: Callable[[NamedTask], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """See `Engine`.

        Raises:
            BackendError: a worker process died (killed, or out of memory); finished shards are kept.
        """
        if self.workers <= 1 or len(tasks) <= 1:
            yield from map(function, tasks)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(self.workers, len(tasks)), mp_context=context) as pool:
            waiting = {pool.submit(function, task) for task in tasks}
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            except BrokenProcessPool as error:
                raise BackendError("a worker process died (killed, or out of memory); run the same command again, it resumes") from error
            finally:
                for future in waiting:
                    future.cancel()


@dataclass(frozen=True)
class Step:
    """One artefact of a builder.

    Attributes:
        name: the folder below `--out`, and what messages call it.
        plan: decided before work starts.
        produce: makes a task's records; picklable, and a function of the task alone.
        paths: where the inputs lie on this machine, for `run.json`.
        results: asked once, when all shards are there: what the manifest tells beside the counts; a function of the plan alone.
    """

    name: str
    plan: Plan
    produce: Produce
    paths: Mapping[str, str] = field(default_factory=dict)
    results: Callable[[], Mapping[str, Any]] = dict


def run_step(step: Step, out: Path, engine: Engine, *, overwrite: bool = False) -> Artefact:
    """Make the step's artefact in `out`; what is done already is not done again.

    Raises:
        ArtefactError: see `ArtefactWriter`.
    """
    with ArtefactWriter(out, step.plan, overwrite=overwrite, paths=step.paths) as writer:
        tasks = writer.pending()
        if tasks or not writer.finished:
            work = functools.partial(_make_shard, writer.path, step.plan.kind, step.produce)
            with bar(step.name, total=len(tasks)) as moving:
                for sidecar in engine.run(tasks, work):
                    moving.advance(note=f"{sidecar['out']} records")
            artefact = writer.finish(step.results())
        else:
            artefact = open_artefact(writer.path)
    counts = artefact.manifest["counts"]
    refused = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
    say(f"{step.name}: {counts['out']} records in {out}" + (f"; rejected: {refused} (see rejects/rejects.parquet)" if refused else ""))
    return artefact


def _make_shard(folder: Path, kind: str, produce: Produce, named: NamedTask) -> dict[str, Any]:
    name, task = named
    return write_shard(folder, kind, name, task.split, produce(task))


def chunked(source: str, split: str, count: int, size: int) -> list[Task]:
    """`count` items of one split as tasks of at most `size` items."""
    return [Task(source, start, min(start + size, count), split) for start in range(0, count, size)]
