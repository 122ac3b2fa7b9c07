"""Models that training starts from: none of them changes on the way, and none brings a wrong activation along."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTModel,
)

from eosin.artefacts import Artefact
from eosin.clip.architecture import activation_of
from eosin.errors import ArtefactError, ConfigError, InputError, Unsupported
from eosin.models.open_clip import OpenClipEmbedder, load_open_clip, noted_activation
from eosin.models.specs import EmbedderSpec

Train = Callable[..., Artefact]

# Too small a rate to move a float32 weight: what comes out is what went in.
STILL = ("epochs=1", "optimiser.lr=1e-30", "optimiser.weight_decay=0")
QUICK: dict[str, Any] = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def quick(pairs_artefact: Artefact, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A model with QuickGELU."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "quick.json").write_text(json.dumps(QUICK))
    return train(pairs_artefact, folder / "clip", f"architecture={folder / 'quick.json'}", "epochs=1")


def features(folder: Path, seed: int = 0) -> torch.Tensor:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return torch.as_tensor(load_open_clip(folder).encode_image(pixels))


def plain(quick: Artefact, folder: Path, name: str, content: dict[str, Any]) -> Path:
    """A folder with nothing but a weights file, as a trainer leaves it."""
    folder.mkdir()
    torch.save(content, folder / name)
    (folder.parent / "gelu.json").write_text(json.dumps({key: value for key, value in QUICK.items() if key != "quick_gelu"}))
    return folder


def test_quick_gelu_is_kept_by_every_way_of_going_on(quick: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    assert quick.manifest["results"]["activation"] == "quick_gelu"
    assert noted_activation(quick.path / "model.safetensors") == "quick_gelu"
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "model.safetensors").write_bytes((quick.path / "model.safetensors").read_bytes())
    (tmp_path / "gelu.json").write_text(json.dumps({key: value for key, value in QUICK.items() if key != "quick_gelu"}))
    gelu = f"architecture={tmp_path / 'gelu.json'}"
    for name, start in (("init", f"init={quick.path}"), ("folder", f"start={quick.path}"), ("file", f"start={bare}")):
        model = train(pairs_artefact, tmp_path / name, gelu, start, *STILL)
        assert model.manifest["results"]["activation"] == "quick_gelu"
        assert activation_of(load_open_clip(model.path)) == "quick_gelu"
        torch.testing.assert_close(features(model.path), features(quick.path), msg=name)
    with pytest.raises(ConfigError, match="trained with quick_gelu"):
        train(pairs_artefact, tmp_path / "other", gelu, f"start={bare}", "activation=gelu")


def test_a_bare_file_that_does_not_tell_its_activation_asks_for_it(
    quick: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    weights = load_file(quick.path / "model.safetensors")
    checkpoint = {"epoch": 3, "name": "x", "state_dict": {f"module.{name}": weight for name, weight in weights.items()}}
    folder = plain(quick, tmp_path / "start", "epoch_3.pt", checkpoint)
    given = (f"architecture={tmp_path / 'gelu.json'}", f"start={folder}", *STILL)
    with pytest.raises(ConfigError, match="activation=quick_gelu"):
        train(pairs_artefact, tmp_path / "a", *given)
    model = train(pairs_artefact, tmp_path / "b", *given, "activation=quick_gelu")
    torch.testing.assert_close(features(model.path), features(quick.path))
    wrong = train(pairs_artefact, tmp_path / "c", *given, "activation=gelu")
    assert not torch.allclose(features(wrong.path), features(quick.path), atol=1e-6), "the wrong one gives other features"


def test_weights_whose_config_was_changed_are_refused(quick: Artefact, tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((quick.path / name).read_bytes())
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"].pop("quick_gelu")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ArtefactError, match="trained with quick_gelu"):
        load_open_clip(tmp_path)


def test_a_pickle_with_code_in_it_is_not_run(quick: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    folder = plain(quick, tmp_path / "start", "evil.pt", {"state_dict": Path("/")})
    with pytest.raises(ArtefactError, match=r"evil\.pt cannot be read as weights"):
        train(pairs_artefact, tmp_path / "out", f"architecture={tmp_path / 'gelu.json'}", f"start={folder}", "activation=gelu")


def clip_folder(folder: Path, act: str = "quick_gelu") -> Path:
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 300}
    text |= {"max_position_embeddings": 16, "eos_token_id": 299, "bos_token_id": 298, "pad_token_id": 0, "hidden_act": act}  # type: ignore[dict-item]
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = CLIPConfig(text_config=text, vision_config={**vision, "hidden_act": act}, projection_dim=24)
    torch.manual_seed(1)
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_a_hugging_face_clip_computes_the_same_afterwards(
    act: str, trained: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    folder = clip_folder(tmp_path / "hf", act)
    theirs = AutoModel.from_pretrained(folder).eval()
    model = train(pairs_artefact, tmp_path / "out", f"start={folder}", *STILL)
    assert model.manifest["results"]["activation"] == act
    assert model.manifest["results"]["started_from"] == "image tower", "the tokenizer is a new one"
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = load_open_clip(model.path).encode_image(pixels)
        wanted = theirs.visual_projection(theirs.vision_model(pixel_values=pixels).pooler_output)
    scale = wanted.abs().max()
    torch.testing.assert_close(ours / scale, wanted / scale, atol=1e-4, rtol=0)


def test_a_hugging_face_clip_brings_its_tokenizer_and_texts(
    exported: Artefact, trained: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    model = train(pairs_artefact, tmp_path / "out", f"start={exported.path}", "tokenizer.kind=init", *STILL)
    assert model.manifest["results"]["started_from"] == "all weights"
    texts = ["a red square", "this tile is pale"]
    first, second = (OpenClipEmbedder(EmbedderSpec(str(found.path), device="cpu")) for found in (trained, model))
    np.testing.assert_allclose(first.embed_texts(texts), second.embed_texts(texts), atol=1e-5)


@pytest.mark.parametrize("kind", ["timm", "vit", "dinov2"])
def test_image_towers_of_folders_compute_the_same_afterwards(kind: str, pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "tower"
    folder.mkdir()
    pixels = torch.randn(2, 3, 32, 32)
    torch.manual_seed(2)
    if kind == "timm":
        arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "init_values": 0.5}
        tower = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=3, **arguments).eval()
        (folder / "config.json").write_text(json.dumps({"architecture": "vit_base_patch16_224", "model_args": arguments, "num_classes": 3}))
        save_file(tower.state_dict(), folder / "model.safetensors")
        tower.reset_classifier(0)
        wanted = tower(pixels)
    else:
        sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8}
        if kind == "vit":
            model: Any = ViTModel(ViTConfig(**sizes, intermediate_size=96, layer_norm_eps=1e-6), add_pooling_layer=False).eval()
        else:
            model = Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2.0).add_(0.01 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        wanted = model(pixels).last_hidden_state[:, 0]
    trained = train(pairs_artefact, tmp_path / "out", f"vision_folder={folder}", *STILL)
    assert "image tower of a folder" in trained.manifest["results"]["started_from"]
    for path in folder.iterdir():
        path.unlink()
    again = load_open_clip(trained.path)
    torch.testing.assert_close(again.visual.trunk(pixels), wanted, atol=2e-5, rtol=1e-4)
    assert str(tmp_path) not in (trained.path / "open_clip_config.json").read_text()


def bert_folder(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "green", "blue", "pale", "square", "this", "tile", "is"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


def test_a_text_tower_of_transformers_learns_and_opens_again(pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    theirs = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    model = train(pairs_artefact, tmp_path / "out", f"text_folder={folder}", "context=32", *STILL)
    results = model.manifest["results"]
    assert results["context_length"] == 32
    assert results["started_from"] == "text tower of a folder"
    for path in folder.iterdir():
        path.unlink()
    ours = load_open_clip(model.path)
    ids = torch.tensor([[1, 4, 5, 9, 2, 0, 0], [1, 8, 2, 0, 0, 0, 0]])
    with torch.inference_mode():
        wanted = theirs(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state[:, 0]
        torch.testing.assert_close(ours.text.pooler(ours.text.transformer(input_ids=ids, attention_mask=(ids != 0).long()), None), wanted)
        from eosin.clip.towers import encode_texts

        torch.testing.assert_close(encode_texts(ours, ids, 5), ours.encode_text(ids), atol=1e-5, rtol=1e-4)
    embedder = OpenClipEmbedder(EmbedderSpec(str(model.path), device="cpu"))
    assert embedder.embed_texts(["a red square"]).shape == (1, 32)
    again = bert_folder(tmp_path / "bert")
    for given in ((), (f"text_folder={again}",)):
        with pytest.raises(ConfigError, match=rf"use start={model.path} instead of init"):
            train(pairs_artefact, tmp_path / "thrown", f"init={model.path}", *given, *STILL)
    with pytest.raises(ConfigError, match="leave text_folder out"):
        train(pairs_artefact, tmp_path / "thrown", f"start={model.path}", f"text_folder={again}", *STILL)
    on = train(pairs_artefact, tmp_path / "on", f"start={model.path}", "tokenizer.kind=init", *STILL)
    assert on.manifest["results"]["started_from"] == "all weights"


def test_what_cannot_be_started_from_is_named(
    quick: Artefact, trained: Artefact, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    two.mkdir()
    (two / "a.pt").write_bytes(b"x")
    (two / "b.pt").write_bytes(b"x")
    vit = tmp_path / "vit"
    ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)).save_pretrained(
        vit
    )
    other = plain(quick, tmp_path / "other", "w.pt", {"weight": torch.zeros(1)})
    gelu = f"architecture={tmp_path / 'gelu.json'}"
    cases: list[tuple[type[Exception], str, tuple[str, ...]]] = [
        (InputError, "one weights file", (f"start={two}",)),
        (Unsupported, "use vision_folder", (f"start={vit}",)),
        (Unsupported, "is of type 'clip'", (f"vision_folder={clip_folder(tmp_path / 'hf')}",)),
        (Unsupported, "open_clip knows", (f"text_folder={vit}",)),
        (ConfigError, "lacks weights of the image tower", (gelu, f"start={other}", "activation=gelu")),
        (InputError, "no tokenizer.json to carry over", (gelu, f"start={other}", "activation=gelu", "tokenizer.kind=init")),
        (ConfigError, "starts from one model", (f"start={quick.path}", f"init={quick.path}")),
        (ConfigError, "open_clip has no weights 'nobodys'", ("architecture=ViT-B-32", "tag=nobodys")),
    ]
    for number, (kind, message, given) in enumerate(cases):
        with pytest.raises(kind, match=message):
            train(pairs_artefact, tmp_path / f"out{number}", *given)


def test_open_clips_tags_say_their_activation() -> None:
    from eosin.clip.config import ClipTrainConfig
    from eosin.clip.starting import settle_architecture

    openai = ClipTrainConfig(data="x", architecture="ViT-B-16", tag="openai")
    assert settle_architecture(openai, {}, None)["quick_gelu"] is True
    laion = ClipTrainConfig(data="x", architecture="ViT-B-16", tag="laion2b_s34b_b88k")
    assert "quick_gelu" not in settle_architecture(laion, {}, None)
    assert "quick_gelu" not in open_clip.get_model_config("ViT-B-16")
