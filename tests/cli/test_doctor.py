"""`eosin doctor` names what does not work, with the command that mends it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from eosin import __version__
from eosin.cli import doctor, main
from eosin.cli.doctor import Finding


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Modules put into this set cannot be found any more."""
    gone: set[str] = set()
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in gone else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    return gone


def test_a_missing_library_is_named_with_the_extra_that_brings_it(without: set[str]) -> None:
    assert all(finding.works for finding in doctor.packages())
    without |= {"peft", "bitsandbytes", "h5py", "uvicorn", "jinja2"}
    missing = {finding.what: finding for finding in doctor.packages() if not finding.works}
    assert set(missing) == {"packages for llm", "packages for slides", "packages for eval", "packages for serve"}
    assert (missing["packages for serve"].found, missing["packages for eval"].found) == ("missing: uvicorn", "missing: jinja2")
    assert missing["packages for llm"].found == "missing: peft, bitsandbytes"
    assert missing["packages for llm"].mend == 'pip install "eosin[llm]"'
    assert missing["packages for slides"].mend == 'pip install "eosin[slides]"'


@pytest.mark.parametrize(
    ("module", "check", "extra"),
    [("torch", doctor.torch_and_gpu, "clip"), ("openslide", doctor.openslide, "slides"), ("aiohttp", doctor.vllm, "serve")],
)
def test_a_check_without_its_library_says_how_to_get_it(without: set[str], module: str, check: Callable[[], Finding], extra: str) -> None:
    without.add(module)
    finding = check()
    assert not finding.works
    assert finding.mend == f'pip install "eosin[{extra}]"'


def test_openslide_is_asked_for_its_library() -> None:
    finding = doctor.openslide()
    assert finding.works, finding.found
    assert finding.found.startswith("library ")


def test_vllm_is_started_to_see_that_it_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("eosin.serve.vllm_env.find_python", lambda: None)
    assert doctor.vllm().mend == "eosin doctor --install-vllm"

    python = tmp_path / "python"
    monkeypatch.setattr("eosin.serve.vllm_env.find_python", lambda: python)
    for script, works, words in [
        ("#!/bin/sh\necho loading\necho 9.9.9\n", True, "9.9.9 in"),
        ("#!/bin/sh\necho no module named vllm >&2\nexit 1\n", False, "no module named vllm"),
    ]:
        python.write_text(script)
        python.chmod(0o755)
        finding = doctor.vllm()
        assert (finding.works, words in finding.found) == (works, True), finding
    python.chmod(0o644)
    assert "does not run" in doctor.vllm().found


@pytest.mark.parametrize(
    ("cuda", "visible", "found", "mend"),
    [
        (None, None, "built for the CPU", "pip install --force-reinstall"),
        ("13.0", "-1", "CUDA_VISIBLE_DEVICES='-1'", "unset CUDA_VISIBLE_DEVICES"),
        ("13.0", "", "CUDA_VISIBLE_DEVICES=''", "unset CUDA_VISIBLE_DEVICES"),
        ("13.0", None, "torch (CUDA 13.0) cannot use it", "update the NVIDIA driver to one for CUDA 13.0"),
    ],
)
def test_a_gpu_that_torch_cannot_use_does_not_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: str | None, visible: str | None, found: str, mend: str
) -> None:
    import torch

    nvidia_smi(monkeypatch, tmp_path, "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo '  MIG 1g.18gb Device 0: (UUID: MIG-2)'")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    finding = doctor.torch_and_gpu()
    assert not finding.works
    assert finding.found.startswith("NVIDIA H200, ")
    assert found in finding.found
    assert finding.mend.startswith(mend)


def test_no_gpu_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nvidia_smi(monkeypatch, tmp_path, "echo 'NVIDIA-SMI has failed: no driver'; exit 9")
    assert (doctor.torch_and_gpu().works, doctor.nvidia_gpus()) == (True, [])
    (tmp_path / "nvidia-smi").unlink()
    assert (doctor.torch_and_gpu().works, doctor.nvidia_gpus()) == (True, [])


def nvidia_smi(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """A program of that name, the only one to be found."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def set_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int, limit: int | None) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**30 // 4096 * gigabytes}
    monkeypatch.setattr(doctor.os, "sysconf", pages.__getitem__)
    monkeypatch.setattr(doctor, "memory_limit", lambda: limit)


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(monkeypatch, 4, None)
    finding = doctor.memory()
    assert (finding.works, finding.found, finding.mend) == (False, "4.0 GB", "the demo needs 6 GB")


def test_a_container_has_no_more_memory_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(monkeypatch, 64, 2 * 2**30)
    finding = doctor.memory()
    assert (finding.works, finding.found) == (False, "2.0 GB (the limit of this container; the machine has 64.0 GB)")
    assert "--memory" in finding.mend
    set_memory(monkeypatch, 64, 2**63 - 4096)
    assert (doctor.memory().works, doctor.memory().found) == (True, "64.0 GB")


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"memory.max": "2147483648"}, 2147483648),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/a/b", {"a/memory.max": "100", "a/b/memory.max": "max"}, 100),
        ("0::/../outside", {"memory.max": "100"}, 100),
        ("12:cpu:/x\n9:memory:/docker/1", {"memory/memory.limit_in_bytes": "100"}, 100),
        ("9:memory:/docker/1\n0::/", {"memory/docker/1/memory.limit_in_bytes": "50", "memory/memory.limit_in_bytes": "100"}, 50),
        ("9:cpu:/docker/1", {"memory.max": "100"}, None),
        (None, {"memory.max": "100"}, None),
    ],
)
def test_the_lowest_limit_of_the_control_groups_above_counts(
    tmp_path: Path, groups: str | None, files: dict[str, str], limit: int | None
) -> None:
    for name, text in {**{f"sys/fs/cgroup/{name}": text for name, text in files.items()}, "proc/self/cgroup": groups}.items():
        if text is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
    assert doctor.memory_limit(tmp_path) == limit


def test_every_finding_and_every_remedy_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = (Finding("GPU", True, "none: CPU"), Finding("vLLM", False, "no environment", "eosin doctor --install-vllm"))
    monkeypatch.setattr(doctor, "CHECKS", tuple(lambda finding=finding: finding for finding in found))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert f"Eosin {__version__}, Python" in shown
    assert "packages for serve" in shown
    assert "none: CPU" in shown
    assert "vLLM: eosin doctor --install-vllm" in shown.splitlines()
    assert "GPU:" not in shown


def test_installing_vllm_goes_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("eosin.serve.vllm_env.install", lambda target: target / "bin" / "python")
    assert main(["doctor", "--install-vllm", "--target", str(tmp_path)]) == 0
    assert str(tmp_path / "bin" / "python") in capsys.readouterr().err
