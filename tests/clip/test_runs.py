"""Whole runs: every objective learns, every way of cutting a run ends alike, and what is wrong is said."""

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
import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eosin.artefacts import Artefact, open_artefact
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.models.open_clip import OpenClipEmbedder
from eosin.models.specs import EmbedderSpec

Train = Callable[..., Artefact]
NAMES = ["red", "green", "blue", "pale"]
COCA = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32, "attentional_pool": True, "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 1, "attn_pooler_heads": 2},
    "custom_text": True,
}  # fmt: skip
ONTOLOGY = "id,name,parents\nS,square,\nR,red,S\nG,green,S\nB,blue,S\nP,pale,S\n"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("given")
    (folder / "coca.json").write_text(json.dumps(COCA))
    (folder / "diseases").mkdir()
    (folder / "diseases/colours.csv").write_text(ONTOLOGY)
    return {"coca": folder / "coca.json", "ontology": folder / "diseases"}


def accuracy(model: Artefact, squares: Any) -> float:
    embedder = OpenClipEmbedder(EmbedderSpec(str(model.path), device="cpu"))
    records = [squares.pair(number, "none") for number in range(100, 124)]
    scores = embedder.embed_images([record.image for record in records]) @ embedder.embed_texts(NAMES).T
    return float(np.mean([NAMES[best] == record.extra["label"] for best, record in zip(scores.argmax(axis=1), records, strict=True)]))


@pytest.fixture(scope="module")
def hard_captions(squares: Any, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """Squares that also tell what they are not."""
    records = [squares.pair(number) for number in range(36)]
    others = [[f"a {other} square" for other in NAMES if other != record.extra["label"]] for record in records]
    hard = [dataclasses.replace(r, extra={**r.extra, "hard_captions": o}) for r, o in zip(records, others, strict=True)]
    return squares.write(tmp_path_factory.mktemp("hard") / "image_text", hard)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["infonce", "siglip", "coca", "keep", "hard", "hard_captions", "several"])
def test_every_objective_learns_to_name_what_it_saw(
    name: str, given: dict[str, Path], pairs_artefact: Artefact, hard_captions: Artefact, train: Train, squares: Any, tmp_path: Path
) -> None:
    """Chance is 0.25."""
    keep = ["objective.name=keep", f"ontology={given['ontology']}", "positives=same_disease", "disease.key=label", "disease.per_batch=3"]
    settings = {
        "infonce": ["positives=pair"],
        "hard_captions": ["objective.hard_captions=2", "positives=same_caption", "micro_batch=6"],
        "siglip": ["objective.name=siglip", "positives=same_caption"],
        "coca": ["objective.name=coca", f"architecture={given['coca']}", "positives=same_caption"],
        "keep": [
            *keep,
            "objective.spare=[hypernyms,group]",
            "disease.word_drop=0.2",
            "disease.label_captions=0.3",
            "optimiser.temperature=0.04",
        ],
        "hard": ["objective.hardness=0.3", "positives=same_caption_or_label", "objective.spare=[group]"],
        "several": ["objective.captions=3", "positives=same_caption", "micro_batch=5"],
    }
    model = train(hard_captions if name == "hard_captions" else pairs_artefact, tmp_path / "out", *settings[name])
    assert accuracy(model, squares) >= 0.8
    if name == "keep":
        assert model.manifest["results"]["ontology"] == {"records": 36, "diseases": 4, "diseases_of_one_record": 0}
        assert model.manifest["results"]["logit_scale"] == pytest.approx(25.0)
    if name == "coca":
        lines = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["loss_caption"] < lines[0]["loss_caption"] / 2


def files(artefact: Artefact) -> dict[str, str]:
    return {name: facts["sha256"] for name, facts in artefact.manifest["files"].items()}


@pytest.fixture(scope="module")
def streamed(squares: Any, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """More records than the window of the run below holds: three row groups."""
    records = [squares.pair(number) for number in range(230)]
    records[70] = squares.spoiled(records[70])
    return squares.write(tmp_path_factory.mktemp("streamed") / "image_text", records)  # type: ignore[no-any-return]


def test_killed_in_the_middle_of_an_epoch_with_other_workers_a_streamed_run_ends_with_the_same_bytes(
    streamed: Artefact, recipe: Path, train: Train, tmp_path: Path
) -> None:
    settings = ["epochs=2", "batch_size=8", "micro_batch=4", "shuffle_window=100", "vision.train=lora", "--checkpoint-every", "3"]
    settings += ["--cache-mb", "1"]
    command = [sys.executable, "-m", "eosin.cli", "clip", "train", str(recipe), f"data={streamed.path}", "--workers", "1"]
    command += ["--device", "cpu", "--out", str(tmp_path / "killed"), *settings]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed/_work/checkpoint.pt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed: the test shows nothing"
    resumed = train(streamed, tmp_path / "killed", *settings, "--workers", "2")
    straight = train(streamed, tmp_path / "straight", *settings)
    assert files(resumed) == files(straight)
    results = resumed.manifest["results"]
    assert (results["threads"], straight.manifest["results"]["threads"]) == (1, 1)
    assert results["records"] == {"seen": 230, "used": 229, "rejected": {"truncated": 1}}
    assert results["steps"] == 2 * (229 // 8)


def test_a_shard_that_is_missing_when_a_run_goes_on_is_named(
    squares: Any, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eosin.clip.train as module

    data = squares.write(tmp_path / "data", [squares.pair(number) for number in range(24)])
    real = module._train_step

    def stopping(run: Any, batch: Any) -> dict[str, float]:
        if run.step == 3:
            raise KeyboardInterrupt
        return real(run, batch)

    monkeypatch.setattr(module, "_train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "out", "epochs=4", "--checkpoint-every", "2")
    (shard,) = data.shards("train")
    shard.unlink()
    with pytest.raises(ArtefactError, match=shard.name):
        train(data, tmp_path / "out", "epochs=4", "--checkpoint-every", "2")


@pytest.fixture(scope="module")
def watched(squares: Any, train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Path]:
    folder = tmp_path_factory.mktemp("watched")
    records = [squares.pair(number) for number in range(36)] + [squares.pair(number, "val") for number in range(12)]
    data = squares.write(folder / "data", records)
    given = ("epochs=8", "positives=same_caption", "monitor.every=2", "monitor.metric=zero_shot", "monitor.prompt=a {name} square")
    return train(data, folder / "clip", *given, "monitor.keep=best", "--tensorboard", str(folder / "curves")), folder


def test_the_best_epoch_is_kept_beside_the_last(watched: tuple[Artefact, Path]) -> None:
    model, _ = watched
    lines = [json.loads(line) for line in (model.path / "monitor.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [2, 4, 6, 8]
    best = max(lines, key=lambda line: line["zero_shot"])
    assert model.manifest["results"]["best"] == best
    assert best["zero_shot"] > 0.5
    chosen, last = load_file(model.path / "model.safetensors"), load_file(model.path / "last.safetensors")
    assert chosen.keys() == last.keys()
    same = all((chosen[name] == last[name]).all() for name in chosen)
    assert same == (best["epoch"] == 8)


def test_curves_are_written_for_tensorboard(watched: tuple[Artefact, Path]) -> None:
    _, folder = watched
    events = EventAccumulator(str(folder / "curves"))
    events.Reload()
    wanted = {"loss", "logit_scale", "grad_norm", "lr", "images_per_second", "zero_shot", "retrieval"}
    assert {f"clip/{name}" for name in wanted} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("clip/loss")] == list(range(24))
    assert not list((folder / "clip").glob("**/events*")), "times of day belong to no artefact"


def test_the_scale_in_microns_is_asked_for_and_used(squares: Any, train: Train, tmp_path: Path) -> None:
    records = [dataclasses.replace(squares.pair(number), mpp=0.5 if number else None) for number in range(13)]
    model = train(squares.write(tmp_path / "data", records), tmp_path / "out", "epochs=1", "augment.mpp=[0.25, 0.5]")
    assert model.manifest["results"]["records"]["rejected"] == {"no_scale": 1}


def test_groups_of_one_record_are_counted(pairs_artefact: Artefact, squares: Any, train: Train, tmp_path: Path) -> None:
    records = [dataclasses.replace(squares.pair(number), group=f"g{max(number - 3, 0)}") for number in range(12)]
    model = train(squares.write(tmp_path / "data", records), tmp_path / "out", "epochs=1", "objective.spare=[group]")
    assert model.manifest["results"]["groups_of_one_record"] == 8
    assert open_artefact(model.path).digest == model.digest


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (["positives=same_disease"], ConfigError, "add ontology=FOLDER"),
        (["objective.spare=[hypernyms]"], ConfigError, "add ontology=FOLDER"),
        (["ontology=ONTOLOGY", "disease.key=nothing"], ConfigError, "no record is about one of its diseases"),
        (["objective.name=coca"], ConfigError, "no captioning decoder"),
        (["architecture=COCA"], ConfigError, "has captioning decoder"),
        (["objective.name=keep", "objective.hardness=1"], ConfigError, "hardness is for infonce and coca"),
        (["monitor.every=1"], ConfigError, "no split val"),
        (["monitor.keep=best"], ConfigError, "monitor.every=1"),
        (["vision.train=none", "text.train=none"], ConfigError, "nothing is left to learn"),
        (["vision.train=last"], ConfigError, "blocks counts"),
        (["augment.mpp=[2, 1]"], ConfigError, "smallest and the largest"),
        (["augment.mpp=[0.5, 1]"], InputError, r"no_scale"),
        (["shuffle_window=3"], ConfigError, "at least batch_size"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    settings: list[str], kind: type[Exception], message: str, given: dict[str, Path], pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    put = [setting.replace("ONTOLOGY", str(given["ontology"])).replace("COCA", str(given["coca"])) for setting in settings]
    with pytest.raises(kind, match=message):
        train(pairs_artefact, tmp_path / "out", *put)
