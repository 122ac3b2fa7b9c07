"""Every recipe in configs/clip trains: its architecture is built at full size, without memory for weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eosin.clip.architecture import activation_of, write_open_clip_config
from eosin.clip.config import ClipTrainConfig
from eosin.clip.foreign_towers import place_towers
from eosin.clip.layers import lock
from eosin.clip.starting import settle_architecture
from eosin.clip.train import towers_of
from eosin.config import load_recipe
from eosin.models.open_clip import build_open_clip

# Weights in millions and activation. OpenAI's towers have QuickGELU.
WANTED = {
    "plip": (151.3, "quick_gelu"),
    "quiltnet-b32": (151.3, "quick_gelu"),
    "pathclip": (149.6, "quick_gelu"),
    "pathgen-clip-b16": (149.6, "quick_gelu"),
    "pathgen-clip-l14-336": (427.9, "quick_gelu"),
    "pathoclip": (149.6, "quick_gelu"),
    "conch-coca": (394.1, "gelu"),
    "keep": (414.2, "gelu"),
    "biomedclip": (195.9, "gelu"),
}
UNI = {
    "architecture": "vit_large_patch16_224",
    "model_args": {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": True},
    "pretrained_cfg": {"input_size": [3, 224, 224], "num_classes": 0},
}
VIT = {"architecture": "vit_base_patch16_224", "pretrained_cfg": {"input_size": [3, 224, 224], "num_classes": 0}}
PUBMEDBERT = {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522, "max_position_embeddings": 512}


def folder_of(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", WANTED)
def test_a_published_recipe_builds_its_model(name: str, tmp_path: Path) -> None:
    config = load_recipe(ClipTrainConfig, f"clip/{name}", ("data=x",))
    folders = {}
    if name in ("keep", "biomedclip"):
        folders["vision_folder"] = folder_of(tmp_path / "vision", UNI if name == "keep" else VIT)
        folders["text_folder"] = folder_of(tmp_path / "text", PUBMEDBERT)
    model_cfg = settle_architecture(config, folders, None)
    place_towers(folders, None, tmp_path)
    write_open_clip_config(tmp_path, model_cfg, config.image)
    with torch.device("meta"):
        model = build_open_clip(tmp_path, "meta")
    millions, activation = WANTED[name]
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert activation_of(model) == activation
    lock(model, towers_of(config))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert config.batch_size % (config.micro_batch or config.batch_size) == 0
