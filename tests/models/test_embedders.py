"""What an embedder promises, whichever library is behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip import create_model
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from eosin.errors import ArtefactError, ConfigError, ImageError, InputError, Unsupported
from eosin.images import decode_image, encode_jpeg, encode_png
from eosin.models.open_clip import OpenClipEmbedder
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.models.transformers_clip import TransformersEmbedder

VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12}
WORDS = {"<|startoftext|>": 6, "<|endoftext|>": 7, "a</w>": 0, "b</w>": 1, "c</w>": 2, "a": 3, "b": 4, "c": 5}


def images(count: int, side: int = 50) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encode_png(rng.integers(0, 256, (side, side + number, 3), dtype=np.uint8)) for number in range(count)]


@pytest.fixture(scope="session")
def open_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open_clip")
    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 77, "width": 32, "heads": 2, "layers": 1},
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    save_file(create_model(f"local-dir:{folder}").state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    text = {**TEXT, "vocab_size": 8, "bos_token_id": 6, "eos_token_id": 7, "pad_token_id": 7}
    CLIPModel(CLIPConfig(vision_config=VISION, text_config=text, projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    CLIPTokenizer(vocab=WORDS, merges=[]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vision")
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(params=["open_clip", "transformers"])
def embedder(request: pytest.FixtureRequest, open_clip_folder: Path, clip_folder: Path) -> Embedder:
    folder = open_clip_folder if request.param == "open_clip" else clip_folder
    return load_embedder(EmbedderSpec(str(folder), device="cpu", batch_size=3))


def test_vectors_are_unit_rows_in_the_order_given(embedder: Embedder) -> None:
    vectors = embedder.embed_images(images(7))
    assert vectors.shape == (7, embedder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_images(images(7)[4:5]), vectors[4:5], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


def test_pairs_are_the_unit_mean_of_both(embedder: Embedder) -> None:
    texts = ["a", "b c", "c"]
    image_vectors, text_vectors = embedder.embed_images(images(3)), embedder.embed_texts(texts)
    mean = image_vectors + text_vectors
    np.testing.assert_allclose(embedder.embed_pairs(images(3), texts), mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(InputError, match="3 images and 2 texts"):
        embedder.embed_pairs(images(3), texts[:2])


def test_nothing_gives_an_empty_array(embedder: Embedder) -> None:
    assert embedder.embed_images([]).shape == embedder.embed_texts([]).shape == embedder.embed_pairs([], []).shape == (0, embedder.dim)


def test_a_damaged_image_is_refused_with_its_reason(embedder: Embedder) -> None:
    with pytest.raises(ImageError) as caught:
        embedder.embed_images([*images(1), images(1)[0][:200]])
    assert caught.value.reason == "truncated"


def test_both_towers_and_the_temperature_are_told(embedder: Embedder) -> None:
    assert embedder.supports == {"image", "text", "pair"}
    assert embedder.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)
    assert len(embedder.fingerprint) == 16


def test_open_clips_own_transform_decides_the_pixels(open_clip_folder: Path) -> None:
    from open_clip import create_model_and_transforms
    from PIL import Image

    model, _, transform = create_model_and_transforms(f"local-dir:{open_clip_folder}")
    image = encode_jpeg(np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8))
    with torch.inference_mode():
        wanted = model.eval().encode_image(transform(Image.fromarray(decode_image(image)))[None], normalize=True)
    found = OpenClipEmbedder(EmbedderSpec(str(open_clip_folder), device="cpu")).embed_images([image])
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_transformers_images_go_through_the_pil_processor(clip_folder: Path) -> None:
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    embedder = TransformersEmbedder(EmbedderSpec(str(clip_folder), device="cpu"))
    image = images(1, 77)[0]
    pixels = CLIPImageProcessorPil.from_pretrained(clip_folder)(Image.fromarray(decode_image(image)), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        wanted = embedder.model.get_image_features(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(embedder.embed_images([image]), torch.nn.functional.normalize(wanted, dim=-1).numpy(), atol=1e-6)


def test_a_vision_tower_alone_embeds_images_only(vision_folder: Path) -> None:
    embedder = load_embedder(EmbedderSpec(str(vision_folder), device="cpu"))
    assert embedder.supports == {"image"}
    assert embedder.embed_images(images(2)).shape == (2, 32)
    assert (embedder.dim, embedder.logit_scale) == (32, 1.0)
    for ask in (lambda: embedder.embed_texts(["a"]), lambda: embedder.embed_pairs(images(1), ["a"])):
        with pytest.raises(Unsupported, match="no text tower"):
            ask()


def test_siglip_embeds_images_and_texts(tmp_path: Path, clip_folder: Path) -> None:
    torch.manual_seed(2)
    SiglipModel(SiglipConfig(vision_config=VISION, text_config={**TEXT, "vocab_size": 8, "projection_size": 32})).save_pretrained(tmp_path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    CLIPTokenizer.from_pretrained(clip_folder).save_pretrained(tmp_path)
    embedder = TransformersEmbedder(EmbedderSpec(str(tmp_path), device="cpu"))
    assert embedder.embed_images(images(2)).shape == embedder.embed_texts(["a", "b"]).shape == (2, 32)


def test_missing_weights_are_an_error(tmp_path: Path, open_clip_folder: Path, clip_folder: Path) -> None:
    for source, name in ((open_clip_folder, "open_clip"), (clip_folder, "transformers")):
        folder = tmp_path / name
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        weights = load_file(folder / "model.safetensors")
        del weights[next(key for key in sorted(weights) if "ln_final" in key or "final_layer_norm" in key)]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ArtefactError, match=r"ln_final|final_layer_norm"):
            load_embedder(EmbedderSpec(str(folder), device="cpu"))
    (tmp_path / "open_clip/model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="holds no weights"):
        load_embedder(EmbedderSpec(str(tmp_path / "open_clip"), device="cpu"))


def test_the_fingerprint_follows_weights_and_preprocessing(tmp_path: Path, open_clip_folder: Path) -> None:
    def fingerprint() -> str:
        return OpenClipEmbedder(EmbedderSpec(str(tmp_path), device="cpu")).fingerprint

    for file in open_clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = fingerprint()
    assert first == fingerprint() == OpenClipEmbedder(EmbedderSpec(str(open_clip_folder), device="cpu")).fingerprint
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**config, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}))
    second = fingerprint()
    weights = load_file(tmp_path / "model.safetensors")
    weights["visual.proj"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    assert len({first, second, fingerprint()}) == 3


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"preprocess_cfg": {}}', '{"model_cfg": {"embed_dim": 8, "vision_cfg": {"wrong": 1}, "text_cfg": {}}}']
)
def test_a_config_that_open_clip_does_not_take_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        load_embedder(EmbedderSpec(str(tmp_path), device="cpu"))


def test_a_folder_of_neither_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model: neither open_clip_config\.json nor config\.json"):
        load_embedder(EmbedderSpec(str(tmp_path)))


def test_a_device_that_is_not_there_is_refused(open_clip_folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        load_embedder(EmbedderSpec(str(open_clip_folder), device="abacus"))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_two_towers_without_tokenizer_files_embed_images_alone(kind: str, tmp_path: Path) -> None:
    square = {"height": 32, "width": 32}
    if kind == "clip":
        CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=16)).save_pretrained(tmp_path)
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(tmp_path)
    else:
        SiglipModel(SiglipConfig(vision_config=VISION, text_config={**TEXT, "vocab_size": 8})).save_pretrained(tmp_path)
        SiglipImageProcessor(size=square).save_pretrained(tmp_path)
    found = load_embedder(EmbedderSpec(str(tmp_path), device="cpu"))
    assert found.supports == {"image"}
    assert found.embed_images(images(2)).shape == (2, 16 if kind == "clip" else 32)
    with pytest.raises(Unsupported, match="no tokenizer"):
        found.embed_texts(["a"])
