"""Training steps beside open_clip's trainer, gradient caching beside plain steps, zero-shot evaluation beside the bare forward passes.

Steps: the same architecture (ViT 192 x 6 at 96 px, text 128 x 2), the same captions, batches of 64, AdamW, gradients clipped, float32, all
that a batch needs in memory. open_clip_train's `train_one_epoch` gets augmented float images; Eosin's step gets uint8 images and augments
them itself, so that this share of a loader's work counts against it. Memory is the peak of a process of its own over what it holds after
its imports; for gradient caching the waiting uint8 pixels are left out.

`grad_cache_*`: a batch of 512 in micro-batches of 64 against a batch of 64, per image. `zero_shot_time`: Eosin's zero-shot
task from an artefact of JPEG tiles of 224 px to its predictions, with ViT-B/32, against nothing but `encode_image` on prepared pixels; a
tile costs the same however many there are, so fewer than 10,000 are timed.

    python benchmarks/clip_step.py [--quick]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _common import alternate, parse_options, print_table, ratio, report, require
from decode import synthetic_tile
from PIL import Image
from safetensors.torch import save_file

from eosin.artefacts import ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.clip.architecture import build_model, find_architecture, write_open_clip_config
from eosin.clip.augment import draw
from eosin.clip.batches import Batch
from eosin.clip.config import ClipTrainConfig, ImageConfig, OptimiserConfig
from eosin.clip.distributed import World
from eosin.clip.relations import Keys
from eosin.clip.schedule import build_optimiser
from eosin.clip.step import Stepper
from eosin.clip.towers import pack_attention
from eosin.commands import open_inputs
from eosin.eval.config import ZeroShotConfig
from eosin.eval.tasks.zero_shot import zero_shot_step
from eosin.images import decode_image
from eosin.models.open_clip import preprocessing_of
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.records import LabelledImage

BATCH, TIMES, STEPS, THREADS, SIZE = 64, 8, 4, 2, 96
# Tokens of a caption: between 12 and 40 of the 64 there is room for.
SHORTEST, LONGEST = 12, 40
NO_WORDS = np.zeros((0, 0), dtype=bool)


def architecture() -> dict[str, Any]:
    """Eosin's demo model, whole images: dropped patches would make both faster alike."""
    found = find_architecture("clip-vit-192x6-96")
    found["vision_cfg"]["patch_dropout"] = 0.0
    return found


def tokens_of(count: int, seed: int) -> torch.Tensor:
    """int64 [count, context]: captions of several lengths, the end token last and highest, 0 behind it."""
    text = architecture()["text_cfg"]
    rng = np.random.default_rng(seed)
    tokens = np.zeros((count, text["context_length"]), dtype=np.int64)
    for row, length in enumerate(rng.integers(SHORTEST, LONGEST + 1, count)):
        tokens[row, :length] = rng.integers(1, text["vocab_size"] - 1, length)
        tokens[row, length - 1] = text["vocab_size"] - 1
    return torch.from_numpy(tokens)


def batch_of(count: int, seed: int, config: ClipTrainConfig) -> Batch:
    """A batch as Eosin's loader hands it over."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)
    numbers = np.arange(count)
    tokens = tokens_of(count, seed)
    plain, none = torch.arange(count), torch.full((count,), -1)
    keys = Keys(
        plain[:, None], plain, torch.zeros(count, dtype=torch.bool), plain, none, none, torch.from_numpy(NO_WORDS), plain[:, None][:, :0]
    )
    return Batch(numbers, images, draw(config.augment, 0, 0, numbers), tokens, int((tokens != 0).sum(1).max()), keys)


def built(folder: Path) -> Any:
    """The model with random weights."""
    write_open_clip_config(folder, architecture(), ImageConfig())
    return build_model(folder, 0).train()


def eosin_steps(count: int, micro: int, steps: int) -> Callable[[], int]:
    """Eosin's training steps; how many images they saw."""
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        model = built(Path(folder))
    pack_attention(model)
    config = ClipTrainConfig(data="x", batch_size=count, micro_batch=micro)
    stepper = Stepper(config, model, torch.device("cpu"), World())
    optimiser = build_optimiser(model, OptimiserConfig())
    batches = [batch_of(count, seed, config) for seed in range(min(steps, 2))]

    def run() -> int:
        for step in range(steps):
            optimiser.zero_grad(set_to_none=True)
            stepper.backward(batches[step % len(batches)], step)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0.0, math.log(100.0))
        return steps * count

    return run


class _Ready:
    """Batches in memory, as open_clip's trainer wants its loader."""

    def __init__(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._batches, self.num_batches, self.num_samples = batches, len(batches), len(batches) * BATCH

    def __iter__(self) -> Any:
        return iter(self._batches)


def open_clip_steps(steps: int) -> Callable[[], int]:
    """Steps of open_clip's own trainer."""
    torch.set_num_threads(THREADS)
    trainer, open_clip = require("open_clip_train.train"), require("open_clip")
    with tempfile.TemporaryDirectory() as folder:
        model = built(Path(folder))
    model.output_dict = True
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    ready = [(torch.randn(BATCH, 3, SIZE, SIZE), tokens_of(BATCH, seed)) for seed in range(2)]
    batches = _Ready([ready[step % 2] for step in range(steps)])
    data = {"train": SimpleNamespace(dataloader=batches, set_epoch=lambda epoch: None)}
    options = argparse.Namespace(
        device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=True, grad_clip_norm=1.0, horovod=False,
        log_every_n_steps=1 << 30, rank=0, local_rank=0, world_size=1, distributed=False, batch_size=BATCH, wandb=False,
    )  # fmt: skip
    loss = open_clip.ClipLoss()

    def run() -> int:
        trainer.train_one_epoch(model, data, loss, 0, optimiser, None, None, None, options)
        return steps * BATCH

    return run


MEASURED: dict[str, tuple[Callable[[], Callable[[], int]], int]] = {
    # name -> (what runs, bytes of the uint8 pixels that wait)
    "eosin": (lambda: eosin_steps(BATCH, 0, STEPS), 2 * BATCH * 3 * SIZE**2),
    "open_clip": (lambda: open_clip_steps(STEPS), 0),
    "cached": (lambda: eosin_steps(BATCH * TIMES, BATCH, 1), BATCH * TIMES * 3 * SIZE**2),
}


def peak_mb(name: str) -> tuple[float, float]:
    """Peak memory of a process of its own over what it held after its imports, and the waiting uint8 pixels in it; MB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(name, sender))
    process.start()
    peak, waiting = receiver.recv()
    process.join()
    return float(peak), float(waiting)


def _measure_peak(name: str, sender: Connection) -> None:
    make, waiting = MEASURED[name]
    require("open_clip_train.train")
    before = _status("VmRSS")
    run = make()
    run()
    run()
    sender.send((_status("VmHWM") - before, waiting / 2**20))


def _status(key: str) -> float:
    """A line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def zero_shot_runs(count: int, folder: Path) -> dict[str, Callable[[], int]]:
    """`eosin eval run`'s zero-shot over `count` tiles, record to prediction, and the forward passes alone."""
    classes = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
    write_open_clip_config(folder, find_architecture("ViT-B-32"), ImageConfig())
    save_file({name: weight.contiguous() for name, weight in build_model(folder, 0).state_dict().items()}, folder / "model.safetensors")
    tiles = [synthetic_tile(224, seed) for seed in range(min(count, 64))]
    records = [
        LabelledImage(
            id=f"b/{n}", source="b", licence="CC0-1.0", group=str(n), split="test", image=tiles[n % len(tiles)], label=classes[n % 5]
        )
        for n in range(count)
    ]
    data = folder / "data"
    plan = Plan("labelled_images", "benchmark", {}, tasks=(Task("made", 0, count, "test"),), facts={"classes": list(classes)})
    with ArtefactWriter(data, plan) as writer:
        for name, task in writer.pending():
            write_shard(writer.path, plan.kind, name, task.split, records)
        writer.finish()
    config = ZeroShotConfig("zero_shot", folder=str(folder), data=str(data), labels="lc25000", device="cpu", batch_size=BATCH)
    step, _ = zero_shot_step(config, open_inputs(config))
    embedder: Any = load_embedder(EmbedderSpec(str(folder), device="cpu", batch_size=BATCH))
    transform = preprocessing_of(embedder.model)
    pixels = torch.stack([transform(Image.fromarray(decode_image(tile))) for tile in tiles])

    def evaluation() -> int:
        return sum(1 for task in step.plan.tasks for _ in step.produce(task))

    def forward() -> int:
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                rows = torch.arange(start, min(start + BATCH, count)) % len(tiles)
                embedder.model.encode_image(pixels[rows])
        return count

    return {"zero-shot": evaluation, "forward": forward}


def main() -> None:
    """Measure all and print."""
    quick = parse_options(__doc__).quick
    torch.set_num_threads(THREADS)
    number = 2 if quick else STEPS
    steps = alternate({"eosin": eosin_steps(BATCH, 0, number), "open_clip": open_clip_steps(number)}, rounds=3 if quick else 9)
    runs = {"cached": eosin_steps(BATCH * TIMES, BATCH, 1), "small": eosin_steps(BATCH, 0, TIMES)}
    cached = alternate(runs, rounds=2 if quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        tiles = 64 if quick else 512
        shots = alternate(zero_shot_runs(tiles, Path(folder)), rounds=2 if quick else 5)
    found = {name: sorted(peak_mb(name) for _ in range(1 if quick else 3)) for name in MEASURED}
    peaks, waiting = ({name: values[len(values) // 2][part] for name, values in found.items()} for part in (0, 1))
    ratios = {
        "vs_open_clip": ratio(steps, "eosin", "open_clip"),
        "memory_vs_open_clip": round(peaks["eosin"] / peaks["open_clip"], 4),
        "grad_cache_time": ratio(cached, "small", "cached"),
        "grad_cache_memory": round((peaks["cached"] - waiting["cached"]) / (peaks["eosin"] - waiting["eosin"]), 4),
        "zero_shot_time": ratio(shots, "forward", "zero-shot"),
    }
    rates = {name: round(median(values), 1) for name, values in {**steps, **cached, **shots}.items()}
    print_table(
        ("run", "images/s", "peak MB"), [(name, rates.get(name, ""), f"{peaks[name]:.0f}" if name in peaks else "") for name in rates]
    )
    figures = {"images_per_second": rates, "peak_mb": {name: round(value, 1) for name, value in peaks.items()}, "zero_shot_tiles": tiles}
    report("clip_step", ratios=ratios, figures=figures, packages=("open_clip_torch", "torch"))


if __name__ == "__main__":
    main()
