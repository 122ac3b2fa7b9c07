"""A Hugging Face SiglipModel is a start, and SigLIP's objective leads back to Hugging Face."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from eosin.artefacts import Artefact, open_artefact
from eosin.clip.cli import main
from eosin.clip.from_siglip import model_cfg_of_siglip, timm_config_of_siglip
from eosin.errors import Unsupported
from eosin.models.open_clip import load_open_clip, tokenizer_of

Train = Callable[..., Artefact]

STILL = ("epochs=1", "optimiser.lr=1e-30", "optimiser.weight_decay=0")
HALF = ("image.mean=[0.5, 0.5, 0.5]", "image.std=[0.5, 0.5, 0.5]")
TEXTS = ["a red square", "this tile is green", "blue", ""]
# 100 is no multiple of 48: what times 48 and cut to a whole number is 100 must be found.
VISION = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8}
TEXT = {
    "hidden_size": 32, "intermediate_size": 70, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 12,
    "projection_size": 48, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip


def save_tokenizer(folder: Path) -> int:
    """Like SigLIP's: no start token, the end token also pads; its size."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "</s>"]))
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_max_length=12)
    fast.save_pretrained(folder)
    return int(made.get_vocab_size())


def siglip_folder(folder: Path, act: str) -> tuple[Path, Any]:
    """A SiglipModel with large weights, so that a wrong activation shows."""
    size = save_tokenizer(folder)
    config = SiglipConfig(vision_config={**VISION, "hidden_act": act}, text_config={**TEXT, "hidden_act": act, "vocab_size": size})
    torch.manual_seed(5)
    model = SiglipModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return folder, model


def check_same(ours: Any, theirs: Any, source: Path) -> None:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer_of(source)(TEXTS)
    with torch.inference_mode():
        wanted = theirs(input_ids=tokens, pixel_values=pixels)
        torch.testing.assert_close(ours.encode_image(pixels), theirs.vision_model(pixels).pooler_output, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.encode_text(tokens), theirs.text_model(tokens).pooler_output, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.get_logits(pixels, tokens)[0], wanted.logits_per_image, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("act", ["gelu", "gelu_pytorch_tanh"])
def test_training_goes_on_from_a_siglipmodel_and_its_export_is_one_again(
    act: str, pairs_artefact: Artefact, train: Train, recipe: Path, tmp_path: Path
) -> None:
    folder, theirs = siglip_folder(tmp_path / "hf", act)
    given = (f"start={folder}", "tokenizer.kind=init", *HALF, *STILL)
    model = train(pairs_artefact, tmp_path / "out", *given, "objective.name=siglip")
    assert model.manifest["results"]["started_from"] == "all weights"
    check_same(load_open_clip(model.path), theirs, model.path)
    main(["export", str(recipe.parent / "empty.yaml"), f"model={model.path}", "--out", str(tmp_path / "back")])
    old, new = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert old.keys() == new.keys()
    for name, weight in old.items():
        torch.testing.assert_close(new[name], weight, msg=name)


def test_googles_tokenizer_is_carried_over_without_the_library_it_asks_for(pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    folder, theirs = siglip_folder(tmp_path / "hf", "gelu")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": "SiglipTokenizer"}))
    model = train(pairs_artefact, tmp_path / "out", f"start={folder}", "tokenizer.kind=init", "objective.name=siglip", *HALF, *STILL)
    assert model.manifest["results"]["started_from"] == "all weights"
    check_same(load_open_clip(model.path), theirs, model.path)
    loud, plain = tokenizer_of(model.path)(["A RED, square!", "a red square"])
    assert torch.equal(loud, plain), "as Google's tokenizer cleans texts"


def test_a_siglipmodel_trained_further_without_a_bias_exports_with_a_bias_of_0(
    pairs_artefact: Artefact, train: Train, recipe: Path, tmp_path: Path
) -> None:
    folder, theirs = siglip_folder(tmp_path / "hf", "gelu")
    model = train(pairs_artefact, tmp_path / "out", f"start={folder}", "tokenizer.kind=init", *HALF, *STILL)
    assert model.manifest["results"]["started_from"] == "all weights (logit_bias left behind)"
    main(["export", str(recipe.parent / "empty.yaml"), f"model={model.path}", "--out", str(tmp_path / "back")])
    exported = SiglipModel.from_pretrained(tmp_path / "back").eval()
    assert float(exported.logit_bias.detach()) == 0
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(exported.vision_model(pixels).pooler_output, theirs.vision_model(pixels).pooler_output)


def test_what_open_clip_cannot_compute_of_a_siglipmodel_is_refused(tmp_path: Path) -> None:
    for number, (vision, text, reason) in enumerate(
        [
            ({"hidden_act": "quick_gelu"}, {}, "vision_config has quick_gelu"),
            ({"layer_norm_eps": 1e-5}, {}, "layer_norm_eps is 1e-05"),
            ({}, {"projection_size": 32}, "48 long and its text vectors 32"),
        ]
    ):
        SiglipConfig(vision_config={**VISION, **vision}, text_config={**TEXT, **text}).save_pretrained(tmp_path / str(number))
        for read in (model_cfg_of_siglip, timm_config_of_siglip):
            with pytest.raises(Unsupported, match=reason):
                read(tmp_path / str(number))


def test_a_plain_clip_trained_by_siglips_objective_becomes_a_clipmodel_and_says_what_is_left_out(
    pairs_artefact: Artefact, train: Train, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(pairs_artefact, tmp_path / "siglip", "objective.name=siglip", "epochs=1")
    main(["export", str(recipe.parent / "empty.yaml"), f"model={model.path}", "--out", str(tmp_path / "hf")])
    results = open_artefact(tmp_path / "hf").manifest["results"]
    ours, theirs = load_open_clip(model.path), AutoModel.from_pretrained(tmp_path / "hf").eval()
    assert results["left_out"] == {"logit_bias": pytest.approx(float(ours.logit_bias.detach()))}
    assert "logit_bias" in capsys.readouterr().err
    pixels, tokens = torch.randn(3, 3, 32, 32), tokenizer_of(model.path)(TEXTS)
    with torch.inference_mode():
        wanted = ours.get_logits(pixels, tokens)[0] - ours.logit_bias
        torch.testing.assert_close(theirs(input_ids=tokens, pixel_values=pixels).logits_per_image, wanted, atol=1e-3, rtol=1e-4)
