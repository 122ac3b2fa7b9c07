"""The small demo, run once for every test that looks at its outcome, from the wheel in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the promise holds.
settings.register_profile("eosin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eosin")

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class SmallDemo:
    """A finished small demo: its folder, the interpreter that made it, and what it printed."""

    out: Path
    python: Path
    printed: str


def tracked_files() -> list[str]:
    """What git tracks and is there, relative to the checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True)
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    return tracked_files()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git tracks, so that nothing left over from another build gets in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)], check=True)
    return next(out.glob("eosin-*.whl"))


@pytest.fixture(scope="session")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the wheel and, by a path file, the tested libraries; no checkout on its path."""
    environment = tmp_path_factory.mktemp("clean") / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    site = next(environment.glob("lib/python*/site-packages"))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True)
    # A path file's folder is searched, but the path files in it (the editable install's among them) are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "python"


@pytest.fixture(scope="session")
def small_demo(clean_python: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallDemo:
    """`eosin demo --small --no-serve`, whole."""
    folder = tmp_path_factory.mktemp("demo")
    command = [str(clean_python), "-m", "eosin.cli", "demo", "--small", "--no-serve", "--out", str(folder / "out")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"the small demo failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}", pytrace=False)
    return SmallDemo(folder / "out", clean_python, done.stdout)
