"""The training loop: AdamW over planned batches, checkpoints, and a resume that equals the straight run bit for bit.

Everything a step draws depends on (seed, step) alone, batches on (seed, epoch): a checkpoint needs the weights that learn, the
optimiser and the place in the plan, and no generator's state.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eosin.checkpoint import Checkpoint, save_checkpoint
from eosin.errors import ArtefactError, EosinError
from eosin.llm.batches import Item, plan_epoch
from eosin.llm.config import OptimiserConfig, TrainConfig
from eosin.llm.forward import Batch, collate, loss_of, target_logits
from eosin.llm.image_store import ImageStore
from eosin.progress import bar, say

_BIG_PRIME = 1_000_003


@dataclass
class Progress:
    """Where a run stands, and what it has logged."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Speed:
    """What this process did: samples, tokens without padding, tokens the loss counts, seconds."""

    samples: int
    tokens: int
    targets: int
    seconds: float


@dataclass
class Run:
    """One training run.

    Attributes:
        model: LlavaForConditionalGeneration with or without adapters; what learns has `requires_grad`.
        items: the samples.
        store: their images.
        config: the recipe.
        checkpoint: the file that holds the run's state.
        checkpoint_seconds: between two checkpoints.
        threads: of torch.
        resumed: what the file held when the run began; let go of once it is taken over.
        image_states: what the store holds to the tower's hidden states.
    """

    model: Any
    items: Sequence[Item]
    store: ImageStore
    config: TrainConfig
    checkpoint: Path
    checkpoint_seconds: float
    threads: int
    resumed: Checkpoint | None
    image_states: Callable[[Tensor], Tensor]


def train(run: Run) -> tuple[Progress, Speed]:
    """Train to the end, from the checkpoint where there is one.

    Raises:
        EosinError: the loss is no longer a number.
        ArtefactError: the checkpoint is of another model.
    """
    optimiser = make_optimiser(run.model, run.config.optimiser)
    progress = _restore(run, optimiser)
    started = saved = time.monotonic()
    samples = tokens = targets = 0
    with bar("training", total=run.config.epochs * 1000) as moving:
        while progress.epoch < run.config.epochs:
            batches = plan_epoch(run.items, run.config.batch, run.config.views, run.config.seed, progress.epoch)
            while progress.batch < len(batches):
                batch = collate(batches[progress.batch], run.store, run.config.sample_weights)
                done = progress.epoch + progress.batch / len(batches)
                entry = _step(run, optimiser, batch, progress.step, done / run.config.epochs)
                samples += sum(len(row.samples) for row in batches[progress.batch])
                tokens, targets = tokens + batch.layout.used, targets + len(batch.layout.targets)
                _advance(progress, entry)
                moving.advance(
                    round(1000 * progress.batch / len(batches)) - round(1000 * (progress.batch - 1) / len(batches)), _note(entry)
                )
                if time.monotonic() - saved >= run.checkpoint_seconds:
                    _save(run, optimiser, progress)
                    saved = time.monotonic()
            progress.epoch, progress.batch = progress.epoch + 1, 0
    if tokens:
        _save(run, optimiser, progress)
    return progress, Speed(samples, tokens, targets, time.monotonic() - started)


def _advance(progress: Progress, entry: dict[str, float]) -> None:
    progress.batch, progress.step = progress.batch + 1, progress.step + 1
    progress.history.append({"step": progress.step, "epoch": progress.epoch, **entry})


def _note(entry: dict[str, float]) -> str:
    return f"loss {entry['loss']:.3f}"


def _step(run: Run, optimiser: torch.optim.Optimizer, batch: Batch, step: int, done: float) -> dict[str, float]:
    """One update; the log entry of it."""
    torch.manual_seed((run.config.seed * _BIG_PRIME + step) % 2**63)
    rate = learning_rate(done, run.config.optimiser.warmup)
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * rate
    device = next(run.model.parameters()).device.type
    arithmetic = torch.autocast(device, torch.bfloat16) if run.config.precision == "bfloat16" else contextlib.nullcontext()
    with arithmetic:
        states = None if batch.images is None else run.image_states(batch.images)
        loss = loss_of(target_logits(run.model, batch, states), batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise EosinError(f"the loss is {value} at step {step}: lower optimiser.lr, or look for broken samples")
    loss.backward()  # type: ignore[no-untyped-call]
    learning = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = float(nn.utils.clip_grad_norm_(learning, run.config.optimiser.clip_norm))
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {"loss": value, "grad_norm": norm, "lr": run.config.optimiser.lr * rate, "targets": len(batch.layout.targets)}


def learning_rate(done: float, warmup: float) -> float:
    """The rate's factor after a share `done` of the run: linear warm-up, cosine decay (Loshchilov and Hutter 2017)."""
    if done < warmup:
        return max(done, 1e-3 * warmup) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """AdamW over what learns; matrices decay, embeddings, norms and biases do not."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and "embed" not in name
            groups.setdefault(("multi_modal_projector" in name, decays), []).append(parameter)
    settings = []
    for (projector, decays), parameters in sorted(groups.items(), key=lambda item: item[0]):
        rate = config.projector_lr if projector and config.projector_lr is not None else config.lr
        decay = config.weight_decay if decays else 0.0
        settings.append({"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(settings, betas=(config.betas[0], config.betas[1]))


def learning_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn, by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _save(run: Run, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    save_checkpoint(run.checkpoint, Checkpoint(learning_state(run.model), optimiser.state_dict(), vars(progress), run.threads))


def _restore(run: Run, optimiser: torch.optim.Optimizer) -> Progress:
    found, run.resumed = run.resumed, None
    if found is None:
        return Progress()
    learning = learning_state(run.model)
    _check_names(learning, found.model, run.checkpoint)
    with torch.no_grad():
        for name, value in found.model.items():
            learning[name].copy_(value)
    optimiser.load_state_dict(found.optimiser)
    progress = Progress(**found.progress)
    say(f"llm train: goes on after step {progress.step}")
    return progress


def _check_names(wanted: Iterable[str], found: Iterable[str], path: Path) -> None:
    if set(wanted) != set(found):
        raise ArtefactError(
            f"{path} is of another model: {sorted(set(wanted) ^ set(found))[:3]}; delete {path.parent} and run the command again: "
            "training starts from its beginning"
        )
