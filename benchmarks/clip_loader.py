"""Training batches a second from JPEG tiles of 256 and 768 pixels, beside open_clip's own WebDataset loader, both with two workers.

Both read the same JPEG bytes and captions, shuffle, cut random crops and hand out batches of 64: normalised images of 224 x 224 and
token ids. open_clip reads tar shards in two processes with its default augmentation (a random crop); Eosin reads an artefact with two
threads, nothing cached, and draws crop, flips, turns and stain jitter on the whole batch. `vs_open_clip_*` has Eosin do the same work
as its peer, the crop alone; what H&E augmentation costs on top is in the figures.

    python benchmarks/clip_loader.py [--quick]
"""

from __future__ import annotations

import argparse
import functools
import io
import math
import tarfile
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _common import alternate, parse_options, print_table, ratio, report, require
from decode import synthetic_tile

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.clip.architecture import find_architecture, write_open_clip_config
from eosin.clip.augment import normalise, recolour
from eosin.clip.batches import Batches
from eosin.clip.config import AugmentConfig, ClipTrainConfig, TokenizerConfig
from eosin.clip.distributed import World
from eosin.clip.image_store import Reading, source_side
from eosin.clip.pairs import load_pairs
from eosin.clip.token_table import build_token_table
from eosin.clip.tokens import settle_tokenizer
from eosin.records import ImageText

SIZE, BATCH, WORKERS, SHARDS = 224, 64, 2, 4
CROP = AugmentConfig(symmetries="none", crop_area=0.9, stain=0.0, brightness=0.0)


def captions(count: int) -> list[str]:
    """Captions of the usual length."""
    organs, findings = ("colon", "lung", "breast", "skin"), ("adenocarcinoma", "normal mucosa", "dense lymphocytes", "necrosis")
    return [f"An H&E tile of {organs[n % 4]} that shows {findings[n // 4 % 4]}, field {n}, with stroma beside it." for n in range(count)]


def pictures(side: int, count: int, distinct: int) -> list[bytes]:
    """`count` JPEG tiles of `distinct` different ones: what is drawn costs more than what is measured."""
    return list(islice(cycle([synthetic_tile(side, seed) for seed in range(distinct)]), count))


def write_artefact(folder: Path, images: list[bytes], texts: list[str]) -> Artefact:
    """The pairs as Eosin has them."""
    plan = Plan("image_text", "benchmark", {}, tasks=(Task("made", 0, len(images), "train"),))
    records = [
        ImageText(id=f"b/{n}", source="b", licence="CC0-1.0", group=str(n), split="train", image=image, captions=(text,))
        for n, (image, text) in enumerate(zip(images, texts, strict=True))
    ]
    with ArtefactWriter(folder, plan) as writer:
        for name, task in writer.pending():
            write_shard(writer.path, plan.kind, name, task.split, records)
        return writer.finish()


def write_tars(folder: Path, images: list[bytes], texts: list[str]) -> str:
    """The pairs as open_clip reads them; the pattern of the shards."""
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for n in range(shard, len(images), SHARDS):
                for ending, data in (("jpg", images[n]), ("txt", texts[n].encode())):
                    info = tarfile.TarInfo(f"{n:06}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return str(folder / f"{{00000..{SHARDS - 1:05}}}.tar")


def open_clip_epoch(shards: str, count: int) -> Callable[[], int]:
    """An epoch of open_clip's loader, as its trainer builds it."""
    require("webdataset")
    data = require("open_clip_train.data")
    open_clip = require("open_clip")
    settings = {
        "train_data": shards, "train_num_samples": count, "train_data_upsampling_factors": None, "dataset_resampled": False, "seed": 0,
        "batch_size": BATCH, "world_size": 1, "workers": WORKERS,
    }  # fmt: skip
    transform = open_clip.image_transform(SIZE, is_train=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    # webdataset 1.0 marks the end of a tar by an empty sample, which open_clip 3.3 does not know and fails on.
    data.tar_file_expander = functools.partial(data.tar_file_expander, eof_value=None)
    made: Any = data.get_wds_dataset(argparse.Namespace(**settings), transform, True, tokenizer=tokenizer)
    epochs = iter(range(1 << 30))

    def run() -> int:
        made.set_epoch(next(epochs))
        return sum(len(images) for images, _ in made.dataloader)

    return run


def eosin_epoch(artefact: Artefact, scratch: Path, augment: AugmentConfig) -> Callable[[], int]:
    """An epoch of Eosin's loader and its augmentation, as its trainer runs them; nothing is cached."""
    scratch.mkdir()
    (scratch / "model").mkdir()
    config = ClipTrainConfig(data="x", batch_size=BATCH, augment=augment, tokenizer=TokenizerConfig("open_clip"))
    model_cfg = find_architecture("ViT-B-32")
    pairs = load_pairs(artefact, Reading(source_side(SIZE), "squash", 0, WORKERS), scratch)
    settled = settle_tokenizer(config.tokenizer, pairs.texts, model_cfg, scratch / "model", None)
    write_open_clip_config(scratch / "model", settled, config.image)
    tokens = build_token_table(scratch, pairs.texts, settled, pools_at_highest=True)
    batches = Batches(config, pairs, tokens, SIZE, World())
    epochs = iter(range(1 << 30))

    def run() -> int:
        first = next(epochs) * batches.per_epoch
        seen = 0
        for batch in batches.following(first, first + batches.per_epoch, WORKERS):
            pixels = normalise(recolour(batch.draws, torch.from_numpy(batch.images), augment), config.image)
            seen += len(pixels)
        return seen

    return run


def measure(side: int, count: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Images a second of both, round by round."""
    images, texts = pictures(side, count, distinct=32 if side < 512 else 8), captions(count)
    artefact = write_artefact(folder / "artefact", images, texts)
    runs = {
        "eosin": eosin_epoch(artefact, folder / "crop", CROP),
        "eosin, H&E augmentation": eosin_epoch(artefact, folder / "all", AugmentConfig()),
        "open_clip": open_clip_epoch(write_tars(folder / "tars", images, texts), count),
    }
    return alternate(runs, rounds=rounds)


def main() -> None:
    """Measure both sizes and print."""
    quick = parse_options(__doc__).quick
    torch.set_num_threads(WORKERS)
    ratios, figures, rows = {}, {}, []
    for side, count in ((256, 512 if quick else 2048), (768, 128 if quick else 512)):
        with tempfile.TemporaryDirectory() as folder:
            rates = measure(side, math.ceil(count / BATCH / WORKERS) * BATCH * WORKERS, 3 if quick else 7, Path(folder))
        ratios[f"vs_open_clip_{side}"] = ratio(rates, "eosin", "open_clip")
        for name, values in rates.items():
            rows.append((f"{side} px", name, f"{median(values):.0f}", f"{ratio(rates, name, 'open_clip'):.2f}"))
            figures[f"{name}, {side} px"] = round(median(values), 1)
        figures[f"spread of the ratio, {side} px"] = [round(float(v), 2) for v in np.percentile(_ratios(rates), (0, 100))]
    print_table(("tiles", "loader", "images/s", "over open_clip"), rows)
    report("clip_loader", ratios=ratios, figures=figures, packages=("open_clip_torch", "webdataset", "torch", "pillow", "simplejpeg"))


def _ratios(rates: dict[str, list[float]]) -> list[float]:
    return [ours / theirs for ours, theirs in zip(rates["eosin"], rates["open_clip"], strict=True)]


if __name__ == "__main__":
    main()
