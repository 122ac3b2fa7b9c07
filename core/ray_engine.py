"""Steps on a Ray cluster: tasks for plain work, actors for work that keeps a model, both over the tasks of the plan.

Ray Core, not Ray Data: the plan's tasks are the blocks, their done files the checkpoint, and a bad record is a reject of its own, where
Ray Data drops the block around it. A task whose worker dies is run again, here and not by Ray, which repeats a task without end that
runs out of memory. Usage statistics and dashboard are off; a cluster that is started here takes nobody's work who has not its token, for
Ray listens on every network of the machine.

Every machine of a cluster needs this version of Eosin, and sees inputs and output at the same paths (a shared file system).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from eosin import __version__
from eosin.errors import BackendError, ConfigError, InputError, MissingDependency
from eosin.pipeline import TASKS_AHEAD, NamedTask, Resources, Work
from eosin.progress import say

# A task is given up when so many of its workers died.
MAX_DEATHS = 3
# Tasks and results are names and counts: Ray's default, a third of the memory, would lie idle.
_OBJECT_STORE_BYTES = 128 << 20
_PATIENCE_S = 30.0
_KNOCK_S = 10.0


class RayEngine:
    """Runs tasks on Ray; a context manager, connected at the first task.

    Args:
        address: of an existing cluster, `HOST:PORT` or `auto`; empty starts one on this machine and stops it at the end.
        workers: cores of a cluster that is started here.
        patience: seconds without a result after which it is said what the cluster has free.
    """

    def __init__(self, address: str = "", workers: int = 1, *, patience: float = _PATIENCE_S) -> None:
        self._address = address
        self._workers = max(1, workers)
        self._patience = patience
        self._connected = False

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connected:
            _import_ray().shutdown()
            self._connected = False

    def run(self, tasks: list[NamedTask], function: Work, resources: Resources) -> Iterator[dict[str, Any]]:
        """See `eosin.pipeline.Engine`.

        Raises:
            MissingDependency: Ray is not installed.
            ConfigError: the cluster cannot be reached, or no machine of it has what a worker takes.
            InputError: a worker does not see this command's folder, or has another version of Eosin.
            BackendError: `MAX_DEATHS` workers died over one task; finished shards are kept.
        """
        if not tasks:
            return
        if resources.here:
            yield from map(function, tasks)
            return
        ray = self._connect()
        wanted, size = _share_out(ray, resources, len(tasks))
        left, deaths, patient = deque(tasks), Counter[str](), True
        crew = (_Actors if resources.model or resources.gpus else _Tasks)(ray, _Job(_Home(), function), wanted, size)
        try:
            while left or crew.tasks:
                while left and crew.has_room():
                    crew.start(left.popleft())
                done, _ = ray.wait(list(crew.running), num_returns=1, timeout=self._patience)
                if done:
                    named, result = _collect(ray, crew, done[0], deaths)
                    if result is not None:
                        yield result
                    elif named is not None:
                        left.appendleft(named)
                elif patient:
                    _tell_what_is_free(ray, wanted)
                patient = patient and bool(done)
        finally:
            crew.dismiss()

    def _connect(self) -> Any:
        if not self._address:
            _ask_for_a_token()
        ray = _import_ray()
        if ray.is_initialized():
            return ray
        _knock(self._address)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not self._address:
            options |= {"num_cpus": self._workers, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            ray.init(address=self._address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {self._address}" if self._address else "a Ray cluster on this machine"
            hint = "see `ray status` there" if self._address else "see the logs in /tmp/ray/session_latest/logs"
            raise ConfigError(f"{where} cannot be used ({error}); {hint}, or leave out --engine ray") from error
        self._connected = True
        return ray


def _knock(address: str) -> None:
    """Whether anybody listens at `HOST:PORT`: Ray itself tries for minutes.

    Raises:
        ConfigError: nobody does.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster answers at {address} ({error}); `ray status` on its head tells the address") from error


def _ask_for_a_token() -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _import_ray() -> Any:
    """Ray, which phones home unless told not to before it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependency("ray", "ray") from error
    return ray


@dataclass(frozen=True)
class _Home:
    """Where the command runs: on every worker, the relative paths of its recipe mean the same."""

    folder: str = field(default_factory=os.getcwd)
    version: str = __version__

    def enter(self) -> None:
        if self.version != __version__:
            raise InputError(f"{socket.gethostname()} has Eosin {__version__}, this command {self.version}; install one version everywhere")
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                f"a worker on {socket.gethostname()} cannot enter {self.folder} ({error.strerror}); run the command in a folder that all "
                "machines of the cluster share"
            ) from error


@dataclass(frozen=True)
class _Job:
    """What every worker of a step does."""

    home: _Home
    function: Work

    def __call__(self, named: NamedTask) -> dict[str, Any]:
        self.home.enter()
        return self.function(named)


class _Keeper:
    """An actor: what the job loads at its first task stays for the next ones."""

    def __init__(self, job: list[Any]) -> None:
        self._reference = job[0]
        self._job: _Job | None = None

    def get_ready(self) -> None:
        """Fetch the job; here, not in the constructor, whose errors lose their type."""
        self._job = _import_ray().get(self._reference)

    def work(self, named: NamedTask) -> dict[str, Any]:
        if self._job is None:
            raise BackendError("a worker was given a task before its job")
        return self._job(named)


def _run(job: _Job, named: NamedTask) -> dict[str, Any]:
    return job(named)


class _Crew(Protocol):
    """The workers of one step.

    Attributes:
        running: what Ray was asked for and has not answered; the task, or None where a worker is on its way.
    """

    running: dict[Any, NamedTask | None]

    @property
    def tasks(self) -> int:
        """How many tasks are under way."""
        ...

    def has_room(self) -> bool:
        """Whether another task can be started."""
        ...

    def start(self, named: NamedTask) -> None:
        """Start a task."""
        ...

    def release(self, answer: Any, *, alive: bool) -> NamedTask | None:
        """Take note of an answer, and of whether the worker lives; its task, if it was one."""
        ...

    def dismiss(self) -> None:
        """Stop all workers, and wait until none writes any more."""
        ...


class _Tasks:
    """Ray tasks: any free core takes the next one."""

    def __init__(self, ray: Any, job: _Job, wanted: Resources, size: int) -> None:
        self.running: dict[Any, NamedTask | None] = {}
        self._ray, self._size = ray, TASKS_AHEAD * size
        self._job = ray.put(job)
        self._remote = ray.remote(_run).options(num_cpus=wanted.cpus, max_retries=0)

    @property
    def tasks(self) -> int:
        return len(self.running)

    def has_room(self) -> bool:
        return len(self.running) < self._size

    def start(self, named: NamedTask) -> None:
        self.running[self._remote.remote(self._job, named)] = named

    def release(self, answer: Any, *, alive: bool) -> NamedTask | None:
        return self.running.pop(answer)

    def dismiss(self) -> None:
        # Nothing is cancelled: Ray aborts the whole process where a cancellation meets an answer. The few tasks on their way end, or go
        # with the cluster; what they finish is a checkpoint like any other.
        _await(self._ray, self.running)


class _Actors:
    """Ray actors, as many as the cluster holds; those it cannot start yet are never waited for."""

    def __init__(self, ray: Any, job: _Job, wanted: Resources, size: int) -> None:
        self.running: dict[Any, NamedTask | None] = {}
        self._ray = ray
        self._job = ray.put(job)
        self._class = ray.remote(_Keeper).options(num_cpus=wanted.cpus, num_gpus=wanted.gpus, max_restarts=0)
        self._workers: dict[Any, Any] = {}
        self._idle: list[Any] = []
        for _ in range(size):
            self._hire()

    @property
    def tasks(self) -> int:
        return sum(named is not None for named in self.running.values())

    def has_room(self) -> bool:
        return bool(self._idle)

    def start(self, named: NamedTask) -> None:
        actor = self._idle.pop()
        self._expect(actor, actor.work.remote(named), named)

    def release(self, answer: Any, *, alive: bool) -> NamedTask | None:
        actor = self._workers.pop(answer)
        if alive:
            self._idle.append(actor)
        else:
            self._hire()
        return self.running.pop(answer)

    def dismiss(self) -> None:
        for actor in (*self._workers.values(), *self._idle):
            self._ray.kill(actor)
        _await(self._ray, self.running)

    def _hire(self) -> None:
        # In a list, the reference reaches the actor as a reference.
        actor = self._class.remote([self._job])
        self._expect(actor, actor.get_ready.remote(), None)

    def _expect(self, actor: Any, answer: Any, named: NamedTask | None) -> None:
        self._workers[answer] = actor
        self.running[answer] = named


def _await(ray: Any, answers: Collection[Any]) -> None:
    """Until every answer is there, be it that its worker is gone; not for ever, for a machine may be gone as well."""
    if answers:
        ray.wait(list(answers), num_returns=len(answers), timeout=_PATIENCE_S)


def _collect(ray: Any, crew: _Crew, answer: Any, deaths: Counter[str]) -> tuple[NamedTask | None, dict[str, Any] | None]:
    """An answer's task and result; without a result, the task's worker died and it is to be run again.

    Raises:
        BackendError: too many workers died over this task.
        Exception: what the task itself raised.
    """
    try:
        result = ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        # Ray's own class of the error only names the one that was raised. Ray's own errors are of a worker that cannot import the step.
        ours = isinstance(error.cause, Exception) and not isinstance(error.cause, ray.exceptions.RayError)
        raise (error.cause if ours else BackendError(f"a Ray worker cannot run the step: {_first_line(error.cause or error)}")) from error
    except ray.exceptions.RayError as error:
        named = crew.running[answer]
        name = named[0] if named else "before its first task"
        deaths[name] += 1
        why = _first_line(error)
        if deaths[name] >= MAX_DEATHS:
            raise BackendError(
                f"{deaths[name]} workers died over the same task ({name}): {why}. Killed, or out of memory; run the same command again, "
                "it resumes"
            ) from error
        say(f"a worker died ({name}: {why}); its task is run again")
        return crew.release(answer, alive=False), None
    return crew.release(answer, alive=True), result


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _share_out(ray: Any, resources: Resources, tasks: int) -> tuple[Resources, int]:
    """What a worker takes, its cores cut to those of the largest machine, and how many workers the cluster holds.

    Raises:
        ConfigError: it holds none: Ray would wait without end.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = [node for node in nodes if node.get("GPU", 0) >= resources.gpus and node.get("CPU", 0) >= 1]
    if not fitting:
        had = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ConfigError(
            f"a worker of this step takes a CPU and {resources.gpus:g} GPUs; no machine of the Ray cluster has them ({had}); add one, or "
            "ask for less, such as --device cpu"
        )
    cpus = min(resources.cpus, int(max(node["CPU"] for node in fitting)))
    size = sum(int(min(node["CPU"] // cpus, node["GPU"] // resources.gpus if resources.gpus else tasks)) for node in fitting)
    return Resources(cpus, resources.gpus, resources.model), max(1, min(size, tasks))


def _tell_what_is_free(ray: Any, wanted: Resources) -> None:
    free, there = ray.available_resources(), ray.cluster_resources()
    say(
        f"ray: no task has finished for a while; free in the cluster: {free.get('CPU', 0):g} of {there.get('CPU', 0):g} CPUs, "
        f"{free.get('GPU', 0):g} of {there.get('GPU', 0):g} GPUs; a worker of this step takes {wanted.cpus} and {wanted.gpus:g}"
    )
