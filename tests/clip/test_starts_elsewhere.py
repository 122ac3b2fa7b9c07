"""Starts that are fetched, of other sizes, or of other pixels. Nothing is fetched here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from eosin.artefacts import Artefact
from eosin.clip import starting
from eosin.errors import ConfigError
from eosin.models.open_clip import load_open_clip

Train = Callable[..., Artefact]

STILL = ("epochs=1", "optimiser.lr=1e-30", "optimiser.weight_decay=0")
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}
HALF = [0.5, 0.5, 0.5]


@pytest.fixture(scope="module")
def plain(pairs_artefact: Artefact, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A model of this architecture, not trained."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.json").write_text(json.dumps(ARCHITECTURE))
    return train(pairs_artefact, folder / "clip", f"architecture={folder / 'plain.json'}", *STILL)


def architecture(folder: Path, **more: Any) -> str:
    """The setting that names this architecture, changed in `vision_cfg` and `text_cfg`."""
    changed = {**ARCHITECTURE, **{key: {**ARCHITECTURE[key], **value} for key, value in more.items()}}
    (folder / "changed.json").write_text(json.dumps(changed))
    return f"architecture={folder / 'changed.json'}"


def changed(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> set[str]:
    """Names of weights that are not as they were; a zero moves by the rate of `STILL`."""
    return {name for name, weight in old.items() if weight.shape != new[name].shape or not torch.allclose(weight, new[name], 0, 1e-20)}


def test_weights_that_open_clip_fetches_by_their_tag_bring_their_activation(
    plain: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"quick_gelu": True, "mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: known)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_: str(plain.path / "model.safetensors"))
    model = train(pairs_artefact, tmp_path / "out", architecture(tmp_path), "tag=openai", *STILL)
    assert model.manifest["results"]["started_from"] == "image tower", "the tokenizer is a new one"
    assert model.manifest["results"]["activation"] == "quick_gelu"
    theirs, ours = load_file(plain.path / "model.safetensors"), load_file(model.path / "model.safetensors")
    assert not {name for name in changed(theirs, ours) if name.startswith("visual.")}


def test_positions_are_resized_to_larger_images_and_longer_texts_and_said(
    plain: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    larger = architecture(tmp_path, vision_cfg={"image_size": 48}, text_cfg={"context_length": 24})
    for name, start in (("init", f"init={plain.path}"), ("start", f"start={plain.path}")):
        setting = larger if name == "init" else "context=24"
        model = train(pairs_artefact, tmp_path / name, setting, start, "tokenizer.kind=init", *STILL)
        resized = ["visual.positional_embedding", "positional_embedding"] if name == "init" else ["positional_embedding"]
        assert model.manifest["results"]["started_from"] == f"all weights ({' and '.join(resized)} resized)"
        old, new = load_file(plain.path / "model.safetensors"), load_file(model.path / "model.safetensors")
        assert changed(old, new) == set(resized)
        assert len(new["positional_embedding"]) == 24
        torch.testing.assert_close(new["positional_embedding"].mean(0), old["positional_embedding"].mean(0), atol=5e-3, rtol=0)


@pytest.mark.parametrize("kind", ["init", "start", "hugging_face", "tag"])
def test_a_start_that_saw_other_pixels_is_refused_until_the_recipe_says_the_same(
    kind: str, plain: Artefact, exported: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [architecture(tmp_path), "image.mean=[0.5, 0.5, 0.5]", "image.std=[0.5, 0.5, 0.5]"]
    if kind == "tag":
        given = [architecture(tmp_path)]
        monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"mean": HALF, "std": HALF})
    settings = {"init": f"init={plain.path}", "start": f"start={plain.path}", "hugging_face": f"start={exported.path}", "tag": "tag=x"}
    wanted = r"add image\.mean=\[0\.5, 0\.5, 0\.5\]" if kind == "tag" else r"add image\.mean=\[0\.48145466, 0\.4578275, 0\.40821073\]"
    with pytest.raises(ConfigError, match=wanted):
        train(pairs_artefact, tmp_path / "out", *given, settings[kind], *STILL)


def test_a_tower_that_saw_other_pixels_is_taken_and_said(
    pairs_artefact: Artefact, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vit"
    folder.mkdir()
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 2}
    tower = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    save_file(tower.state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "mean": HALF, "std": HALF, "num_classes": 0}
    (folder / "config.json").write_text(
        json.dumps({"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": pretrained})
    )
    train(pairs_artefact, tmp_path / "out", f"vision_folder={folder}", *STILL)
    assert "was trained with image.mean=[0.5, 0.5, 0.5]" in capsys.readouterr().err


def test_a_repository_stands_for_a_folder(
    plain: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def fetch(*names: str) -> Path:
        asked.append(names)
        return plain.path

    monkeypatch.setattr(starting, "fetch_model", fetch)
    model = train(pairs_artefact, tmp_path / "out", "hub.start=somebody/clip@v2", "tokenizer.kind=init", *STILL)
    assert asked == [("somebody/clip", "v2")]
    assert model.manifest["results"]["started_from"] == "all weights"
    assert [ref.name for ref in model.plan.inputs] == ["data", "start"], "its content is part of the plan"
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(load_open_clip(model.path).encode_image(pixels), load_open_clip(plain.path).encode_image(pixels))
    with pytest.raises(ConfigError, match="vision_folder is a folder and hub names a repository"):
        train(pairs_artefact, tmp_path / "both", "hub.vision=timm/x", f"vision_folder={tmp_path}")
    with pytest.raises(ConfigError, match="starts from one model"):
        train(pairs_artefact, tmp_path / "two", "hub.start=somebody/clip", f"init={plain.path}")


def test_a_second_stage_goes_on_from_the_first_with_open_clips_tokenizer(
    pairs_artefact: Artefact, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the two stages of PathGen-CLIP: the recipe names a tag, and the second command takes it away."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    given = [architecture(tmp_path, text_cfg=text), "tokenizer.kind=open_clip", *STILL]
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: pytest.fail("the tag was taken away"))
    first = train(pairs_artefact, tmp_path / "first", *given, "activation=quick_gelu")
    second = train(pairs_artefact, tmp_path / "second", *given, "tag=", f"init={first.path}")
    assert second.manifest["results"]["started_from"] == "all weights"
    assert second.manifest["results"]["activation"] == "quick_gelu"
    old, new = load_file(first.path / "model.safetensors"), load_file(second.path / "model.safetensors")
    assert not changed(old, new)


def test_a_model_with_a_bias_starts_another_objective_without_it_and_back(
    plain: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    given = [architecture(tmp_path), *STILL]
    biased = train(pairs_artefact, tmp_path / "biased", *given, f"init={plain.path}", "objective.name=siglip", "objective.bias=-3")
    old = load_file(biased.path / "model.safetensors")
    assert float(old["logit_bias"]) == pytest.approx(-3)
    for key in ("init", "start"):
        tokenizer = [] if key == "init" else ["tokenizer.kind=init"]
        without = train(pairs_artefact, tmp_path / key, *given, f"{key}={biased.path}", *tokenizer)
        assert without.manifest["results"]["started_from"] == "all weights (logit_bias left behind)"
        new = load_file(without.path / "model.safetensors")
        assert old.keys() - new.keys() == {"logit_bias"}
        assert not changed({name: weight for name, weight in old.items() if name in new}, new)
    again = train(pairs_artefact, tmp_path / "again", *given, f"init={biased.path}", "objective.name=siglip")
    assert again.manifest["results"]["started_from"] == "all weights"
    assert float(load_file(again.path / "model.safetensors")["logit_bias"]) == pytest.approx(-3), "its own, not the paper's"
