"""Two processes are one run."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eosin.artefacts import Artefact, open_artefact
from eosin.clip.distributed import World
from eosin.errors import ConfigError
from eosin.progress import say, silent

ARGUMENTS = ["epochs=2", "--workers", "1", "--device", "cpu"]


RUNS = {
    "infonce": ["positives=same_caption", "objective.spare=[group]", "objective.captions=2"],
    "siglip": ["objective.name=siglip", "micro_batch=4"],
    "keep": ["micro_batch=3", "objective.name=keep", "vision.train=lora"],
}
# torchrun's own meeting place serves one run; each run gets one at a port of its own.
DRIVER = """
import json, os, sys
from eosin.cli import main
for port, arguments in json.loads(sys.argv[1]):
    os.environ.update(MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="False")
    if main(arguments):
        sys.exit(1)
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


@pytest.fixture(scope="module")
def plain(recipe: Path) -> Path:
    """The tiny architecture without dropout, which processes draw each for themselves."""
    path = recipe.parent / "plain.json"
    path.write_text((recipe.parent / "tiny.json").read_text().replace('"patch_dropout": 0.25', '"patch_dropout": 0.0'))
    return path


@pytest.fixture(scope="module")
def made_by_two(pairs_artefact: Artefact, recipe: Path, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every run, each by two processes, one launch for all: most of its time is imports."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "driver.py").write_text(DRIVER)
    given = ["clip", "train", str(recipe), f"data={pairs_artefact.path}", f"architecture={plain}", *ARGUMENTS]
    runs = [(port, [*given, *more, "--out", str(folder / name)]) for port, (name, more) in zip(free_ports(3), RUNS.items(), strict=True)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
    command = [*launch, "--rdzv-endpoint", "localhost:0", str(folder / "driver.py"), json.dumps(runs)]
    made = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=80, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_end_with_the_weights_of_one(
    name: str, made_by_two: Path, plain: Path, pairs_artefact: Artefact, train: Any, tmp_path: Path
) -> None:
    one = train(pairs_artefact, tmp_path / "one", f"architecture={plain}", *ARGUMENTS, *RUNS[name])
    two = open_artefact(made_by_two / name)
    assert two.manifest["results"]["processes"] == 2
    assert two.plan.digest == one.plan.digest
    first, second = load_file(one.path / "model.safetensors"), load_file(two.path / "model.safetensors")
    assert first.keys() == second.keys()
    for key, weight in first.items():
        # Adam divides by the gradient's size, so rounding of a gradient near 0 shows in the weight.
        torch.testing.assert_close(second[key], weight, atol=2e-4, rtol=1e-3, msg=key)
    lines = (one.path / "metrics.jsonl").read_text().count("\n")
    assert (two.path / "metrics.jsonl").read_text().count("\n") == lines


def test_only_one_process_speaks_and_errors_are_heard_from_all(capsys: pytest.CaptureFixture[str]) -> None:
    @silent()
    def fail() -> None:
        say("not heard")
        raise ConfigError("heard")

    with pytest.raises(ConfigError, match="heard"):
        fail()
    say("afterwards")
    assert capsys.readouterr().err == "afterwards\n"


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    assert World(1, 2).share(10) == slice(5, 10)
    with pytest.raises(ConfigError, match="batch of 9 cannot be shared out evenly among 2"):
        World(0, 2).share(9)
