"""A trained model becomes a `clip_model` artefact."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.artefacts import ArtefactWriter
from eosin.artefacts.files import replacing
from eosin.clip.config import ImageConfig
from eosin.clip.train import Trained
from eosin.models.open_clip import CONFIG_FILE, TOKENIZER_FILES, open_clip_fingerprint
from eosin.records import REJECT_SCHEMA, Reject

_LAST_STEPS = 20


def save_trained(trained: Trained, writer: ArtefactWriter) -> dict[str, Any]:
    """Write model, tokenizer, metrics and rejects into the artefact; returns its results."""
    from safetensors.torch import save_file

    source = writer.scratch / "model"
    for name in (CONFIG_FILE, *TOKENIZER_FILES):
        if (source / name).is_file():
            with replacing(writer.path / name) as temporary:
                temporary.write_bytes((source / name).read_bytes())
    with replacing(writer.path / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in trained.run.metrics), encoding="utf-8")
    write_rejects(writer.path, trained.run.pairs.rejects)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trained.run.model.state_dict().items()}
    with replacing(writer.path / "model.safetensors") as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
        # safetensors makes files that only their owner may read.
        temporary.chmod((writer.path / CONFIG_FILE).stat().st_mode)
    return _results(trained, writer.path)


def write_rejects(folder: Path, rejects: tuple[Reject, ...]) -> None:
    """`rejects/rejects.parquet`, where there are any."""
    if not rejects:
        return
    rows = [{"task": "train", "key": reject.key, "reason": reject.reason, "message": reject.message} for reject in rejects]
    with replacing(folder / "rejects" / "rejects.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA), temporary)


def _results(trained: Trained, folder: Path) -> dict[str, Any]:
    run = trained.run
    last = [line["loss"] for line in run.metrics[-_LAST_STEPS:]]
    return {
        "format": "open_clip",
        "fingerprint": open_clip_fingerprint(folder),
        "architecture": trained.model_cfg,
        **trained.facts,
        "context_length": int(run.texts.ids.shape[1]),
        "image": {"size": run.size, **_image(run.config.image)},
        "embed_dim": int(trained.model_cfg["embed_dim"]),
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "logit_scale": float(run.model.logit_scale.detach().exp()),
        "records": {
            "seen": run.pairs.seen,
            "used": len(run.pairs),
            "rejected": dict(sorted(Counter(reject.reason for reject in run.pairs.rejects).items())),
        },
        "captions": {"distinct": len(run.pairs.captions.texts), "truncated": run.texts.truncated},
        "steps": run.steps,
        "batch_size": run.batch_size,
        "mean_loss_of_last_steps": sum(last) / len(last),
        "device": run.device.type,
        "threads": run.threads,
    }


def _image(image: ImageConfig) -> dict[str, Any]:
    return {"resize": image.resize, "interpolation": image.interpolation, "mean": list(image.mean), "std": list(image.std)}
