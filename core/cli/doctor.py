"""`eosin doctor`: what this machine can run, and the exact command that mends what it cannot."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from eosin import __version__
from eosin.progress import say, show, show_table

_LOWEST_MEMORY_GB = 6.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` is the command that helps where `works` is False."""

    what: str
    works: bool
    found: str
    mend: str = ""


# What each stage cannot do without: module, distribution, extra.
_PACKAGES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "slides": (("openslide", "openslide-python", "slides"), ("h5py", "h5py", "slides")),
    "data": (("datasets", "datasets", "data"), ("faiss", "faiss-cpu", "data")),
    "clip": (("torch", "torch", "clip"), ("open_clip", "open_clip_torch", "clip"), ("transformers", "transformers", "clip")),
    "llm": (("peft", "peft", "llm"), ("accelerate", "accelerate", "llm"), ("bitsandbytes", "bitsandbytes", "llm")),
    "eval": (
        ("sklearn", "scikit-learn", "eval"),
        ("sacrebleu", "sacrebleu", "eval"),
        ("matplotlib", "matplotlib", "eval"),
        ("jinja2", "jinja2", "eval"),
    ),
    "serve": (
        ("fastapi", "fastapi", "serve"),
        ("uvicorn", "uvicorn", "serve"),
        ("gradio", "gradio", "serve"),
        ("aiohttp", "aiohttp", "serve"),
    ),
    "ray": (("ray", "ray", "ray"),),
}


def packages() -> list[Finding]:
    """Each stage's libraries, looked up without importing them."""
    findings = []
    for stage, wanted in _PACKAGES.items():
        missing = [distribution for module, distribution, _ in wanted if importlib.util.find_spec(module) is None]
        present = ", ".join(f"{distribution} {_version(distribution)}" for module, distribution, _ in wanted if distribution not in missing)
        extras = ",".join(sorted({extra for _, distribution, extra in wanted if distribution in missing}))
        found = present if not missing else f"missing: {', '.join(missing)}"
        findings.append(Finding(f"packages for {stage}", not missing, found, f'pip install "eosin[{extras}]"' if missing else ""))
    return findings


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(no version)"


def torch_and_gpu() -> Finding:
    """torch, imported for real: a broken build is found here and not in the middle of a run."""
    if importlib.util.find_spec("torch") is None:
        return Finding("GPU", False, "torch is not installed", 'pip install "eosin[clip]"')
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        return Finding("GPU", False, f"torch does not import: {error}", "pip install --force-reinstall torch torchvision")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        return Finding("GPU", True, f"{names}; torchvision {torchvision.__version__}")
    idle = nvidia_gpus()
    if idle:
        return _unused_gpu(", ".join(idle), torch.version.cuda)
    return Finding(
        "GPU", True, f"none: CPU with {torch.get_num_threads()} threads, enough for the demo; torchvision {torchvision.__version__}"
    )


def nvidia_gpus() -> list[str]:
    """The GPUs that the driver knows, such as `NVIDIA H200`, whatever torch makes of them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [line.partition(": ")[2].partition(" (UUID")[0] for line in lines if line.startswith("GPU ")]


def _unused_gpu(names: str, cuda: str | None) -> Finding:
    """Why torch does not see GPUs that are there: it is built for the CPU, a variable hides them, or the driver does not fit its CUDA."""
    if cuda is None:
        mend = "pip install --force-reinstall torch torchvision  # from an index of CUDA builds, as the default one is on Linux"
        return Finding("GPU", False, f"{names}, but this torch is built for the CPU", mend)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("GPU", False, f"{names}, hidden by CUDA_VISIBLE_DEVICES={hidden!r}", "unset CUDA_VISIBLE_DEVICES")
    mend = f"update the NVIDIA driver to one for CUDA {cuda} (`nvidia-smi` shows what yours is for), or install a torch built for yours"
    return Finding("GPU", False, f"{names}, but torch (CUDA {cuda}) cannot use it", mend)


def openslide() -> Finding:
    """OpenSlide with its C library."""
    if importlib.util.find_spec("openslide") is None:
        return Finding("OpenSlide", False, "not installed", 'pip install "eosin[slides]"')
    try:
        import openslide as library
    except (ImportError, OSError) as error:
        return Finding("OpenSlide", False, f"its C library does not load: {error}", "pip install openslide-bin")
    return Finding("OpenSlide", True, f"library {library.__library_version__}")


def vllm() -> Finding:
    """vLLM in its own environment, asked for its version."""
    mend = "eosin doctor --install-vllm"
    if importlib.util.find_spec("aiohttp") is None:
        return Finding("vLLM", False, "the serve packages are missing", 'pip install "eosin[serve]"')
    from eosin.serve.vllm_env import find_python

    python = find_python()
    if python is None:
        return Finding("vLLM", False, "no environment (the transformers backend serves without it)", mend)
    script = "import vllm; print(vllm.__version__)"
    try:
        done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("vLLM", False, f"{python} does not run: {error}", mend)
    if done.returncode:
        return Finding("vLLM", False, f"{python}: {done.stderr.strip().splitlines()[-1:] or 'fails'}", mend)
    return Finding("vLLM", True, f"{done.stdout.strip().splitlines()[-1]} in {python}")


def memory() -> Finding:
    """Main memory, or what a container may use of it, against what the demo needs."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    total = machine if limit is None else min(machine, limit)
    found = f"{total / 2**30:.1f} GB" + (
        f" (the limit of this container; the machine has {machine / 2**30:.1f} GB)" if total < machine else ""
    )
    mend = f"the demo needs {_LOWEST_MEMORY_GB:.0f} GB" + (
        ": raise the container's limit, such as docker run --memory 8g" if total < machine else ""
    )
    return Finding("memory", total >= _LOWEST_MEMORY_GB * 2**30, found, mend)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The bytes that control groups leave to this process, None where they set no limit.

    A limit of any group above counts, and a container may see its own group as the top one (man 7 cgroups). Version 2 has one tree,
    version 1 one for memory; a limit that is none is `max` there, and more than any machine has here.

    Args:
        root: of the file system.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        below = PurePosixPath(group.lstrip("/"))
        limits += [_number(top / folder / name) for folder in (below, *below.parents)]
    return min((limit for limit in limits if limit is not None), default=None)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def disk() -> Finding:
    """Free space where the demo would write."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("disk", free >= 2, f"{free:.1f} GB free in {Path.cwd()}", "free some space, or run elsewhere")


def chromium() -> Finding:
    """A browser, for the browser tests only."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return Finding("Chromium (tests only)", found is not None, found or "none", "apt-get install chromium")


CHECKS: tuple[Callable[[], Finding], ...] = (torch_and_gpu, openslide, vllm, memory, disk, chromium)


def main(argv: list[str]) -> None:
    """Look at the machine, or with `--install-vllm` build vLLM's environment."""
    parser = argparse.ArgumentParser(prog="eosin doctor", description="What this machine can run.", allow_abbrev=False)
    parser.add_argument("--install-vllm", action="store_true", help="build vLLM's own environment")
    parser.add_argument(
        "--target", metavar="DIR", type=Path, help="where that environment goes (default: .venv-vllm in a checkout, else yours)"
    )
    arguments = parser.parse_args(argv)
    if arguments.install_vllm:
        from eosin.serve.vllm_env import default_target, install

        say(f"vLLM's environment: {install(arguments.target or default_target())}")
        return
    show(f"Eosin {__version__}, Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} cores")
    findings = [*packages(), *(check() for check in CHECKS)]
    show_table("", ["what", "", "found"], [(item.what, "works" if item.works else "-", item.found) for item in findings])
    for item in findings:
        if not item.works:
            show(f"{item.what}: {item.mend}")
