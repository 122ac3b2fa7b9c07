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
    without |= {"peft", "bitsandbytes", "h5py"}
    missing = {finding.what: finding for finding in doctor.packages() if not finding.works}
    assert set(missing) == {"packages for llm", "packages for slides"}
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


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**30 // 4096 * 4}
    monkeypatch.setattr(doctor.os, "sysconf", pages.__getitem__)
    finding = doctor.memory()
    assert (finding.works, finding.found) == (False, "4.0 GB")
    assert "6 GB" in finding.mend


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
