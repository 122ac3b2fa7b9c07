"""Two processes are one run."""

import os
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

ARGUMENTS = ["epochs=2", "positives=same_caption", "objective.spare=[group]", "objective.captions=2", "--workers", "1", "--device", "cpu"]


@pytest.mark.parametrize("more", [[], ["micro_batch=3", "objective.name=keep", "vision.train=lora"]])
def test_two_processes_end_with_the_weights_of_one(
    more: list[str], pairs_artefact: Artefact, recipe: Path, train: Any, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text((recipe.parent / "tiny.json").read_text().replace('"patch_dropout": 0.25', '"patch_dropout": 0.0'))
    given = [f"data={pairs_artefact.path}", f"architecture={plain}", *ARGUMENTS, *more]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "localhost:0"]
    command = [*launch, "-m", "eosin.cli", "clip", "train", str(recipe), *given, "--out", str(tmp_path / "two")]
    made = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    one = train(pairs_artefact, tmp_path / "one", f"architecture={plain}", *ARGUMENTS, *more)
    two = open_artefact(tmp_path / "two")
    assert two.manifest["results"]["processes"] == 2
    assert two.plan.digest == one.plan.digest
    first, second = load_file(one.path / "model.safetensors"), load_file(two.path / "model.safetensors")
    assert first.keys() == second.keys()
    for name, weight in first.items():
        # Adam divides by the gradient's size, so rounding of a gradient near 0 shows in the weight.
        torch.testing.assert_close(second[name], weight, atol=2e-4, rtol=1e-3, msg=name)
    lines = (one.path / "metrics.jsonl").read_text().count("\n")
    assert (two.path / "metrics.jsonl").read_text().count("\n") == lines


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    assert World(1, 2).share(10) == slice(5, 10)
    with pytest.raises(ConfigError, match="batch of 9 cannot be shared out evenly among 2"):
        World(0, 2).share(9)
