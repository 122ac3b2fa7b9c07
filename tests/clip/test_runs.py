"""Whole runs: every objective learns, every way of cutting a run ends alike, and what is wrong is said."""

import dataclasses
import json
import os
import shutil
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
    text = {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 3, "layers": 1}
    (folder / "heads.json").write_text(json.dumps({"embed_dim": 32, "vision_cfg": {**COCA["vision_cfg"]}, "text_cfg": text}))  # type: ignore[dict-item]
    (folder / "diseases").mkdir()
    (folder / "diseases/colours.csv").write_text(ONTOLOGY)
    return {"coca": folder / "coca.json", "ontology": folder / "diseases", "heads": folder / "heads.json"}


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
    given = ("epochs=8", "positives=same_caption", "monitor.every=2", "monitor.metric=zero_shot", 'monitor.prompt="{H&E}: a {name} 100% {"')
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
    "settings",
    [
        ["objective.spare=[group]"],
        ["objective.name=siglip", "objective.spare=[group]"],
        ["micro_batches=independent", "micro_batch=1"],
        ["micro_batches=independent", "micro_batch=3", "objective.spare=[group]"],
        ["positives=same_caption_or_label"],
    ],
)
def test_a_run_in_which_nothing_can_be_learnt_is_no_success(settings: list[str], squares: Any, train: Train, tmp_path: Path) -> None:
    records = [dataclasses.replace(squares.pair(number), group="g", extra={"label": "x"}) for number in range(12)]
    with pytest.raises(ConfigError, match="nothing can be learnt"):
        train(squares.write(tmp_path / "data", records), tmp_path / "out", "epochs=2", "batch_size=6", *settings)


def test_batches_without_negatives_are_counted(squares: Any, train: Train, tmp_path: Path) -> None:
    """Nine of ten records are of one group: of 5 pairs an epoch one has two groups."""
    records = [dataclasses.replace(squares.pair(number), group="g" if number else "other") for number in range(10)]
    model = train(squares.write(tmp_path / "data", records), tmp_path / "out", "epochs=2", "batch_size=2", "objective.spare=[group]")
    lines = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
    assert model.manifest["results"]["batches_without_negatives"] == sum("without_negatives" in line for line in lines) == 8
    assert all(("without_negatives" in line) == (line["grad_norm"] == 0) for line in lines)


def test_captions_that_are_cut_after_rewording_are_counted(given: dict[str, Path], squares: Any, train: Train, tmp_path: Path) -> None:
    long = given["ontology"].parent / "long"
    long.mkdir()
    (long / "colours.csv").write_text("id,name,parents\nS,square with a very long name that no context of sixteen holds,\nred,red,S\n")
    data = squares.write(tmp_path / "data", [squares.pair(number) for number in range(12)])
    settings = [f"ontology={long}", "disease.key=label", "disease.label_captions=1", "epochs=2"]
    model = train(data, tmp_path / "out", *settings)
    assert model.manifest["results"]["captions"] == {"distinct": 12, "truncated": 0, "reworded_truncated": 6}


@pytest.fixture(scope="module")
def stopped(squares: Any, train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Path]:
    """A run that was stopped before its first checkpoint, and its data."""
    import eosin.clip.train as module

    def stop(run: Any, batch: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("stopped")
    data = squares.write(folder / "data", [squares.pair(number) for number in range(12)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, folder / "out", "epochs=4")
    return data, folder / "out"


MADE = ("index.npz", "texts.bin", "texts.ends.npy", "rejects.parquet", "tokens.npy", "tokens.json")


@pytest.mark.parametrize(("name", "gone"), [*((name, False) for name in MADE), *((name, True) for name in MADE[1:5])])
def test_what_an_earlier_attempt_left_and_is_damaged_is_named(
    name: str, gone: bool, stopped: tuple[Artefact, Path], train: Train, tmp_path: Path
) -> None:
    data, out = stopped
    shutil.copytree(out, tmp_path / "out")
    path = tmp_path / "out/_work" / name
    path.unlink() if gone else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtefactError, match=rf"damaged.*delete {tmp_path}/out/_work and run"):
        train(data, tmp_path / "out", "epochs=4")


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
        (["optimiser.clip_norm=-1"], ConfigError, "clip_norm >= 0"),
        (["optimiser.weight_decay=-1"], ConfigError, "weight_decay and clip_norm"),
        (["optimiser.betas=[1.5,2]"], ConfigError, r"betas in \[0, 1\)"),
        (["optimiser.eps=-1"], ConfigError, "eps > 0"),
        (["seed=-1"], ConfigError, "seed is a whole number from 0"),
        (["architecture=HEADS"], InputError, "open_clip cannot build this model"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    settings: list[str], kind: type[Exception], message: str, given: dict[str, Path], pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    put = [
        setting.replace("ONTOLOGY", str(given["ontology"])).replace("COCA", str(given["coca"])).replace("HEADS", str(given["heads"]))
        for setting in settings
    ]
    with pytest.raises(kind, match=message):
        train(pairs_artefact, tmp_path / "out", *put)
