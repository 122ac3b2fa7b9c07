"""Every objective learns to tell drawn tissues of patients it never saw."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from eosin.artefacts import Artefact, open_artefact
from eosin.cli import main as eosin
from eosin.errors import ConfigError
from eosin.labels import LabelSet, load_label_set
from eosin.models.open_clip import OpenClipEmbedder
from eosin.models.specs import EmbedderSpec
from eosin.records import ImageText

Train = Callable[..., Artefact]
TISSUES = ["ADI", "BACK", "MUS", "TUM"]
PHANTOMS: dict[str, Any] = {
    "builder": "phantoms",
    "size": 80,
    "mpp": 1.2,
    "splits": {"train": {"patients": 12, "tiles": 6}, "test": {"patients": 4, "tiles": 4}},
    "classes": TISSUES,
    "slides": {"count": 0},
}
TOWERS: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 400, "width": 64, "heads": 2, "layers": 1},
}
CAPTIONER: dict[str, Any] = {
    **TOWERS,
    "vision_cfg": {**TOWERS["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**TOWERS["text_cfg"], "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TOWERS["text_cfg"], "attn_pooler_heads": 2},
    "custom_text": True,
}
KEEP = ["objective.name=keep", "positives=same_disease", "disease.key=label", "disease.per_batch=4", "optimiser.temperature=0.04"]
LABEL = "positives=same_caption_or_label"
SETTINGS = {
    "infonce": ["positives=pair"],
    "several positives": [LABEL],
    "patients apart": [LABEL, "objective.spare=[group]"],
    "hard captions": ["positives=same_caption", "objective.hard_captions=2"],
    # Three classes in four are negatives: minus the logarithm of 3.
    "siglip": [LABEL, "objective.name=siglip", "objective.bias=-1.1"],
    "coca": [LABEL, "objective.name=coca"],
    "keep": [*KEEP, "objective.spare=[hypernyms]"],
}


@pytest.fixture(scope="module")
def tissues() -> LabelSet:
    return load_label_set("phantoms", TISSUES)


@pytest.fixture(scope="module")
def given(tissues: LabelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms, architectures, an ontology and the recipe that all share."""
    folder = tmp_path_factory.mktemp("phantoms")
    (folder / "phantoms.yaml").write_text(yaml.safe_dump(PHANTOMS))
    assert eosin(["build", str(folder / "phantoms.yaml"), "--workers", "1", "--out", str(folder / "data")]) == 0
    (folder / "towers.json").write_text(json.dumps(TOWERS))
    (folder / "captioner.json").write_text(json.dumps(CAPTIONER))
    (folder / "ontology").mkdir()
    rows = [f"{name},{tissues.classes[name].answer},T" for name in TISSUES]
    (folder / "ontology/tissues.csv").write_text("\n".join(["id,name,parents", "T,tissue,", *rows]) + "\n")
    shared = {"epochs": 14, "batch_size": 24, "augment": {"crop_area": 0.8}, "optimiser": {"lr": 1e-3}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(shared))
    return folder


@pytest.fixture(scope="module")
def contradicted(given: Path, tissues: LabelSet, squares: Any) -> Artefact:
    """The same tiles, which also tell what they are not."""

    def others(record: ImageText) -> list[str]:
        return [f"{tissues.classes[name].answer.capitalize()}." for name in TISSUES if name != record.extra["label"]]

    records = list(open_artefact(given / "data/image_text").records(ImageText))
    hard = [dataclasses.replace(record, extra={**record.extra, "hard_captions": others(record)}) for record in records]
    return squares.write(given / "hard", sorted(hard, key=lambda record: record.split))  # type: ignore[no-any-return]


def balanced_accuracy(model: Artefact, data: Artefact, tissues: LabelSet) -> float:
    """Zero-shot, of the patients of the split test."""
    embedder = OpenClipEmbedder(EmbedderSpec(str(model.path), device="cpu"))
    names = [embedder.embed_texts([f"{phrase.capitalize()}." for phrase in tissues.classes[name].names]).mean(axis=0) for name in TISSUES]
    records = list(data.records(ImageText, "test"))
    texts = np.stack([name / np.linalg.norm(name) for name in names])
    found = (embedder.embed_images([record.image for record in records]) @ texts.T).argmax(axis=1)
    truth = np.array([TISSUES.index(str(record.extra["label"])) for record in records])
    return float(np.mean([(found[truth == place] == place).mean() for place in range(len(TISSUES))]))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_objective_tells_tissues_of_unseen_patients(
    name: str, given: Path, contradicted: Artefact, tissues: LabelSet, tmp_path: Path
) -> None:
    """Three times chance, which is 0.25."""
    data = contradicted if name == "hard captions" else open_artefact(given / "data/image_text")
    towers = "captioner" if name == "coca" else "towers"
    more = [f"ontology={given / 'ontology'}"] if name == "keep" else []
    arguments = [str(given / "recipe.yaml"), f"data={data.path}", f"architecture={given / towers}.json", *SETTINGS[name], *more]
    assert eosin(["clip", "train", *arguments, "--workers", "1", "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    model = open_artefact(tmp_path / "out")
    reached = balanced_accuracy(model, data, tissues)
    assert reached >= 0.75, f"{name}: {reached:.3f}"


def first_line(model: Artefact) -> dict[str, float]:
    return json.loads((model.path / "metrics.jsonl").read_text().splitlines()[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("more", "bias"), [([], -10.0), (["objective.bias=-3"], -3.0)])
def test_siglip_starts_at_the_papers_constants_or_the_recipes_and_neither_decays(
    more: list[str], bias: float, pairs_artefact: Artefact, train: Train, tmp_path: Path
) -> None:
    settings = ["epochs=1", "batch_size=36", "objective.name=siglip", "optimiser.weight_decay=0.9", "optimiser.lr=1e-5", *more]
    model = train(pairs_artefact, tmp_path / "out", *settings)
    assert first_line(model)["logit_scale"] == pytest.approx(10.0)
    found = float(load_file(model.path / "model.safetensors")["logit_bias"])
    assert found == pytest.approx(bias, abs=2e-5), "one step of a rate of 1e-5 moves it by no more, decay would"
    assert found != bias


@pytest.mark.parametrize("settings", [["objective.bias=-3"], ["objective.name=siglip", "objective.bias=3"]])
def test_a_bias_is_siglips_and_below_0(settings: list[str], pairs_artefact: Artefact, train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objective\.bias is below 0, and for siglip alone"):
        train(pairs_artefact, tmp_path / "out", *settings)
