"""A trained model becomes a `clip_model` artefact."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from eosin.artefacts import ArtefactWriter
from eosin.artefacts.files import replacing
from eosin.clip.adapters import merge
from eosin.clip.config import ImageConfig
from eosin.clip.pairs import write_rejects
from eosin.clip.train import Run, Trained
from eosin.models.open_clip import CONFIG_FILE, TEXT_FOLDER, TOKENIZER_FILES, VISION_FOLDER, open_clip_fingerprint

_LAST_STEPS = 20


def save_trained(trained: Trained, writer: ArtefactWriter) -> dict[str, Any]:
    """Write model, tokenizer, metrics and rejects into the artefact; returns its results."""
    run, source = trained.run, writer.scratch / "model"
    for name in (CONFIG_FILE, *TOKENIZER_FILES, *(f"{tower}/config.json" for tower in (VISION_FOLDER, TEXT_FOLDER))):
        if (source / name).is_file():
            with replacing(writer.path / name) as temporary:
                temporary.write_bytes((source / name).read_bytes())
    for name, lines in (("metrics.jsonl", run.metrics), ("monitor.jsonl", run.measured)):
        if lines:
            with replacing(writer.path / name) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if run.pairs.rejects:
        write_rejects(writer.path / "rejects" / "rejects.parquet", run.pairs.rejects)
    _save_weights(trained, writer)
    return _results(trained, writer.path)


def _save_weights(trained: Trained, writer: ArtefactWriter) -> None:
    """`model.safetensors`, the last weights or the best, and the others beside it."""
    from safetensors.torch import load_file

    run = trained.run
    last = _merged(run)
    if run.best is None:
        _write(last, writer.path / "model.safetensors", trained)
        return
    run.model.load_state_dict(load_file(writer.scratch / "best.safetensors"))
    best = _merged(run)
    keeps_best = run.config.monitor.keep == "best"
    _write(best if keeps_best else last, writer.path / "model.safetensors", trained)
    _write(last if keeps_best else best, writer.path / ("last.safetensors" if keeps_best else "best.safetensors"), trained)


def _merged(run: Run) -> dict[str, Any]:
    """The weights under the model's own names, adapters added to them."""
    model = run.model if run.adapters is None else merge(copy.deepcopy(run.adapters), run.model)
    return {name: weight.detach().cpu().clone().contiguous() for name, weight in model.state_dict().items()}


def _write(weights: dict[str, Any], path: Path, trained: Trained) -> None:
    from safetensors.torch import save_file

    activation = trained.facts["activation"]
    # Weights without their config tell nobody which activation they were trained with, unless it is noted in the file itself.
    # One key only: safetensors writes several in an order of chance.
    noted = {"activation": activation} if activation in ("gelu", "quick_gelu") else {"format": "pt"}
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata=noted)
        # safetensors makes files that only their owner may read.
        temporary.chmod((path.parent / CONFIG_FILE).stat().st_mode)


def _results(trained: Trained, folder: Path) -> dict[str, Any]:
    run = trained.run
    last = [line["loss"] for line in run.metrics[-_LAST_STEPS:]]
    return {
        "format": "open_clip",
        "fingerprint": open_clip_fingerprint(folder),
        "architecture": trained.model_cfg,
        **trained.facts,
        "context_length": run.tokens.context,
        "image": {"size": run.size, **_image(run.config.image)},
        "embed_dim": int(trained.model_cfg["embed_dim"]),
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "learning": sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad),
        "logit_scale": float(run.model.logit_scale.detach().exp()),
        "records": {
            "seen": run.pairs.seen,
            "used": len(run.pairs),
            "rejected": dict(sorted(Counter(reject.reason for reject in run.pairs.rejects).items())),
        },
        "captions": {"distinct": len(run.pairs.texts), "truncated": run.tokens.truncated, **_reworded(run)},
        "groups_of_one_record": int((np.unique(run.pairs.index.groups, return_counts=True)[1] == 1).sum()),
        "batches_without_negatives": sum("without_negatives" in line for line in run.metrics),
        "left_out_an_epoch": len(run.pairs) % run.batches.size,
        **({"monitored": {"used": len(run.monitor), "rejected": run.monitor.refused}} if run.monitor is not None else {}),
        "steps": run.steps,
        "batch_size": run.batches.size,
        "mean_loss_of_last_steps": sum(last) / len(last),
        **({"kept": run.config.monitor.keep, "best": run.best} if run.best is not None else {}),
        "device": run.device.type,
        "processes": run.runtime.world.size,
        "threads": run.threads,
    }


def _reworded(run: Run) -> dict[str, int]:
    """How many captions were cut that were reworded on the way, over all epochs; nothing where none are reworded."""
    counts = [int(line["reworded_truncated"]) for line in run.metrics if "reworded_truncated" in line]
    return {"reworded_truncated": sum(counts)} if counts else {}


def _image(image: ImageConfig) -> dict[str, Any]:
    return {"resize": image.resize, "interpolation": image.interpolation, "mean": list(image.mean), "std": list(image.std)}
