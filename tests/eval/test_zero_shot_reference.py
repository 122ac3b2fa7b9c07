"""Zero-shot classification beside the same written out with open_clip alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn import metrics

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.eval.prompts import load_prompts
from eosin.numerics import softmax
from eosin.records import LabelledImage, Prediction

NAMES = {"PINK": ["pink tissue"], "BLUE": ["blue nuclei"], "GREEN": ["green ink"]}


def reference_logits(folder: Path, images: list[bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits [images, classes] as the CLIP paper's prompt ensemble gives them."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    templates = load_prompts("prompts/histology").templates
    model.eval()
    with torch.no_grad():
        weights = []
        for names in NAMES.values():
            texts = [template.replace("{name}", name) for template in templates for name in names]
            features = model.encode_text(tokenizer(texts), normalize=True).mean(dim=0)
            weights.append(features / features.norm())
        pixels = torch.stack([preprocess(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
        logits = model.logit_scale.exp() * model.encode_image(pixels, normalize=True) @ torch.stack(weights).T
    return logits.numpy()  # type: ignore[no-any-return]


def test_predictions_are_open_clips_own(bench: Any, clip_model: Path) -> None:
    out = bench.root / "out"
    assert eosin(["eval", "run", "demo/eval-zero-shot", f"model={clip_model}", f"data={bench.images}", "--out", str(out)]) == 0
    records = list(open_artefact(bench.images).records(LabelledImage, "test"))
    logits = reference_logits(clip_model, [record.image for record in records])
    rows = list(open_artefact(out).records(Prediction))
    assert [row.question for row in rows] == [record.id for record in records]
    np.testing.assert_allclose([row.scores for row in rows], logits, atol=1e-4)
    said = [list(NAMES)[place] for place in logits.argmax(axis=1)]
    assert [row.reply for row in rows] == said
    check_scores(out, [str(record.label) for record in records], said, logits)


def check_scores(out: Path, gold: list[str], said: list[str], logits: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Eosin's scores beside scikit-learn's own of open_clip's own answers."""
    scores = out.parent / "reference_scores"
    assert eosin(["eval", "score", "demo/report", f"predictions=[{out}]", "--out", str(scores)]) == 0
    row = json.loads((scores / "scores.json").read_text())["rows"][0]
    found = {name: score["value"] for name, score in row["metrics"].items()}
    names = sorted(NAMES)
    sure = softmax(logits[:, [list(NAMES).index(name) for name in names]])
    wanted = {
        "accuracy": metrics.accuracy_score(gold, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(gold, said),
        "weighted_f1": metrics.f1_score(gold, said, average="weighted"),
        "auroc": metrics.roc_auc_score(gold, sure, multi_class="ovr", labels=names),
    }
    assert 0.0 < wanted["accuracy"] < 1.0
    assert found == pytest.approx(wanted, abs=1e-6)
    assert row["confusion"]["classes"] == names
    counts = np.array(row["confusion"]["counts"])
    assert counts[:, :-1].tolist() == metrics.confusion_matrix(gold, said, labels=names).tolist()
