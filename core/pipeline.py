"""Builders as steps over artefacts, run by an engine.

A step plans its tasks, then makes each task's records independently of all others: a map. A reduce (duplicates, splits,
clusters) is a step whose plan has one task and whose `produce` reads every shard of its input. An engine only runs tasks;
what is done and what is left is decided by the done files, so every engine resumes alike and gives the same bytes.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task, open_artefact
from eosin.artefacts.writer import write_shard
from eosin.errors import ArtefactError, BackendError, ConfigError
from eosin.progress import bar, say
from eosin.records import Record, Reject, half_vectors

NamedTask = tuple[str, Task]
Produce = Callable[[Task], Iterable[Record | Reject]]
Work = Callable[[NamedTask], dict[str, Any]]

# So many tasks a worker are handed out beforehand: none waits for the next one, and a plan of any length is never queued whole.
TASKS_AHEAD = 2


@dataclass(frozen=True)
class Resources:
    """What one worker of a step takes.

    Attributes:
        cpus: cores, such as the threads of a model.
        gpus: GPUs; a fraction shares one among several workers.
        model: what is loaded at the first task is dear and kept for the next ones. On this machine such a step runs in one process,
            whose model uses the cores itself; on Ray in actors.
        here: the step waits for a server and keeps one account of it: every engine runs it in the process of the command.
    """

    cpus: int = 1
    gpus: float = 0.0
    model: bool = False
    here: bool = False

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0:
            raise ConfigError(f"a worker takes at least one core and no negative share of a GPU; got {self.cpus} and {self.gpus}")


class Engine(Protocol):
    """Runs a picklable function over tasks, in any order, and hands back each result."""

    def run(self, tasks: list[NamedTask], function: Work, resources: Resources) -> Iterator[dict[str, Any]]:
        """Results in the order in which they finish."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine; one worker, or a step that keeps a model, runs in this process.

    Processes are spawned, never forked: libraries with threads (FAISS, torch) do not survive a fork.
    """

    workers: int = 1

    def run(self, tasks: list[NamedTask], function: Work, resources: Resources) -> Iterator[dict[str, Any]]:
        """See `Engine`.

        Raises:
            BackendError: a worker process died (killed, or out of memory); finished shards are kept.
        """
        workers = min(self.workers, len(tasks))
        if workers <= 1 or resources.model or resources.here:
            yield from map(function, tasks)
            return
        context, left = multiprocessing.get_context("spawn"), iter(tasks)
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_take_up, initargs=(function,)) as pool:
            running = {pool.submit(_work, task) for task in itertools.islice(left, TASKS_AHEAD * workers)}
            try:
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    running |= {pool.submit(_work, task) for task in itertools.islice(left, len(done))}
                    for future in done:
                        yield future.result()
            except BrokenProcessPool as error:
                raise BackendError("a worker process died (killed, or out of memory); run the same command again, it resumes") from error
            finally:
                for future in running:
                    future.cancel()


# A worker process is sent the function once, not with every task: it may hold the file list of a large input.
_taken_up: list[Work] = []


def _take_up(function: Work) -> None:
    _taken_up[:] = [function]


def _work(task: NamedTask) -> dict[str, Any]:
    return _taken_up[0](task)


@dataclass(frozen=True)
class Step:
    """One artefact of a builder.

    Attributes:
        name: the folder below `--out`, and what messages call it.
        plan: decided before work starts.
        produce: makes a task's records; picklable, and a function of the task alone.
        paths: where the inputs lie on this machine, for `run.json`.
        results: asked once, when all shards are there: what the manifest tells beside the counts; a function of the plan alone. It may
            join what the tasks left in the artefact's scratch folder into one file.
        resources: what one of its workers takes.
        half_vectors: store vectors in float16.
    """

    name: str
    plan: Plan
    produce: Produce
    paths: Mapping[str, str] = field(default_factory=dict)
    results: Callable[[], Mapping[str, Any]] = dict
    resources: Resources = Resources()
    half_vectors: bool = False


def run_step(step: Step, out: Path, engine: Engine, *, overwrite: bool = False) -> Artefact:
    """Make the step's artefact in `out`; what is done already is not done again.

    Raises:
        ArtefactError: see `ArtefactWriter`, or shards were finished where this machine does not see them.
    """
    with ArtefactWriter(out, step.plan, overwrite=overwrite, paths=step.paths) as writer:
        tasks = writer.pending()
        if tasks or not writer.finished:
            work = functools.partial(_make_shard, writer.path.absolute(), step.plan.kind, step.produce, step.half_vectors)
            with bar(step.name, total=len(tasks)) as moving:
                for sidecar in engine.run(tasks, work, step.resources):
                    moving.advance(note=f"{sidecar['out']} records")
            if unseen := len(writer.pending()):
                raise ArtefactError(
                    f"{unseen} of {len(tasks)} shards were finished, but {out} here does not hold them: workers on other machines must "
                    "write to the same folder; name one on a file system that all of them share"
                )
            artefact = writer.finish(step.results())
        else:
            artefact = open_artefact(writer.path)
    counts = artefact.manifest["counts"]
    refused = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
    say(f"{step.name}: {counts['out']} records in {out}" + (f"; rejected: {refused} (see rejects/rejects.parquet)" if refused else ""))
    if across := artefact.manifest.get("groups_across_splits"):
        named = "; ".join(f"{group} in {' and '.join(splits)}" for group, splits in list(across["examples"].items())[:3])
        say(f"warning: {step.name}: {across['count']} groups are in several splits ({named}): scores over these splits are too high")
    return artefact


def _make_shard(folder: Path, kind: str, produce: Produce, half: bool, named: NamedTask) -> dict[str, Any]:
    name, task = named
    return write_shard(folder, kind, name, task.split, produce(task), half_vectors(kind) if half else None)


def chunked(source: str, split: str, count: int, size: int) -> list[Task]:
    """`count` items of one split as tasks of at most `size` items."""
    return [Task(source, start, min(start + size, count), split) for start in range(0, count, size)]
