"""SigLIP's towers, and checkpoints that do not say what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoProcessor, PreTrainedTokenizerFast, SiglipModel

from eosin.artefacts import Artefact, open_artefact
from eosin.clip.cli import main
from eosin.clip.convert_siglip import is_siglip
from eosin.errors import ArtefactError, ConfigError, EosinError, Unsupported
from eosin.models.open_clip import VISION_FOLDER, build_open_clip, load_open_clip, tokenizer_of
from eosin.models.specs import EmbedderSpec, load_embedder

TOWER = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
TEXT = {"context_length": 12, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
SIGLIP: dict[str, Any] = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 32, "timm_model_name": VISION_FOLDER, "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none",
    },
    "text_cfg": {**TEXT, "tokenizer_kwargs": {"clean": "canonicalize"}, "norm_kwargs": {"eps": 1e-6}},
}  # fmt: skip
TEXTS = ["Tumour, invasive (grade 3)!", "an H&E image", "", "  two   blanks_and 12/mm2 ", "much " * 40]


def tokenizer(folder: Path, context: int) -> int:
    """One like SigLIP's: no start token, the end token also pads; its size."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator([*TEXTS, "tumour invasive grade"] * 3, trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"]))
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_max_length=context)
    fast.save_pretrained(folder)
    return int(made.get_vocab_size())


def siglip(folder: Path, scale: float = 1.0, act: str = "gelu", **text: Any) -> Path:
    """An open_clip SigLIP folder, its matrices `scale` times as large as at the start."""
    (folder / VISION_FOLDER).mkdir(parents=True)
    given = {"architecture": "vit_base_patch16_siglip_224", "model_args": {**TOWER, "act_layer": act}, "pretrained_cfg": {"num_classes": 0}}
    (folder / VISION_FOLDER / "config.json").write_text(json.dumps(given))
    size = tokenizer(folder, TEXT["context_length"])  # type: ignore[arg-type]
    text_cfg = {**SIGLIP["text_cfg"], "vocab_size": size, "hf_tokenizer_name": "own", **text}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**SIGLIP, "text_cfg": text_cfg}, "preprocess_cfg": preprocess}))
    torch.manual_seed(7)
    model = build_open_clip(folder)
    weights = {
        name: (weight * scale if weight.ndim >= 2 else weight + 0.1 * torch.randn_like(weight)).contiguous()
        for name, weight in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def export(folder: Path, out: Path, *more: str) -> Artefact:
    (out.parent / "empty.yaml").write_text("")
    main(["export", str(out.parent / "empty.yaml"), f"folder={folder}", "--out", str(out), *more])
    return open_artefact(out)


@pytest.mark.parametrize(("scale", "act"), [(1.0, "gelu"), (3.0, "gelu"), (3.0, "gelu_tanh")])
def test_siglip_computes_the_same_in_transformers(tmp_path: Path, scale: float, act: str) -> None:
    source = siglip(tmp_path / "source", scale, act)
    results = export(source, tmp_path / "out").manifest["results"]
    assert {"image", "text", "image_hidden_states_-2", "logit_bias"} <= set(results["differences"])
    ours, theirs = load_open_clip(source), SiglipModel.from_pretrained(tmp_path / "out").eval()
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    tokens = processor.tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    torch.testing.assert_close(tokens, tokenizer_of(source)(TEXTS))
    with torch.inference_mode():
        vision = theirs.vision_model(pixels, output_hidden_states=True)
        inner = ours.visual.trunk.forward_intermediates(pixels, indices=[1], output_fmt="NLC", intermediates_only=True)[0]
        torch.testing.assert_close(vision.pooler_output, ours.encode_image(pixels), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(vision.hidden_states[-2], inner, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(theirs.text_model(tokens).pooler_output, ours.encode_text(tokens), atol=1e-4, rtol=1e-5)
        both = theirs(input_ids=tokens, pixel_values=pixels)
        logits = ours.get_logits(pixels, tokens)[0]
        torch.testing.assert_close(both.logits_per_image, logits, atol=1e-3, rtol=1e-4)


def test_both_formats_of_siglip_embed_alike(tmp_path: Path) -> None:
    source = siglip(tmp_path / "source")
    export(source, tmp_path / "out")
    ours, theirs = (load_embedder(EmbedderSpec(str(folder), device="cpu")) for folder in (source, tmp_path / "out"))
    assert torch.tensor(ours.embed_texts(TEXTS) - theirs.embed_texts(TEXTS)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"no_causal_mask": False}, "no_causal_mask is False"),
        ({"pool_type": "first"}, "pool_type is 'first'"),
        ({"tokenizer_kwargs": {"clean": "lower"}}, "cleaned by 'lower'"),
    ],
)
def test_what_siglipmodel_cannot_compute_is_refused(tmp_path: Path, text: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        export(siglip(tmp_path / "source", **text), tmp_path / "out")
    assert not (tmp_path / "out/model.safetensors").exists()


def test_a_timm_tower_that_pools_otherwise_is_no_siglip() -> None:
    assert is_siglip(SIGLIP)
    assert not is_siglip({**SIGLIP, "vision_cfg": {**SIGLIP["vision_cfg"], "timm_pool": "avg"}})


CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 77, "width": 48, "heads": 3, "layers": 2},
}


@pytest.fixture
def quick(tmp_path: Path) -> tuple[Path, Path, Any]:
    """A folder with a trainer's checkpoint of a QuickGELU model, the architecture it was trained with (which says GELU), and the model."""
    from open_clip import create_model

    folder = tmp_path / "described"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**CLIP, "quick_gelu": True}, "preprocess_cfg": {}}))
    torch.manual_seed(3)
    model = create_model(f"local-dir:{folder}").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(3)
    bare = tmp_path / "bare"
    bare.mkdir()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": w for name, w in model.state_dict().items()}}, bare / "epoch_3.pt")
    architecture = tmp_path / "small.json"
    architecture.write_text(json.dumps(CLIP))
    return bare, architecture, model


def test_a_quickgelu_checkpoint_given_by_its_path_never_becomes_gelu_in_silence(quick: tuple[Path, Path, Any], tmp_path: Path) -> None:
    bare, architecture, model = quick
    with pytest.raises(ConfigError, match="GELU or QuickGELU"):
        export(bare, tmp_path / "out", f"architecture={architecture}")
    with pytest.raises(ConfigError, match="architecture=NAME"):
        export(bare, tmp_path / "untold")
    made = export(bare, tmp_path / "told", f"architecture={architecture}", "activation=quick_gelu")
    assert made.manifest["results"]["activation"] == "quick_gelu"
    theirs = load_embedder(EmbedderSpec(str(made.path), device="cpu")).model  # type: ignore[attr-defined]
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        features = theirs.visual_projection(theirs.vision_model(pixels).pooler_output)
        torch.testing.assert_close(features, model.encode_image(pixels), atol=1e-4, rtol=1e-4)


def test_weights_that_note_their_activation_need_no_telling_and_bear_no_other(quick: tuple[Path, Path, Any], tmp_path: Path) -> None:
    _, architecture, model = quick
    noted = tmp_path / "noted"
    noted.mkdir()
    weights = {name: weight.clone().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, noted / "model.safetensors", metadata={"activation": "quick_gelu"})
    assert export(noted, tmp_path / "out", f"architecture={architecture}").manifest["results"]["activation"] == "quick_gelu"
    with pytest.raises(ConfigError, match="notes that it was trained with quick_gelu"):
        export(noted, tmp_path / "other", f"architecture={architecture}", "activation=gelu")
    (noted / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    with pytest.raises(ArtefactError, match="was trained with quick_gelu"):
        export(noted, tmp_path / "third")


def test_a_checkpoint_of_another_architecture_is_refused(quick: tuple[Path, Path, Any], tmp_path: Path) -> None:
    bare, _, _ = quick
    with pytest.raises(ArtefactError, match="this architecture"):
        export(bare, tmp_path / "out", "architecture=clip-vit-192x6-96", "activation=gelu")


def test_a_checkpoint_that_is_no_plain_weights_is_refused(tmp_path: Path, recipe: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ArtefactError, match="cannot be read as weights"):
        export(bare, tmp_path / "out", f"architecture={recipe.parent / 'tiny.json'}", "activation=gelu")


def test_model_and_folder_exclude_each_other(exported: Artefact, tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(ConfigError, match="either model=ARTEFACT or folder=DIR"):
        main(["export", str(recipe.parent / "empty.yaml"), "--out", str(tmp_path / "out")])


def test_a_wrong_weight_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eosin.clip.export as module

    real = module.convert_siglip_weights

    def swapped(weights: Any) -> Any:
        found = real(weights)
        first, second = (f"vision_model.encoder.layers.0.self_attn.{part}_proj.weight" for part in "qv")
        found[first], found[second] = found[second], found[first]
        return found

    monkeypatch.setattr(module, "convert_siglip_weights", swapped)
    with pytest.raises(EosinError, match="does not compute what the original does"):
        export(siglip(tmp_path / "source", 3.0), tmp_path / "out")


def test_the_exported_weights_are_safetensors_of_the_same_numbers(tmp_path: Path) -> None:
    source = siglip(tmp_path / "source")
    export(source, tmp_path / "out")
    with safe_open(tmp_path / "out/model.safetensors", framework="pt") as file:
        assert "vision_model.head.probe" in set(file.keys())
    torch.testing.assert_close(
        load_file(tmp_path / "out/model.safetensors")["logit_bias"].reshape(()), load_open_clip(source).logit_bias.reshape(())
    )
