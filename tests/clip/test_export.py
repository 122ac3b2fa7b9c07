import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip import create_model
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, CLIPModel, CLIPVisionModel

import eosin.clip.export as export_module
from eosin.artefacts import Artefact, ArtefactWriter, Plan
from eosin.clip.convert import check_convertible
from eosin.clip.export import export
from eosin.clip.model_config import ClipExportConfig
from eosin.clip.parity import Difference, check_pixels, compare
from eosin.errors import EosinError, Unsupported
from eosin.models.open_clip import OpenClipEmbedder, load_open_clip, preprocessing_of
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.models.transformers_clip import TransformersEmbedder

BASE = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32},
    "text_cfg": {"context_length": 77, "width": 48, "heads": 3, "layers": 2},
}


def untrained(folder: Path, scale: float, resize: str = "shortest", **top: Any) -> Path:
    """An open_clip folder with the built-in tokenizer and matrices `scale` times as large as at the start."""
    folder.mkdir()
    preprocess = {"mean": [0.7, 0.5, 0.7], "std": [0.2, 0.25, 0.2], "interpolation": "bicubic", "resize_mode": resize}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**BASE, **top}, "preprocess_cfg": preprocess}))
    torch.manual_seed(5)
    model = create_model(f"local-dir:{folder}")
    weights = {name: weight * scale if weight.ndim >= 2 else weight + 0.1 for name, weight in model.state_dict().items()}
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    return folder


def exported_to(source: Path, out: Path) -> dict[str, Any]:
    with ArtefactWriter(out, Plan("clip_model", "clip export", {})) as writer:
        return writer.finish(export(source, writer, ClipExportConfig())).manifest["results"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_features_agree_at_the_scale_of_trained_weights(tmp_path: Path, quick: bool, scale: float) -> None:
    source = untrained(tmp_path / "source", scale, quick_gelu=quick)
    results = exported_to(source, tmp_path / "out")
    assert results["activation"] == ("quick_gelu" if quick else "gelu")
    assert results["end_token_id"] == 49407
    ours, theirs = load_open_clip(source), CLIPModel.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.vision_config.hidden_act == theirs.config.text_config.hidden_act == results["activation"]
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :4] = torch.tensor([49406, 320, 9000, 49407])
    tokens[1, :3] = torch.tensor([49406, 11, 49407])
    with torch.inference_mode():
        image = theirs.get_image_features(pixels).pooler_output
        text = theirs.get_text_features(tokens).pooler_output
        hidden = theirs.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        inner = ours.visual.forward_intermediates(pixels, indices=[1], output_fmt="NLC", intermediates_only=True)
        torch.testing.assert_close(image, ours.encode_image(pixels), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(text, ours.encode_text(tokens), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(hidden[:, 1:], inner["image_intermediates"][0], atol=1e-4, rtol=1e-5)


def test_a_wrong_activation_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = untrained(tmp_path / "source", 4.0)
    monkeypatch.setattr(export_module, "check_activation", lambda *_: "quick_gelu")
    with pytest.raises(EosinError, match="does not compute what the original does"):
        exported_to(source, tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()
    assert not (tmp_path / "out/model.safetensors").exists(), "a folder that failed must not look like a model"


def test_a_wrong_end_token_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, real = untrained(tmp_path / "source", 4.0), export_module.clip_config

    def wrong(*arguments: Any) -> dict[str, Any]:
        values = real(*arguments)
        values["text_config"]["eos_token_id"] = 5
        return values

    monkeypatch.setattr(export_module, "clip_config", wrong)
    with pytest.raises(EosinError):
        exported_to(source, tmp_path / "out")


@pytest.mark.parametrize("size", [(224, 224), (97, 97), (32, 32), (300, 200), (201, 303), (1000, 333)])
@pytest.mark.parametrize("loader", [AutoImageProcessor, AutoProcessor])
def test_the_processor_that_loads_by_default_gives_open_clips_pixels(
    exported: Artefact, trained: Artefact, size: tuple[int, int], loader: Any
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = preprocessing_of(load_open_clip(trained.path))(Image.fromarray(pixels))
    processor = loader.from_pretrained(exported.path, local_files_only=True)
    found = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_shortest_resize_gives_the_pixels_of_square_images_and_says_so(tmp_path: Path) -> None:
    results = exported_to(untrained(tmp_path / "source", 1.0), tmp_path / "out")
    assert results["exact_pixels_on"].startswith("square")
    assert results["pixel_differences"]["224x224"] <= 1e-6
    with pytest.raises(EosinError, match="201x303"):
        check_pixels({"224x224": 0.0, "201x303": 1.0}, exact=True)
    with pytest.raises(EosinError, match="224x224"):
        check_pixels({"224x224": float("nan")}, exact=False)


def test_both_formats_embed_alike(exported: Artefact, trained: Artefact, squares: Any) -> None:
    ours, theirs = (load_embedder(EmbedderSpec(str(folder), device="cpu")) for folder in (trained.path, exported.path))
    assert isinstance(ours, OpenClipEmbedder)
    assert isinstance(theirs, TransformersEmbedder)
    images, texts = [squares.pair(number).image for number in range(5)], ["a red square", "PALE", "", "words " * 50]
    np.testing.assert_allclose(theirs.embed_images(images), ours.embed_images(images), atol=1e-5)
    np.testing.assert_allclose(theirs.embed_texts(texts), ours.embed_texts(texts), atol=1e-5)
    assert theirs.logit_scale == pytest.approx(ours.logit_scale)
    assert (ours.dim, theirs.dim) == (32, 32)


def test_the_image_tower_loads_alone(exported: Artefact) -> None:
    tower, report = CLIPVisionModel.from_pretrained(exported.path, output_loading_info=True)
    assert not report["missing_keys"]
    whole = AutoModel.from_pretrained(exported.path)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(tower(pixels).last_hidden_state, whole.vision_model(pixels).last_hidden_state)


def test_the_manifest_holds_the_differences(exported: Artefact) -> None:
    results = exported.manifest["results"]
    assert set(results["differences"]) == {"image", "image_unit", "text", "text_unit", "image_hidden_states_-2", "logit_scale"}
    assert all(entry["largest"] <= 1e-4 for entry in results["differences"].values())
    assert results["exact_pixels_on"] == "every image"
    assert max(results["pixel_differences"].values()) <= 1e-6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vision_cfg": {"timm_model_name": "vit_base_patch16_224", "image_size": 224}}, "timm"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3], "width": 64}}, "ResNet"),
        ({"vision_cfg": {**BASE["vision_cfg"], "attentional_pool": True}}, "CoCa"),  # type: ignore[dict-item]
        ({"vision_cfg": {**BASE["vision_cfg"], "ls_init_value": 0.1}}, "ls_init_value"),  # type: ignore[dict-item]
        ({"vision_cfg": {**BASE["vision_cfg"], "pool_type": "avg"}}, "pool_type"),  # type: ignore[dict-item]
        ({"vision_cfg": {**BASE["vision_cfg"], "of_the_future": 1}}, "of_the_future"),  # type: ignore[dict-item]
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "Hugging Face"),
        ({"text_cfg": {**BASE["text_cfg"], "embed_cls": True}}, "class token"),  # type: ignore[dict-item]
        ({"text_cfg": {**BASE["text_cfg"], "pool_type": "last"}}, "pool_type"),  # type: ignore[dict-item]
        ({"multimodal_cfg": {}}, "captioning"),
    ],
)
def test_what_clipmodel_cannot_compute_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        check_convertible({**BASE, **change})


def test_differences_are_measured_against_the_features() -> None:
    found = compare(torch.tensor([100.0, 0.0]), torch.tensor([100.005, 0.0]))
    assert found.within(1e-4)
    assert not found.within(1e-5)
    assert not Difference(float("nan"), 1.0).within(1.0)
