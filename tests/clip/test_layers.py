"""What of a tower learns, and how fast."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file

from eosin.artefacts import Artefact
from eosin.clip.adapters import adapt, merge
from eosin.clip.config import OptimiserConfig, TowerConfig
from eosin.clip.layers import blocks_of, lock, place_of
from eosin.clip.schedule import build_optimiser, set_rate
from eosin.clip.towers import pack_attention
from eosin.errors import ConfigError

Train = Callable[..., Artefact]
VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 3, "head_width": 16}
TEXT = {"context_length": 20, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2}


def towers(vision: TowerConfig | None = None, text: TowerConfig | None = None) -> dict[str, TowerConfig]:
    return {"vision": vision or TowerConfig(), "text": text or TowerConfig()}


@pytest.mark.parametrize(
    ("name", "tower", "depth"),
    [
        ("visual.conv1.weight", "vision", 0),
        ("visual.positional_embedding", "vision", 0),
        ("visual.transformer.resblocks.2.mlp.c_fc.weight", "vision", 3),
        ("visual.ln_post.weight", "vision", -1),
        ("visual.proj", "vision", -1),
        ("visual.trunk.patch_embed.proj.weight", "vision", 0),
        ("visual.trunk.blocks.11.attn.qkv.weight", "vision", 12),
        ("visual.trunk.norm.weight", "vision", -1),
        ("visual.layer3.0.conv1.weight", "vision", 3),
        ("visual.trunk.stages.1.blocks.0.norm.weight", "vision", 2),
        ("token_embedding.weight", "text", 0),
        ("transformer.resblocks.0.ln_1.weight", "text", 1),
        ("text_projection", "text", -1),
        ("text.transformer.embeddings.word_embeddings.weight", "text", 0),
        ("text.transformer.encoder.layer.11.output.dense.weight", "text", 12),
        ("text.proj.0.weight", "text", -1),
        ("text.positional_embedding", "text", 0),
        ("logit_scale", "other", -1),
        ("text_decoder.resblocks.0.attn.in_proj_weight", "other", -1),
    ],
)
def test_every_weight_has_its_place(name: str, tower: str, depth: int) -> None:
    found = place_of(name)
    assert (found.tower, found.depth) == (tower, depth)


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50", "coca_ViT-B-32", "ViT-B-16-SigLIP", "convnext_base"])
def test_the_blocks_of_open_clips_towers_are_found(name: str) -> None:
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    names = [name for name, _ in model.named_parameters()]
    assert blocks_of(names, "vision") == {"RN50": 4, "convnext_base": 4}.get(name, 12)
    assert blocks_of(names, "text") == 12


def free(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_locked_tower_does_not_learn_and_the_last_blocks_do() -> None:
    model = CLIP(16, VISION, TEXT)
    lock(model, towers(TowerConfig(train="last", blocks=1), TowerConfig(train="none")))
    vision = {name for name in free(model) if name.startswith("visual.")}
    assert vision == {name for name, _ in model.named_parameters() if "visual.transformer.resblocks.2." in name} | {
        "visual.ln_post.weight", "visual.ln_post.bias", "visual.proj",
    }  # fmt: skip
    assert free(model) - vision == {"logit_scale"}
    with pytest.raises(ConfigError, match=r"vision\.blocks is 4, but the tower has 3"):
        lock(model, towers(TowerConfig(train="last", blocks=4)))


def test_with_both_towers_locked_nothing_is_left_to_learn() -> None:
    model = CLIP(16, VISION, TEXT)
    both = towers(TowerConfig(train="none"), TowerConfig(train="none"))
    lock(model, both)
    with pytest.raises(ConfigError, match="nothing is left to learn"):
        build_optimiser(model, OptimiserConfig(), both)


def test_rates_fall_from_the_top_of_a_tower() -> None:
    model = CLIP(16, VISION, TEXT)
    optimiser = build_optimiser(model, OptimiserConfig(), towers(TowerConfig(layer_decay=0.5), TowerConfig(lr=0.1)))
    set_rate(optimiser, 2.0)
    rates = {id(parameter): group["lr"] for group in optimiser.param_groups for parameter in group["params"]}
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["visual.proj"] == 2.0
    assert named["visual.transformer.resblocks.2.mlp.c_fc.weight"] == 1.0
    assert named["visual.transformer.resblocks.0.ln_1.bias"] == 0.25
    assert named["visual.conv1.weight"] == 0.125
    assert named["transformer.resblocks.0.ln_1.bias"] == pytest.approx(0.2)
    assert named["logit_scale"] == 2.0


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.zeros(3, 20, dtype=torch.long)
    tokens[:, :4] = torch.tensor([1, 5, 9, 49])
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), tokens


def test_adapters_learn_alone_and_merge_into_the_same_model() -> None:
    torch.manual_seed(0)
    model = CLIP(16, VISION, TEXT)
    names = set(model.state_dict())
    both = towers(TowerConfig(train="lora", rank=4), TowerConfig(train="none"))
    lock(model, both)
    pack_attention(model)
    wrapper = adapt(model, both)
    pixels, tokens = inputs()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimiser = build_optimiser(model, OptimiserConfig(lr=1e-2), both)
    for _ in range(3):
        optimiser.zero_grad()
        (model.encode_image(pixels) @ model.encode_text(tokens).T).square().sum().backward()
        optimiser.step()
    learning = free(model)
    assert learning - {"logit_scale"} == {name for name in before if "lora_" in name}
    assert sum(".attn." in name and "out_proj" not in name for name in learning) == 2 * 3, "the joint projection of each block"
    assert sum("out_proj" in name for name in learning) == 2 * 3
    assert any("mlp.c_fc" in name for name in learning)
    for name, weight in model.state_dict().items():
        moved = not torch.equal(weight, before[name])
        assert moved == ("lora_" in name), name
    assert {weight.shape[0] for name, weight in model.named_parameters() if "lora_A" in name} == {4}
    wanted = model.encode_image(pixels)
    merged = merge(wrapper, model)
    assert set(merged.state_dict()) == names
    torch.testing.assert_close(merged.encode_image(pixels), wanted, atol=1e-5, rtol=1e-4)


def test_nothing_is_adapted_where_nobody_asks() -> None:
    model = CLIP(16, VISION, TEXT)
    assert adapt(model, towers()) is None


@pytest.mark.parametrize("how", ["none", "lora", "last"])
def test_a_recipe_trains_part_of_a_tower(how: str, trained: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    more = ("vision.blocks=1",) if how == "last" else ()
    given = (f"init={trained.path}", "epochs=2", f"vision.train={how}", *more)
    model = train(pairs_artefact, tmp_path / "out", *given, "--checkpoint-every", "2")
    old, new = load_file(trained.path / "model.safetensors"), load_file(model.path / "model.safetensors")
    assert old.keys() == new.keys()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    vision = {name for name in moved if name.startswith("visual.")}
    assert moved - vision, "the text tower learns"
    if how == "none":
        assert not vision
    elif how == "lora":
        assert vision
        assert all(name.endswith(("weight", "in_proj_weight")) and "resblocks" in name for name in vision)
    else:
        assert vision <= {name for name in old if "resblocks.1." in name or "ln_post" in name or name == "visual.proj"}
    results: dict[str, Any] = model.manifest["results"]
    assert results["learning"] < results["parameters"]
