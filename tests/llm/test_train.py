"""Training: what learns, what is refused, and that a killed run resumed is the straight run bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from eosin.artefacts import Artefact, open_artefact
from eosin.artefacts.files import sha256_of
from eosin.checkpoint import Checkpoint
from eosin.config import load, load_recipe
from eosin.errors import ArtefactError, ConfigError, EosinError, InputError, Unsupported
from eosin.llm import loop
from eosin.llm.assistant import read_assistant
from eosin.llm.config import ExportConfig, TrainConfig
from eosin.llm.train import Machine, train
from eosin.records import Conversation, ImageText, Message, Part, Record

Config = Callable[..., TrainConfig]
FAST = Machine(threads=1)


def losses(artefact: Artefact) -> list[float]:
    return [json.loads(line)["loss"] for line in (artefact.path / "metrics.jsonl").read_text().splitlines()]


def test_stage_1_learns_and_leaves_the_tower_as_it_was(stage1: Artefact, clip: Path) -> None:
    found = losses(stage1)
    assert sum(found[-5:]) < 0.3 * sum(found[:5])
    tower = load_file(clip / "model.safetensors")
    model = read_assistant(stage1.path).model
    for name, value in model.model.vision_tower.state_dict().items():
        torch.testing.assert_close(value, tower[f"vision_model.{name}"], atol=0, rtol=0)


def test_the_artefact_says_what_it_learnt_from(stage1: Artefact) -> None:
    results = stage1.manifest["results"]
    assert results["samples"] == {"in": 48, "used": 48, "images": 12, "rejected": {}}
    assert results["steps"] == len(losses(stage1))
    assert str(stage1.path.parent) not in "".join(path.read_text() for path in stage1.path.glob("*.json") if path.name != "run.json")
    assert not (stage1.path / "_work").exists()


def test_a_finished_run_is_not_done_again(align: Config, stage1: Artefact) -> None:
    before = sha256_of(stage1.path / "manifest.json")
    assert train(align(), stage1.path, FAST).digest == before
    with pytest.raises(ArtefactError, match="epochs"):
        train(align(epochs=2), stage1.path, FAST)


def test_the_projector_alone_learns_when_only_it_is_named(stage1: Artefact, align: Config, tmp_path: Path) -> None:
    config = align(vision="", base=str(stage1.path), train=["projector"], epochs=1)
    after = load_file(train(config, tmp_path / "m", FAST).path / "model.safetensors")
    before = load_file(stage1.path / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "multi_modal_projector" in name}


def test_a_learning_tower_sees_pixels_and_changes(stage1: Artefact, align: Config, tmp_path: Path) -> None:
    config = align(vision="", base=str(stage1.path), train=["vision"], epochs=1)
    after = load_file(train(config, tmp_path / "m", FAST).path / "model.safetensors")
    before = load_file(stage1.path / "model.safetensors")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"vision_tower"}


def test_bfloat16_arithmetic_keeps_float32_weights(stage1: Artefact, align: Config, tmp_path: Path) -> None:
    config = align(vision="", base=str(stage1.path), precision="bfloat16", epochs=1)
    artefact = train(config, tmp_path / "m", FAST)
    assert all(value.dtype == torch.float32 for value in load_file(artefact.path / "model.safetensors").values())
    assert max(losses(artefact)) < 1.0


def _command(folder: Path, config: TrainConfig, out: Path) -> list[str]:
    values = yaml.safe_load(yaml.safe_dump(_values(config)))
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    # A checkpoint after every step, so that a kill falls between, into and after checkpoints.
    return [
        sys.executable,
        "-m",
        "eosin.cli",
        "llm",
        "train",
        str(recipe),
        "--out",
        str(out),
        "--workers",
        "1",
        "--checkpoint-seconds",
        "0",
    ]


def _values(config: TrainConfig) -> dict[str, object]:
    from dataclasses import asdict

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    values = plain(asdict(config))
    assert isinstance(values, dict)
    return values


def _kill_and_resume(command: list[str], out: Path, waits: tuple[int, ...]) -> None:
    """Start the command, kill it by SIGKILL after so many checkpoints, each time again; then let it finish."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for wanted in waits:
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        seen, last = 0, 0
        deadline = time.monotonic() + 300
        while seen < wanted and process.poll() is None:
            assert time.monotonic() < deadline, "the run made no checkpoint"
            checkpoint = out / "_work" / "checkpoint.pt"
            now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else last
            seen, last = seen + (now != last), now
            time.sleep(0.001)
        assert process.poll() is None, f"the run ended before it was killed: {process.communicate()[1]!r}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run(command, env=environment, check=True, capture_output=True)


def _weights(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*.safetensors"))}


def test_a_killed_stage_1_resumed_is_the_straight_run_bit_for_bit(align: Config, tmp_path: Path) -> None:
    config = align(epochs=4)
    straight = train(config, tmp_path / "straight", FAST)
    _kill_and_resume(_command(tmp_path, config, tmp_path / "killed"), tmp_path / "killed", (2, 3))
    killed = open_artefact(tmp_path / "killed")
    # Weights, log, tokenizer, card: the manifest lists every file by its hash.
    assert killed.manifest["files"] == straight.manifest["files"]
    assert killed.digest == straight.digest


def test_killed_adapters_with_dropout_resumed_are_the_straight_run_bit_for_bit(instruct: Config, tmp_path: Path) -> None:
    config = instruct(epochs=5)
    straight = train(config, tmp_path / "straight", FAST)
    _kill_and_resume(_command(tmp_path, config, tmp_path / "killed"), tmp_path / "killed", (3,))
    assert _weights(tmp_path / "killed") == _weights(tmp_path / "straight")
    assert (tmp_path / "killed" / "metrics.jsonl").read_text() == (straight.path / "metrics.jsonl").read_text()


def test_a_checkpoint_of_other_weights_is_refused(stage1: Artefact, tmp_path: Path) -> None:
    model = read_assistant(stage1.path).model
    other = Checkpoint({"x": torch.zeros(1)}, {}, {}, 1)
    run = loop.Run(model, [], None, None, tmp_path / "checkpoint.pt", 1.0, 1, other, lambda states: states)  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match=rf"another model.*delete {tmp_path}"):
        loop._restore(run, torch.optim.AdamW(model.parameters()))


@pytest.fixture
def one_thread_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_resumed_run_keeps_its_threads_and_a_damaged_checkpoint_is_named(
    align: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread_after: None
) -> None:
    real = loop._step

    def stopping(run: loop.Run, *values: Any) -> dict[str, float]:
        if values[2] == 2:
            raise KeyboardInterrupt
        return real(run, *values)

    monkeypatch.setattr(loop, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(align(epochs=1), tmp_path / "m", Machine(threads=1, checkpoint_seconds=0))
    monkeypatch.setattr(loop, "_step", real)
    checkpoint = tmp_path / "m/_work/checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match=rf"checkpoint\.pt is damaged.*delete {tmp_path}/m/_work"):
        train(align(epochs=1), tmp_path / "m", Machine(threads=1))
    checkpoint.write_bytes(whole)
    resumed = train(align(epochs=1), tmp_path / "m", Machine(threads=2))
    assert (resumed.manifest["results"]["threads"], torch.get_num_threads()) == (1, 1)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "goes on with 1 threads, as it began, not 2" in said
    assert "goes on after step 2" in said


def write(folder: Path, records: list[Record]) -> Path:
    from eosin.artefacts import Plan, Task
    from eosin.pipeline import LocalEngine, Step, run_step

    plan = Plan(records[0].kind, "test", {}, tasks=(Task("test", 0, len(records), "train"),))
    return run_step(Step("test", plan, lambda task: iter(records)), folder, LocalEngine()).path


def talk(name: str, image: bytes, question: str, reply: str | None = "yes") -> Conversation:
    asked = Message("user", (Part("image"), Part("text", question)))
    turns = (asked,) if reply is None else (asked, Message("assistant", (Part("text", reply),)))
    return Conversation(id=name, source="t", licence="CC0-1.0", group="g", split="train", images=(image,), messages=turns, task="open")


def test_samples_that_cannot_be_used_are_rejected_by_name_and_never_cut(align: Config, talks: Path, tmp_path: Path) -> None:
    good = next(open_artefact(talks).records(Conversation))
    bad = [
        talk("t/long", good.images[0], "word " * 400),
        talk("t/damaged", good.images[0][:100], "Is it pink?"),
        talk("t/no-reply", good.images[0], "Is it pink?", None),
        talk("t/good", good.images[0], "Is it pink?"),
    ]
    pair = ImageText(id="t/mute", source="t", licence="CC0-1.0", group="g", split="train", image=good.images[0], captions=())
    data = [str(write(tmp_path / "talks", list(bad))), str(write(tmp_path / "pairs", [pair]))]
    artefact = train(align(data=data, epochs=1), tmp_path / "model", FAST)
    rejects = pq.read_table(artefact.path / "rejects" / "rejects.parquet").to_pylist()
    reasons = {row["key"]: row["reason"] for row in rejects}
    assert reasons == {"t/long": "too_long", "t/damaged": "truncated", "t/no-reply": "not_a_conversation", "t/mute": "no_text"}
    counts = artefact.manifest["results"]["samples"]
    assert (counts["in"], counts["used"], sum(counts["rejected"].values())) == (5, 1, 4)


def test_data_without_one_usable_sample_is_an_error(align: Config, talks: Path, tmp_path: Path) -> None:
    image = next(open_artefact(talks).records(Conversation)).images[0]
    data = [str(write(tmp_path / "talks", [talk("t/1", image[:50], "What?")]))]
    with pytest.raises(InputError, match="none of 1 samples can be used"):
        train(align(data=data), tmp_path / "model", FAST)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": "align", "lora": {}}, "stage instruct"),
        ({"stage": "align", "model": "x"}, "belongs to stage instruct"),
        ({"stage": "align", "train": []}, "at least one"),
        ({"stage": "instruct"}, "needs a lora section"),
        ({"stage": "instruct", "lora": {}, "train": ["vision"]}, "projector only"),
        ({"stage": "align", "train": ["projecter"]}, "allowed: projector"),
        ({"stage": "align", "views": 9}, "1 to 8"),
        ({"stage": "align", "epochs": 0}, "at least 1"),
        ({"stage": "align", "optimizer": {}}, "did you mean optimiser"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_with_the_way_out(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, values)


def test_a_start_that_does_not_fit_is_refused(align: Config, stage1: Artefact, stage2: Artefact, instruct: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one of vision=, base="):
        train(align(vision=""), tmp_path / "a", FAST)
    with pytest.raises(ConfigError, match="must learn"):
        train(align(train=["projector"]), tmp_path / "b", FAST)
    with pytest.raises(ArtefactError, match="eosin llm export"):
        train(instruct(model=str(stage2.path)), tmp_path / "c", FAST)
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(Unsupported, match="bert"):
        train(align(vision="", base=str(other)), tmp_path / "d", FAST)
    assert not (tmp_path / "b" / "manifest.json").exists()
    assert stage1.kind == "llm_model"


def test_a_loss_that_is_no_number_stops_the_run(align: Config, tmp_path: Path) -> None:
    with pytest.raises(EosinError, match=r"lower optimiser\.lr"):
        train(align(optimiser={"lr": 1e18, "clip_norm": 1e30}, epochs=5), tmp_path / "m", FAST)


@pytest.mark.parametrize(
    "name",
    [
        "demo/llm-stage1",
        "demo/llm-stage2",
        "demo/small-llm-stage1",
        "demo/small-llm-stage2",
        "demo/tiles-llm-stage1",
        "demo/tiles-llm-stage2",
    ],
)
def test_shipped_recipes_load(name: str) -> None:
    assert load_recipe(TrainConfig, name).epochs >= 1


def test_the_shipped_export_recipe_loads() -> None:
    assert load_recipe(ExportConfig, "demo/llm-export").tolerance == 1e-4


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    assert loop.learning_rate(0.05, 0.1) == pytest.approx(0.5)
    assert loop.learning_rate(0.1, 0.1) == pytest.approx(1.0)
    assert loop.learning_rate(0.55, 0.1) == pytest.approx(0.5)
    assert loop.learning_rate(1.0, 0.1) == pytest.approx(0.0, abs=1e-12)
