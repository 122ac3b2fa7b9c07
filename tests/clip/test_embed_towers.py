"""Image towers of timm and transformers, by folder, by name and by preset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torchvision import transforms
from transformers import (
    AutoConfig,
    AutoModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTModel,
)

import eosin.models.vision as vision
from eosin.artefacts import Artefact
from eosin.clip.cli import main
from eosin.errors import ArtefactError, ConfigError, InputError, Unsupported
from eosin.images import encode_png
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.models.vision_presets import PixelsConfig, VisionPreset, load_preset, preset_names
from eosin.numerics import unit_rows

SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 28, "patch_size": 14}
MEAN, STD = (0.7, 0.55, 0.7), (0.2, 0.22, 0.18)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICTURES = [np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8) for seed, side in enumerate((40, 40, 33, 61))]
IMAGES = [encode_png(pixels) for pixels in PICTURES]

Tensors = Callable[[torch.Tensor], torch.Tensor]


def timm_folder(folder: Path, **config: Any) -> tuple[Path, Any]:
    """A folder as timm writes them, with a classifier in it; and the tower without."""
    folder.mkdir()
    torch.manual_seed(1)
    full = timm.create_model("vit_small_patch16_224", num_classes=3, **SMALL)
    save_file(full.state_dict(), folder / "model.safetensors")
    tower = timm.create_model("vit_small_patch16_224", num_classes=0, **SMALL).eval()
    tower.load_state_dict({name: weight for name, weight in full.state_dict().items() if not name.startswith("head.")})
    given = {"mean": MEAN, "std": STD, "input_size": [3, 28, 28], "crop_pct": 0.9, "interpolation": "bicubic"}
    values = {"architecture": "vit_small_patch16_224", "num_classes": 3, "model_args": SMALL, "pretrained_cfg": given, **config}
    (folder / "config.json").write_text(json.dumps(values))
    tower.pretrained_cfg = {**tower.pretrained_cfg, **given}
    return folder, tower


def processor(folder: Path, **values: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD, **values}))


def by_torchvision(resize: Any, mean: Any, std: Any) -> Any:
    """A model card's transform, as the cards write it."""
    steps = [transforms.Resize(resize, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(28)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])


def wanted(tower: Tensors, transform: Callable[[Any], torch.Tensor]) -> np.ndarray:
    with torch.inference_mode():
        return unit_rows(tower(torch.stack([transform(Image.fromarray(pixels)) for pixels in PICTURES])).numpy())


def embedder(folder: Path, **more: Any) -> Any:
    return load_embedder(EmbedderSpec(str(folder), device="cpu", batch_size=3, **more))


def test_a_timm_folder_embeds_as_timm_does_with_its_own_pixels(tmp_path: Path) -> None:
    folder, tower = timm_folder(tmp_path / "timm")
    found = embedder(folder)
    transform = create_transform(**resolve_model_data_config(tower), is_training=False)
    np.testing.assert_allclose(found.embed_images(IMAGES), wanted(tower, transform), atol=1e-6)
    assert (found.dim, found.supports) == (32, frozenset({"image"}))
    with pytest.raises(Unsupported, match="no text tower"):
        found.embed_texts(["a"])


def test_a_timm_folder_without_mean_and_std_is_refused(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm", pretrained_cfg={"input_size": [3, 28, 28]})
    with pytest.raises(InputError, match="no mean and std"):
        embedder(folder)


def test_weights_of_another_tower_are_refused(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm", model_args={**SMALL, "init_values": 1e-5})
    with pytest.raises(ArtefactError, match=r"4 weights missing \(blocks\.0\.ls1\.gamma"):
        embedder(folder)


def test_a_preset_of_another_size_is_refused_in_one_line(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm", model_args={**SMALL, "embed_dim": 64})
    with pytest.raises(ArtefactError, match=r"timm is of another architecture: \d+ weights of another shape \(") as caught:
        embedder(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).removeprefix(str(folder))) < 400


def test_bfloat16_gives_nearly_the_same_vectors(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm")
    whole, half = (embedder(folder, precision=precision).embed_images(IMAGES) for precision in ("fp32", "bf16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(whole - half).max() < 0.03


VIRCHOW2 = {"mlp_layer": "swiglu_packed", "act_layer": "silu", "mlp_ratio": 5.3375, "init_values": 1e-5, "global_pool": "", "reg_tokens": 4}


def test_virchow2_is_class_token_beside_the_mean_of_the_patches_without_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_preset("virchow2")
    assert {key: real.arguments[key] for key in VIRCHOW2} == VIRCHOW2
    assert (real.pooling, real.prefix, real.dim) == ("class_mean", 5, 2560)
    small = replace(real, arguments={**real.arguments, **SMALL}, dim=64, pixels=PixelsConfig(28, 1.0, "bicubic"))
    monkeypatch.setattr(vision, "load_preset", lambda name: small)
    torch.manual_seed(2)
    arguments = {**SMALL, **VIRCHOW2, "mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    tower = timm.create_model("vit_huge_patch14_224", num_classes=0, **arguments).eval()
    torch.save(tower.state_dict(), tmp_path / "pytorch_model.bin")

    def by_the_card(pixels: torch.Tensor) -> torch.Tensor:
        output = tower(pixels)
        return torch.cat([output[:, 0], output[:, 5:].mean(1)], dim=-1)

    found = embedder(tmp_path, preset="virchow2")
    np.testing.assert_allclose(found.embed_images(IMAGES), wanted(by_the_card, by_torchvision(28, *IMAGENET)), atol=1e-6)
    monkeypatch.setattr(vision, "load_preset", lambda name: replace(small, prefix=1))
    with pytest.raises(InputError, match="5 tokens before the patches"):
        embedder(tmp_path, preset="virchow2")


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


def test_hibou_keeps_its_registers_though_its_folder_names_a_model_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    tower = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SIZES, use_swiglu_ffn=True, num_register_tokens=4)).eval()
    torch.nn.init.normal_(tower.embeddings.register_tokens)
    save_file({name: weight.contiguous() for name, weight in tower.state_dict().items()}, tmp_path / "model.safetensors")
    remote = {"auto_map": {"AutoModel": "modeling_dinov2.Dinov2Model"}, "architectures": ["Dinov2Model"]}
    values = {"model_type": "dinov2", **remote, **SIZES, "use_swiglu_ffn": True, "num_register_tokens": 4}
    (tmp_path / "config.json").write_text(json.dumps(values))
    processor(tmp_path, image_processor_type="BitImageProcessor", size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    with pytest.raises(ArtefactError, match="register_tokens"):
        embedder(tmp_path)
    real = load_preset("hibou-b")
    monkeypatch.setattr(vision, "load_preset", lambda name: replace(real, dim=32, pixels=replace(real.pixels, size=28)))
    transform = by_torchvision(28, (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
    found = embedder(tmp_path, preset="hibou-b").embed_images(IMAGES)
    np.testing.assert_allclose(found, wanted(lambda pixels: tower(pixels).pooler_output, transform), atol=1e-6)


def test_a_vit_without_a_trained_pooler_gives_its_class_token(tmp_path: Path) -> None:
    torch.manual_seed(4)
    tower = ViTModel(ViTConfig(**SIZES, intermediate_size=64), add_pooling_layer=False).eval()
    tower.save_pretrained(tmp_path)
    processor(tmp_path, image_processor_type="ViTImageProcessor", size={"height": 28, "width": 28}, resample=3)
    found = embedder(tmp_path).embed_images(IMAGES)
    transform = by_torchvision((28, 28), MEAN, STD)
    np.testing.assert_allclose(found, wanted(lambda pixels: tower(pixels).last_hidden_state[:, 0], transform), atol=1e-5)


DEEP = {"depths": [1, 1], "image_size": 28}
KINDS: dict[str, dict[str, Any]] = {
    **{key: {} for key in ("ijepa", "vit_mae", "vit_msn", "deit", "beit", "dinov3_vit", "siglip_vision_model")},
    **{key: {**DEEP, "embed_dim": 16, "num_heads": [1, 2], "patch_size": 7, "window_size": 2} for key in ("swin", "swinv2")},
    **{key: {**DEEP, "num_stages": 2, "hidden_sizes": [16, 32]} for key in ("convnext", "convnextv2")},
}


def vector(tower: Any, kind: str, pixels: torch.Tensor) -> torch.Tensor:
    """What the papers and transformers' own classifiers take of each."""
    if kind == "vit_mae":
        tower.config.mask_ratio = 0.0
    output = tower(pixel_values=pixels)
    found: torch.Tensor = {
        "ijepa": lambda: output.last_hidden_state.mean(dim=1),
        "vit_mae": lambda: output.last_hidden_state[:, 0],
        "vit_msn": lambda: output.last_hidden_state[:, 0],
    }.get(kind, lambda: output.pooler_output)()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_of_transformers_gives_the_vector_of_its_kind_each_time(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(6)
    tower = AutoModel.from_config(AutoConfig.for_model(kind, **(KINDS[kind] or {**SIZES, "intermediate_size": 64}))).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tower.save_pretrained(tmp_path)
    processor(tmp_path, image_processor_type="ViTImageProcessor", size={"height": 28, "width": 28}, resample=3)
    found = embedder(tmp_path)
    first = found.embed_images(IMAGES)
    transform = by_torchvision((28, 28), MEAN, STD)
    np.testing.assert_allclose(first, wanted(lambda pixels: vector(tower, kind, pixels), transform), atol=1e-4)
    assert np.array_equal(first, found.embed_images(IMAGES))
    assert np.abs(first[0] - first[2]).max() > 1e-3


def test_a_siglip_without_the_head_that_pools_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("siglip_vision_model", **SIZES, intermediate_size=64, vision_use_head=False)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    processor(tmp_path, image_processor_type="ViTImageProcessor", size={"height": 28, "width": 28}, resample=3)
    with pytest.raises(InputError, match="leaves out the head that pools"):
        embedder(tmp_path)


@pytest.mark.parametrize("kind", ["siglip2_vision_model", "hiera", "chinese_clip"])
def test_a_kind_whose_vector_is_not_written_down_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(InputError, match=rf"how a {kind} becomes one vector.*dinov2.*ijepa"):
        embedder(tmp_path)


def test_dinov2_of_transformers_embeds_by_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(5)
    tower = Dinov2Model(Dinov2Config(**SIZES)).eval()
    tower.save_pretrained(tmp_path)
    crop = {"height": 28, "width": 28}
    processor(tmp_path, image_processor_type="BitImageProcessor", size={"shortest_edge": 28}, crop_size=crop, resample=3)
    found = embedder(tmp_path).embed_images(IMAGES)
    transform = by_torchvision(28, MEAN, STD)
    np.testing.assert_allclose(found, wanted(lambda pixels: tower(pixels).last_hidden_state[:, 0], transform), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in preset_names() if load_preset(name).library == "timm"])
def test_a_preset_of_timm_builds_and_gives_vectors_of_the_length_it_says(name: str) -> None:
    preset = load_preset(name)
    with torch.device("meta"):
        tower = vision.build_tower(preset)
        side = preset.pixels.size
        assert tuple(vision.encode_with(preset, tower, torch.zeros(2, 3, side, side)).shape) == (2, preset.dim)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_where_it_was_read(name: str) -> None:
    preset: VisionPreset = load_preset(name)
    assert preset.version >= 1
    assert preset.repository in preset.source
    assert preset.dim % (2 if preset.pooling == "class_mean" else 1) == 0


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="virchow2"):
        load_preset("virchow3")


def test_another_preset_is_another_fingerprint(tmp_path: Path) -> None:
    folder, _ = timm_folder(tmp_path / "timm")
    assert len({vision.vision_fingerprint(folder, preset) for preset in ("", "uni", "phikon")}) == 3


def test_a_model_by_name_comes_from_the_hubs_cache(tmp_path: Path, images_artefact: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--lab--tower"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    timm_folder(repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty.yaml").write_text("")
    command = ["embed", str(tmp_path / "empty.yaml"), f"data={images_artefact.path}", "splits=[test]", "--device", "cpu"]
    main([*command, "name=lab/tower", "--out", str(tmp_path / "out")])
    facts = json.loads((tmp_path / "out" / "plan.json").read_text())["facts"]
    assert (facts["repository"], facts["commit"]) == ("lab/tower", commit)
    with pytest.raises(InputError, match="lab/other cannot be fetched"):
        main([*command, "name=lab/other", "--out", str(tmp_path / "other")])
    with pytest.raises(ConfigError, match="no repository"):
        main([*command, "name=tower", "--out", str(tmp_path / "third")])
