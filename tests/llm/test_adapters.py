"""Adapters stand on the language model alone, on the base they were trained on, in four bits too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from eosin.artefacts import Artefact
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.llm import adapters
from eosin.llm.assistant import read_assistant
from eosin.llm.config import ExportConfig, LoraConfig, TrainConfig
from eosin.llm.export import export, probe_logits
from eosin.llm.train import Machine, train
from eosin.models.turns import renderer

Config = Callable[..., TrainConfig]


def test_the_default_pattern_meets_every_linear_layer_of_the_language_model_and_nothing_else(stage1: Artefact) -> None:
    found = adapters.adapted_layers(read_assistant(stage1.path).model, LoraConfig().targets)
    assert len(found) == 2 * 7
    assert all(name.startswith("model.language_model.layers.") for name in found)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r".*q_proj", "outside the language model: model.vision_tower"),
        (r".*", "outside the language model"),
        (r"^language_model.*q_proj", "matches no layer"),
        (r"q_proj", "matches no layer"),
        (r"(", "not a regular expression"),
    ],
)
def test_a_pattern_that_meets_the_tower_or_nothing_is_refused(stage1: Artefact, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapters.adapted_layers(read_assistant(stage1.path).model, pattern)


def test_only_adapters_and_projector_are_stored(stage2: Artefact) -> None:
    names = set(load_file(stage2.path / "adapter" / "adapter_model.safetensors"))
    assert all("lora_" in name or "multi_modal_projector" in name for name in names)
    assert sum("lora_" in name for name in names) == 2 * 7 * 2
    assert not any("vision_tower" in name for name in names)
    settings = json.loads((stage2.path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] is None


def test_the_export_is_the_adapter_model_as_peft_itself_reads_it(stage1: Artefact, stage2: Artefact, tmp_path: Path) -> None:
    """Independent reference: peft on the base, without merging."""
    artefact = export(ExportConfig(model=str(stage2.path)), tmp_path / "assistant")
    base = read_assistant(stage1.path)
    render = renderer(base.processor)
    plain = probe_logits(base, render)
    peft.PeftModel.from_pretrained(base.model, str(stage2.path / "adapter")).eval()
    wanted = probe_logits(base, render)
    merged = read_assistant(artefact.path)
    found = probe_logits(merged, renderer(merged.processor))
    for one, other, before in zip(wanted, found, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
        assert (one - before).abs().max() > 1e-2
    assert artefact.manifest["results"]["max_logit_difference"] <= 1e-4


def test_the_export_has_the_layout_that_vllm_asks_for(stage2: Artefact, tmp_path: Path) -> None:
    artefact = export(ExportConfig(model=str(stage2.path)), tmp_path / "assistant")
    names = set(load_file(artefact.path / "model.safetensors"))
    roots = {".".join(name.split(".")[:2]) for name in names}
    assert roots == {
        "vision_tower.vision_model",
        "multi_modal_projector.linear_1",
        "multi_modal_projector.linear_2",
        "language_model.model",
        "language_model.lm_head",
    }
    assert "vision_tower.vision_model.post_layernorm.weight" in names
    config = json.loads((artefact.path / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert {"image_token_index", "vision_feature_layer", "vision_feature_select_strategy"} <= set(config)
    assert (config["dtype"], config["tie_word_embeddings"]) == ("float32", False)
    assert {"processor_config.json", "chat_template.jinja", "generation_config.json", "tokenizer.json"} <= {
        p.name for p in artefact.path.iterdir()
    }


def test_a_stage_1_model_can_be_exported_without_adapters(stage1: Artefact, tmp_path: Path) -> None:
    artefact = export(ExportConfig(model=str(stage1.path)), tmp_path / "assistant")
    assert artefact.manifest["results"]["max_logit_difference"] == 0.0


def test_another_base_is_refused(stage2: Artefact, align: Config, tmp_path: Path) -> None:
    other = train(align(seed=1, epochs=1), tmp_path / "other", Machine())
    with pytest.raises(ArtefactError, match="not the base of"):
        export(ExportConfig(model=str(stage2.path), base=str(other.path)), tmp_path / "assistant")
    with pytest.raises(ArtefactError, match="wanted: llm_model"):
        export(ExportConfig(model=align().data[0]), tmp_path / "x")


def test_an_adapter_with_weights_missing_is_refused(stage1: Artefact, stage2: Artefact, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text((stage2.path / "adapter" / "adapter_config.json").read_text())
    tensors = load_file(stage2.path / "adapter" / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="do not fit"):
        adapters.read_adapters(read_assistant(stage1.path).model, folder)


def test_four_bits_hold_the_language_model_alone_and_train_on_this_machine(instruct: Config, stage2: Artefact, tmp_path: Path) -> None:
    model = read_assistant(Path(instruct().model), "nf4").model
    quantised = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert len(quantised) == 2 * 7
    assert all(name.startswith("model.language_model.layers.") for name in quantised)
    artefact = train(instruct(quantisation="nf4", epochs=1), tmp_path / "q", Machine())
    found = [json.loads(line)["loss"] for line in (artefact.path / "metrics.jsonl").read_text().splitlines()]
    assert len(found) >= 2
    assert max(found) < 2.0
    names = set(load_file(artefact.path / "adapter" / "adapter_model.safetensors"))
    assert names == set(load_file(stage2.path / "adapter" / "adapter_model.safetensors"))
    exported = export(ExportConfig(model=str(artefact.path)), tmp_path / "assistant")
    assert exported.manifest["results"]["max_logit_difference"] <= 1e-4
