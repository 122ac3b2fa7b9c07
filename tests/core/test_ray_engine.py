"""Steps on a real Ray cluster of two cores: the same bytes as here, whoever dies, and no hang."""

from __future__ import annotations

import functools
import importlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from eosin.artefacts import Artefact, Plan, open_artefact, verify
from eosin.cli import main
from eosin.errors import BackendError, ConfigError, InputError
from eosin.pipeline import LocalEngine, Produce, Resources, Step, chunked, run_step
from eosin.ray_engine import RayEngine

# Workers import the function they run; a test module is not importable there, so it stands in one of its own.
MODULE = """
    import functools, os, signal, time
    from pathlib import Path
    from eosin.errors import InputError
    from eosin.records import Reject, Tile

    def produce(task, pause=0.0):
        for number in range(task.start, task.stop):
            time.sleep(pause)
            key = f"{task.split}{number}"
            if number % 7 == 3:
                yield Reject(key, "blank", "no tissue")
            else:
                yield Tile(id=f"s/{key}", source="s", licence="CC0-1.0", group=key, split=task.split, x=number, y=0, size=1, kept=True)

    def die_once(task, folder):
        if task.start == 60:
            mark = Path(folder) / "died"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        yield from produce(task)

    def die_always(task):
        if task.start == 60:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        yield from produce(task)

    def refuse(task):
        if task.start == 60:
            raise InputError("the file is not what it should be")
        yield from produce(task)

    def hold_a_core(seconds):
        time.sleep(seconds)

    @functools.cache
    def load(folder):
        (Path(folder) / f"{os.getpid()}-{os.environ.get('CUDA_VISIBLE_DEVICES')}").touch(exist_ok=False)

    def produce_with_model(task, folder):
        load(folder)
        yield from produce(task)

    def produce_from_file(task, path):
        Path(path).read_text()
        yield from produce(task)
"""
PLAIN, MODEL = Resources(), Resources(model=True)
PLAN = Plan("tiles", "build", {}, (), tuple(chunked("s", "train", 250, 30)))


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The functions that workers run; on the path of every process that is started from here."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "eosin_test_ray_work.py").write_text(textwrap.dedent(MODULE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("eosin_test_ray_work")


@pytest.fixture(scope="session")
def address(work: ModuleType) -> Iterator[str]:
    """A cluster of two cores and a GPU that is only said to be there; every `RayEngine` of this process joins it."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}
    import ray

    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100 << 20, "logging_level": 40}
    yield ray.init(address="local", num_cpus=2, num_gpus=1, **options).address_info["address"]
    ray.shutdown()


@pytest.fixture
def engine(address: str) -> RayEngine:
    return RayEngine(patience=3.0)


@pytest.fixture(scope="session")
def straight(work: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What this machine makes by itself."""
    out = tmp_path_factory.mktemp("straight") / "a"
    run_step(Step("tiles", PLAN, work.produce), out, LocalEngine())
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    left_out = ("run.json", ".lock")
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in left_out)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def build(out: Path, produce: Produce, engine: RayEngine, resources: Resources = PLAIN) -> Artefact:
    return run_step(Step("tiles", PLAN, produce, resources=resources), out, engine)


def test_the_bytes_are_those_of_this_machine_bad_records_among_good_ones(
    tmp_path: Path, work: ModuleType, engine: RayEngine, straight: dict[str, bytes]
) -> None:
    artefact = build(tmp_path / "a", work.produce, engine)
    assert artefact.manifest["counts"] == {"in": 250, "out": 214, "rejected": {"blank": 36}}
    assert contents(tmp_path / "a") == straight
    assert verify(artefact) == []


@pytest.mark.parametrize("resources", [PLAIN, MODEL], ids=["tasks", "actors"])
def test_a_worker_killed_in_the_middle_costs_one_task_again_and_nothing_else(
    tmp_path: Path,
    work: ModuleType,
    engine: RayEngine,
    straight: dict[str, bytes],
    resources: Resources,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build(tmp_path / "a", functools.partial(work.die_once, folder=str(tmp_path)), engine, resources)
    assert (tmp_path / "died").exists()
    assert "a worker died (train-00002" in capsys.readouterr().err
    assert contents(tmp_path / "a") == straight


@pytest.mark.parametrize("resources", [PLAIN, MODEL], ids=["tasks", "actors"])
def test_a_task_that_kills_every_worker_is_named_and_what_is_finished_stays(
    tmp_path: Path, work: ModuleType, engine: RayEngine, straight: dict[str, bytes], resources: Resources
) -> None:
    with pytest.raises(BackendError, match=r"3 workers died over the same task \(train-00002\).*it resumes"):
        build(tmp_path / "a", work.die_always, engine, resources)
    done = sorted(path.name for path in (tmp_path / "a/_done").glob("train-?????.json"))
    assert "train-00000.json" in done
    assert "train-00002.json" not in done
    run_step(Step("tiles", PLAN, work.produce), tmp_path / "a", LocalEngine())
    assert contents(tmp_path / "a") == straight


def test_what_a_task_raises_comes_back_as_it_was(tmp_path: Path, work: ModuleType, engine: RayEngine) -> None:
    with pytest.raises(InputError, match=r"^the file is not what it should be$") as caught:
        build(tmp_path / "a", work.refuse, engine)
    assert type(caught.value) is InputError


def test_a_model_is_loaded_once_an_actor_however_many_tasks_it_does(
    tmp_path: Path, work: ModuleType, engine: RayEngine, straight: dict[str, bytes]
) -> None:
    (tmp_path / "loads").mkdir()
    build(tmp_path / "a", functools.partial(work.produce_with_model, folder=str(tmp_path / "loads")), engine, MODEL)
    assert 1 <= len(list((tmp_path / "loads").iterdir())) <= 2
    assert contents(tmp_path / "a") == straight


def test_an_actor_with_a_gpu_is_given_one(tmp_path: Path, work: ModuleType, engine: RayEngine, straight: dict[str, bytes]) -> None:
    (tmp_path / "loads").mkdir()
    build(tmp_path / "a", functools.partial(work.produce_with_model, folder=str(tmp_path / "loads")), engine, Resources(gpus=1))
    assert [path.name.partition("-")[2] for path in (tmp_path / "loads").iterdir()] == ["0"]
    assert contents(tmp_path / "a") == straight


def test_more_gpus_than_any_machine_has_are_refused_at_once(tmp_path: Path, work: ModuleType, engine: RayEngine) -> None:
    with pytest.raises(ConfigError, match=r"a CPU and 2 GPUs; no machine .* \(2 CPUs, 1 GPUs\)"):
        build(tmp_path / "a", work.produce, engine, Resources(gpus=2))


@pytest.mark.parametrize("resources", [PLAIN, MODEL, Resources(cpus=64, model=True)], ids=["tasks", "actors", "big"])
def test_others_that_hold_a_core_of_two_do_not_make_it_hang(
    tmp_path: Path,
    work: ModuleType,
    engine: RayEngine,
    straight: dict[str, bytes],
    resources: Resources,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import ray

    other = ray.remote(work.hold_a_core).options(num_cpus=1).remote(5)
    while ray.available_resources().get("CPU", 0) != 1:
        time.sleep(0.05)
    build(tmp_path / "a", work.produce, engine, resources)
    # Whoever gets along with one core has not waited.
    assert bool(ray.wait([other], timeout=0)[0]) == (resources.cpus > 1)
    ray.get(other)
    assert contents(tmp_path / "a") == straight
    # A worker of both cores waits for the other's end, and says what it waits for.
    assert ("free in the cluster: 1 of 2 CPUs" in capsys.readouterr().err) == (resources.cpus > 2)


def test_relative_paths_mean_the_same_on_every_worker(
    tmp_path: Path, work: ModuleType, engine: RayEngine, straight: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/input.txt").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    build(Path("a"), functools.partial(work.produce_from_file, path="input.txt"), engine)
    assert contents(tmp_path / "here/a") == straight


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A few phantoms, with captions and conversations."""
    path = tmp_path / "recipe.yaml"
    cohort = {"train": {"patients": 2, "tiles": 3}, "test": {"patients": 1, "tiles": 3}}
    path.write_text(yaml.safe_dump({"builder": "phantoms", "size": 64, "mpp": 1.75, "splits": cohort, "slides": {"count": 0}}))
    return path


def test_the_command_builds_on_an_existing_cluster_by_its_address(tmp_path: Path, recipe: Path, address: str) -> None:
    assert main(["build", str(recipe), "--out", str(tmp_path / "local"), "--workers", "1"]) == 0
    command = [sys.executable, "-m", "eosin.cli", "build", recipe.name, "--out", "ray", "--engine", "ray", "--ray-address", address]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_an_address_without_the_engine_is_refused(tmp_path: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(recipe), "--out", str(tmp_path / "a"), "--ray-address", "auto"]) == 2
    assert "--ray-address auto is for --engine ray" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("nonsense", "the Ray cluster at nonsense cannot be used .Invalid address format"),
    ],
)
def test_a_cluster_that_is_not_there_is_an_error_at_once(tmp_path: Path, recipe: Path, address: str, message: str) -> None:
    arguments = ["build", str(recipe), "--out", str(tmp_path / "a"), "--engine", "ray", "--ray-address", address]
    # In a process of its own: this one may be connected to a cluster already.
    done = subprocess.run([sys.executable, "-m", "eosin.cli", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr)


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from eosin_test_ray_work import produce
from eosin.artefacts import Plan
from eosin.pipeline import Step, chunked, run_step
from eosin.ray_engine import RayEngine

if __name__ == "__main__":
    plan = Plan("tiles", "build", {}, (), tuple(chunked("s", "train", 250, 30)))
    with RayEngine(workers=2) as engine:
        run_step(Step("tiles", plan, partial(produce, pause=float(sys.argv[2]))), Path(sys.argv[1]), engine)
"""


def test_a_command_killed_with_its_own_cluster_leaves_no_worker_and_resumes(
    tmp_path: Path, work: ModuleType, straight: dict[str, bytes]
) -> None:
    script, done = tmp_path / "script.py", tmp_path / "a/_done"
    script.write_text(SCRIPT)
    left_out = ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, str(script), str(tmp_path / "a")]
    process = subprocess.Popen([*command, "0.05"], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(done.glob("*.json")):
        time.sleep(0.05)
    children = _below(process.pid)
    assert any("raylet" in _command_line(child) for child in children)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "a/manifest.json").exists()
    # Ray's two agents end a minute later, when they give up reporting to the head that is gone; they do no task.
    deadline = time.monotonic() + 30
    while (left := [line for line in map(_command_line, children) if line and "Agent" not in line]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    assert subprocess.run([*command, "0"], env=environment, capture_output=True, timeout=100, check=False).returncode == 0
    assert verify(open_artefact(tmp_path / "a")) == []
    assert contents(tmp_path / "a") == straight


def _below(parent: int) -> list[int]:
    """All processes below one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, new = [], [parent]
    while new:
        new = [child for child, above in parents.items() if above in new]
        found += new
    return found


def _command_line(process: int) -> str:
    """Empty where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_nothing_is_reported_home_and_no_dashboard_is_served(address: str) -> None:
    import ray
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert not ray._private.worker.get_dashboard_url()
