import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from eosin.artefacts import Artefact, open_artefact, verify
from eosin.cli import main as eosin
from eosin.clip.architecture import find_architecture
from eosin.errors import ArtefactError, ConfigError
from eosin.models.open_clip import OpenClipEmbedder
from eosin.models.specs import EmbedderSpec

Train = Callable[..., Artefact]


def files(artefact: Artefact) -> dict[str, str]:
    return {name: facts["sha256"] for name, facts in artefact.manifest["files"].items()}


def accuracy(model: Artefact, squares: Any) -> float:
    embedder = OpenClipEmbedder(EmbedderSpec(str(model.path), device="cpu"))
    records = [squares.pair(number, "none") for number in range(100, 124)]
    names = ["red", "green", "blue", "pale"]
    scores = embedder.embed_images([record.image for record in records]) @ embedder.embed_texts(names).T
    return float(np.mean([names[best] == record.extra["label"] for best, record in zip(scores.argmax(axis=1), records, strict=True)]))


def test_it_learns_to_name_what_it_saw(trained: Artefact, squares: Any) -> None:
    assert accuracy(trained, squares) >= 0.9


def test_the_artefact_tells_what_decides_its_use(trained: Artefact) -> None:
    results = trained.manifest["results"]
    assert results["activation"] == "gelu"
    assert results["end_token_id"] == results["architecture"]["text_cfg"]["eos_id"]
    assert (results["context_length"], results["embed_dim"], results["image"]["size"]) == (16, 32, 32)
    assert results["records"] == {"seen": 36, "used": 36, "rejected": {}}
    assert results["captions"] == {"distinct": 12, "truncated": 0}
    assert results["steps"] == 36
    lines = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(36))
    assert set(lines[0]) == {"step", "epoch", "loss", "lr", "logit_scale", "grad_norm"}
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert verify(trained) == []
    assert str(trained.path) not in (trained.path / "manifest.json").read_text()


def test_two_runs_give_the_same_bytes(pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    short = ("epochs=2", "positives=same_caption_or_label")
    first = train(pairs_artefact, tmp_path / "a", *short)
    second = train(pairs_artefact, tmp_path / "b", *short, "--cache-mb", "1", "--checkpoint-every", "2")
    assert first.digest == second.digest
    other = train(pairs_artefact, tmp_path / "c", *short, "seed=1")
    assert files(other)["model.safetensors"] != files(first)["model.safetensors"]


def test_killed_before_its_first_checkpoint_it_ends_with_the_same_bytes_with_other_workers(
    pairs_artefact: Artefact, recipe: Path, train: Train, tmp_path: Path
) -> None:
    settings = ["epochs=3"]
    command = [sys.executable, "-m", "eosin.cli", "clip", "train", str(recipe), f"data={pairs_artefact.path}", "--workers", "1"]
    command += ["--device", "cpu", "--out", str(tmp_path / "killed"), *settings]
    begun = tmp_path / "killed/_work/threads.json"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not begun.exists():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed: the test shows nothing"
    resumed = train(pairs_artefact, tmp_path / "killed", *settings, "--workers", "2")
    torch.set_num_threads(1)
    straight = train(pairs_artefact, tmp_path / "straight", *settings)
    assert files(resumed) == files(straight)
    assert resumed.digest == straight.digest
    assert not (tmp_path / "killed/_work").exists()


def test_a_resumed_run_keeps_its_number_of_threads_and_a_damaged_checkpoint_is_named(
    pairs_artefact: Artefact, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eosin.clip.train as module

    real = module._train_step

    def stopping(run: Any, batch: Any) -> dict[str, float]:
        if run.step == 4:
            raise KeyboardInterrupt
        return real(run, batch)

    monkeypatch.setattr(module, "_train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(pairs_artefact, tmp_path / "out", "epochs=2", "--checkpoint-every", "3")
    monkeypatch.setattr(module, "_train_step", real)
    checkpoint = tmp_path / "out/_work/checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match=rf"checkpoint\.pt is damaged.*delete {tmp_path}/out/_work"):
        train(pairs_artefact, tmp_path / "out", "epochs=2", "--workers", "2")
    checkpoint.write_bytes(whole)
    resumed = train(pairs_artefact, tmp_path / "out", "epochs=2", "--workers", "2")
    assert resumed.manifest["results"]["threads"] == 1
    torch.set_num_threads(1)


def test_a_finished_model_is_not_trained_again(
    trained: Artefact, pairs_artefact: Artefact, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eosin.clip.train as module

    monkeypatch.setattr(module, "train_clip", lambda *_: pytest.fail("trained again"))
    assert train(pairs_artefact, trained.path, "positives=same_caption").digest == trained.digest
    with pytest.raises(ArtefactError, match="another plan"):
        train(pairs_artefact, trained.path, "positives=same_caption", "epochs=3")


def test_unreadable_images_become_rejects_and_the_run_goes_on(squares: Any, train: Train, tmp_path: Path) -> None:
    records = [squares.pair(number) for number in range(16)]
    records[3] = squares.spoiled(records[3])
    long = dataclasses.replace(records[5], captions=("green " * 40,))
    records[5] = long
    model = train(squares.write(tmp_path / "data", records), tmp_path / "clip", "epochs=1")
    results = model.manifest["results"]
    assert results["records"] == {"seen": 16, "used": 15, "rejected": {"truncated": 1}}
    assert results["captions"]["truncated"] == 1
    rejects = pq.read_table(model.path / "rejects/rejects.parquet").to_pylist()
    assert [(row["key"], row["reason"]) for row in rejects] == [("squares/train-3", "truncated")]


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_change(pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)training has diverged.*optimiser\.lr"):
        train(pairs_artefact, tmp_path / "out", "optimiser.lr=1e30", "optimiser.warmup=0")
    assert not (tmp_path / "out/manifest.json").exists()


def test_the_temperature_stays_below_its_limit(pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    model = train(pairs_artefact, tmp_path / "out", "epochs=2", "optimiser.max_logit_scale=14.4")
    assert model.manifest["results"]["logit_scale"] <= 14.4001


def test_training_starts_from_another_model(
    trained: Artefact, pairs_artefact: Artefact, train: Train, squares: Any, tmp_path: Path
) -> None:
    start, short = f"init={trained.path}", ("epochs=1", "optimiser.lr=1e-6")
    whole = train(pairs_artefact, tmp_path / "whole", start, *short)
    assert whole.manifest["results"]["started_from"] == "all weights"
    assert accuracy(whole, squares) >= 0.9
    assert [ref.name for ref in whole.plan.inputs] == ["data", "init"]
    others = [dataclasses.replace(squares.pair(number), captions=(f"other words {number}",)) for number in range(12)]
    tower = train(squares.write(tmp_path / "data", others), tmp_path / "tower", start, *short)
    assert tower.manifest["results"]["started_from"] == "image tower"
    kept = train(squares.open(tmp_path / "data"), tmp_path / "kept", start, *short, "tokenizer.kind=init")
    assert kept.manifest["results"]["started_from"] == "all weights"


def test_a_model_of_another_architecture_is_no_start(trained: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    wider = json.loads(json.dumps(find_architecture("clip-vit-192x6-96")))
    (tmp_path / "wider.json").write_text(json.dumps(wider))
    with pytest.raises(ConfigError, match=r"another architecture: \d+ weights of another shape \(") as caught:
        train(pairs_artefact, tmp_path / "out", f"init={trained.path}", f"architecture={tmp_path / 'wider.json'}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).removeprefix(f"init: {trained.path}")) < 500, "torch has a line for every weight"


def test_half_precision_trains(pairs_artefact: Artefact, train: Train, squares: Any, tmp_path: Path) -> None:
    model = train(pairs_artefact, tmp_path / "out", "precision=bf16", "positives=same_caption")
    assert accuracy(model, squares) >= 0.9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=0", "epochs must be at least 1"),
        ("positives=all", "same_caption"),
        ("augment.crop_area=2", "crop_area"),
        ("tokenizer.kind=init", "init=PATH"),
        ("optimiser.learning_rate=1", "unknown key"),
        ("architecture=clip-vit-huge", "clip-vit-192x6-96"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(override: str, message: str, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(pairs_artefact, tmp_path / "out", override)


def test_an_artefact_of_another_kind_is_refused(trained: Artefact, recipe: Path, tmp_path: Path) -> None:
    assert eosin(["clip", "train", str(recipe), f"data={trained.path}", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_shipped_architectures_have_heads_of_64() -> None:
    for name in ("clip-vit-192x6-96",):
        config = find_architecture(name)
        assert config["vision_cfg"]["head_width"] == 64
        assert config["vision_cfg"]["width"] % 64 == 0
        assert config["text_cfg"]["width"] == 64 * config["text_cfg"]["heads"]


def test_open_clips_own_architectures_are_found_by_name() -> None:
    assert find_architecture("ViT-B-32")["vision_cfg"]["patch_size"] == 32


def test_the_folder_opens_in_open_clip_itself(trained: Artefact) -> None:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{trained.path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{trained.path}")
    embedder = OpenClipEmbedder(EmbedderSpec(str(trained.path), device="cpu"))
    with torch.inference_mode():
        wanted = model.eval().encode_text(tokenizer(["a red square"]), normalize=True).numpy()
    np.testing.assert_allclose(embedder.embed_texts(["a red square"]), wanted, atol=1e-6)
    assert transform.transforms[0].size == (32, 32)
    assert open_artefact(trained.path, "clip_model").plan.facts["format"] == "open_clip"


def test_overrides_may_follow_options(pairs_artefact: Artefact, recipe: Path, tmp_path: Path) -> None:
    command = ["clip", "train", str(recipe), "--out", str(tmp_path / "out"), "--device", "cpu", f"data={pairs_artefact.path}", "epochs=1"]
    assert eosin(command) == 0
    assert open_artefact(tmp_path / "out").plan.settings["epochs"] == 1
