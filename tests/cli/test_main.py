"""The command line: light to start, clear when it is misused, and with exit codes that scripts can rely on."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from eosin import __version__, errors
from eosin.cli import VERBS, main

HEAVY = ("torch", "transformers", "open_clip", "faiss", "gradio", "datasets", "sklearn", "fastapi")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    done = run(f"import sys; from eosin.cli import main; main(['--help']); print([n for n in {HEAVY!r} if n in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("verb", "actions"), [("build", [""]), ("clip", ["train", "embed", "export"]), ("llm", ["train", "export", "chat"])]
)
def test_a_verbs_help_loads_no_torch(verb: str, actions: list[str]) -> None:
    for action in actions:
        words = [word for word in (verb, action, "--help") if word]
        lines = ["import sys; from eosin.cli import main", f"try: main({words!r})", "except SystemExit as e: print(e.code)"]
        code = "\n".join([*lines, "print('torch' in sys.modules)"])
        done = run(code)
        assert done.stdout.splitlines()[-2:] == ["0", "False"], done.stdout + done.stderr


def test_every_module_of_core_imports_without_torch() -> None:
    code = """
import importlib, pkgutil, sys, eosin, eosin.models, eosin.artefacts
from eosin.models import protocols, specs
names = [m.name for p in (eosin, eosin.artefacts) for m in pkgutil.iter_modules(p.__path__, p.__name__ + ".")]
core = [n for n in names if n.split(".")[1] not in ("data_builders", "clip", "llm", "retrieval", "eval", "serve")]
[importlib.import_module(n) for n in core]
print(len(core) > 12, "torch" in sys.modules)
"""
    assert run(code).stdout.split() == ["True", "False"]


def test_version_and_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main(["trian"]) == 2
    assert "no verb 'trian'" in capsys.readouterr().err
    assert main([]) == 2


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (errors.ConfigError("bad key"), 2, "bad key"),
        (errors.ArtefactError("wrong kind"), 2, "wrong kind"),
        (errors.BackendError("server died"), 1, "server died"),
        (KeyboardInterrupt(), 130, "resumes"),
        (OSError(28, "No space left on device", "/x/y"), 2, "no space left on the disk (/x/y)"),
        (RuntimeError("write error in x: 3 != 4 (No space left on device)"), 2, "no space left on the disk"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), 2, 'faiss is not installed; run: pip install "eosin[all]"'),
    ],
)
def test_each_failure_has_its_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "eosin.cli.inspect", types.SimpleNamespace(main=fail))
    assert main(["inspect", "x"]) == code
    assert words in capsys.readouterr().err


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'eosin.nowhere'", name="eosin.nowhere")

    monkeypatch.setitem(sys.modules, "eosin.cli.inspect", types.SimpleNamespace(main=fail))
    with pytest.raises(ModuleNotFoundError):
        main(["inspect", "x"])
