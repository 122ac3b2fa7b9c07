"""Training ViT-B/16 at 224 px in bfloat16, compiled, on a GPU: images a second and share of its peak, beside open_clip's trainer.

Both have their batches in memory (Eosin's as bytes, augmented on the GPU; open_clip's as floats), AdamW with its fused update, clipped
gradients and automatic bfloat16. The share of peak counts the operations of the matrix products, forward and backward, by torch's own
counter on one step without compilation, over the dense bfloat16 peak that the maker states. Without a GPU a tiny model runs on the CPU,
which shows that the script works and says nothing of speed: its ratio is left out.

    python benchmarks/clip_gpu.py [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from _common import alternate, parse_options, print_table, ratio, report, require
from torch.utils.flop_counter import FlopCounterMode

from eosin.clip.architecture import build_model, find_architecture, write_open_clip_config
from eosin.clip.augment import draw
from eosin.clip.batches import Batch
from eosin.clip.config import ClipTrainConfig, ImageConfig, OptimiserConfig
from eosin.clip.distributed import World
from eosin.clip.relations import Keys
from eosin.clip.schedule import build_optimiser
from eosin.clip.step import Stepper
from eosin.clip.towers import compile_blocks, pack_attention

# Dense bfloat16 in teraflops, from NVIDIA's data sheets.
PEAK = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "A10": 125.0, "RTX 4090": 165.0}
TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}


@dataclass(frozen=True)
class Setting:
    """What is trained, and where."""

    device: torch.device
    architecture: dict[str, Any]
    batch: int
    steps: int

    @property
    def size(self) -> int:
        """Side of the model's input."""
        return int(self.architecture["vision_cfg"]["image_size"])

    @property
    def compiled(self) -> bool:
        """The tiny model is not worth it."""
        return self.device.type == "cuda"

    def tokens(self) -> torch.Tensor:
        """int64 [batch, context]: full captions, the end token last and highest."""
        text = self.architecture["text_cfg"]
        tokens = np.random.default_rng(0).integers(1, text["vocab_size"] - 1, (self.batch, text["context_length"]))
        tokens[:, -1] = text["vocab_size"] - 1
        return torch.from_numpy(tokens)

    def model(self) -> Any:
        """With random weights, on the device."""
        with tempfile.TemporaryDirectory() as folder:
            write_open_clip_config(Path(folder), self.architecture, ImageConfig())
            return build_model(Path(folder), 0).train().to(self.device)

    def wait(self) -> None:
        """Until the GPU is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def setting_of(quick: bool) -> Setting:
    """ViT-B/16 where there is a GPU."""
    if not torch.cuda.is_available():
        return Setting(torch.device("cpu"), TINY, 16, 2)
    return Setting(torch.device("cuda"), find_architecture("ViT-B-16"), 256 if quick else 512, 10 if quick else 30)


def eosin_steps(setting: Setting, *, compiled: bool) -> Callable[[], int]:
    """Eosin's steps, augmentation included."""
    config = ClipTrainConfig(data="x", batch_size=setting.batch, precision="bf16", compiled=compiled)
    model = setting.model()
    pack_attention(model)
    if compiled:
        compile_blocks(model)
    stepper = Stepper(config, model, setting.device, World())
    optimiser = build_optimiser(model, OptimiserConfig())
    numbers = np.arange(setting.batch)
    images = np.random.default_rng(1).integers(0, 256, (setting.batch, 3, setting.size, setting.size), dtype=np.uint8)
    plain, none = torch.arange(setting.batch), torch.full((setting.batch,), -1)
    related = torch.zeros((0, 0), dtype=torch.bool)
    keys = Keys(plain[:, None], plain, torch.zeros(setting.batch, dtype=torch.bool), plain, none, none, related, plain[:, None][:, :0])
    tokens = setting.tokens()
    batch = Batch(numbers, images, draw(config.augment, 0, 0, numbers), tokens, tokens.shape[1], keys)

    def run() -> int:
        for step in range(setting.steps):
            optimiser.zero_grad(set_to_none=True)
            stepper.backward(batch, step)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        setting.wait()
        return setting.steps * setting.batch

    return run


def open_clip_steps(setting: Setting) -> Callable[[], int]:
    """Steps of open_clip's own trainer, compiled as its `--torchcompile` does."""
    trainer, open_clip = require("open_clip_train.train"), require("open_clip")
    own = setting.model()
    own.output_dict = True
    optimiser = torch.optim.AdamW(own.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1, fused=True)
    model: Any = torch.compile(own) if setting.compiled else own
    pair = torch.randn(setting.batch, 3, setting.size, setting.size), setting.tokens()
    loader = _Ready([pair] * setting.steps, setting.batch)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    options = argparse.Namespace(
        device=str(setting.device), precision="amp_bf16", distill=False, accum_freq=1, skip_scheduler=True, grad_clip_norm=1.0,
        horovod=False, log_every_n_steps=1 << 30, rank=0, local_rank=0, world_size=1, distributed=False, batch_size=setting.batch,
        wandb=False,
    )  # fmt: skip
    loss = open_clip.ClipLoss()

    def run() -> int:
        trainer.train_one_epoch(model, data, loss, 0, optimiser, None, None, None, options)
        setting.wait()
        return setting.steps * setting.batch

    return run


class _Ready(list[tuple[torch.Tensor, torch.Tensor]]):
    """Batches in memory, as open_clip's trainer wants its loader."""

    def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]], size: int) -> None:
        super().__init__(batches)
        self.num_batches, self.num_samples = len(batches), len(batches) * size


def operations(setting: Setting) -> float:
    """Floating-point operations of a training step, an image."""
    run = eosin_steps(Setting(setting.device, setting.architecture, setting.batch, 1), compiled=False)
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / setting.batch


def peak_of(name: str) -> float | None:
    """Teraflops of a GPU by its name."""
    return next((value for part, value in PEAK.items() if part in name), None)


def main() -> None:
    """Measure both and print."""
    quick = parse_options(__doc__).quick
    setting = setting_of(quick)
    name = torch.cuda.get_device_name() if setting.device.type == "cuda" else "no GPU: a tiny model on the CPU"
    started = time.perf_counter()
    each = operations(setting)
    runs = {"eosin": eosin_steps(setting, compiled=setting.compiled), "open_clip": open_clip_steps(setting)}
    rates = alternate(runs, rounds=3 if quick else 7)
    peak = peak_of(name)
    shares = {run: round(median(values) * each / (peak * 1e12), 4) for run, values in rates.items()} if peak else {}
    print(f"{name}, batch {setting.batch}, {each / 1e9:.1f} gigaflops an image")
    print_table(
        ("trainer", "images/s", "share of peak"), [(run, f"{median(values):.0f}", shares.get(run, "")) for run, values in rates.items()]
    )
    figures = {
        "device": name,
        "batch": setting.batch,
        "images_per_second": {run: round(median(values), 1) for run, values in rates.items()},
        "share_of_peak": shares,
        "gigaflops_an_image": round(each / 1e9, 3),
        "seconds": round(time.perf_counter() - started, 1),
    }
    ratios = {"vs_open_clip": ratio(rates, "eosin", "open_clip")} if setting.device.type == "cuda" else {}
    report("clip_gpu", ratios=ratios, figures=figures, packages=("open_clip_torch", "torch"))


if __name__ == "__main__":
    main()
