"""Contrastive training of an open_clip model (Radford et al. 2021) on image-text pairs.

Everything random depends on (seed, epoch, index) or (seed, step), so a run that was killed and goes on from its checkpoint ends
with the weights of an undisturbed one, bit for bit, on the same device with the same number of threads; a checkpoint keeps its
number of threads.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, threads_of
from eosin.clip.architecture import build_model, check_activation, write_open_clip_config
from eosin.clip.augment import apply, draw, normalise
from eosin.clip.config import ClipTrainConfig
from eosin.clip.objective import contrastive_loss, positive_pairs
from eosin.clip.pairs import Pairs, check_labels, load_pairs, source_side
from eosin.clip.schedule import build_optimiser, learning_rate
from eosin.clip.tokens import same_tokenizer, settle_tokenizer, tokenise
from eosin.clip.towers import encode_texts, pack_attention, pools_at_highest_id
from eosin.errors import ConfigError, EosinError
from eosin.models.embedding import pick_device
from eosin.models.open_clip import OpenClipModel, load_open_clip
from eosin.progress import bar, say
from eosin.seeds import generator

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Runtime:
    """How a run is carried out; none of it belongs to the plan.

    Attributes:
        threads: for torch and for decoding.
        cache_bytes: memory for decoded images.
        checkpoint_every: steps.
        device: `auto` takes a GPU where there is one.
    """

    threads: int = 2
    cache_bytes: int = 1 << 30
    checkpoint_every: int = 100
    device: str = "auto"


@dataclass(frozen=True)
class Texts:
    """The captions as tokens: ids int64 [captions, context], lengths int64 [captions], and how many were cut."""

    ids: Ints
    lengths: Ints
    truncated: int


@dataclass
class Run:
    """A training run: what it was given, and where it stands."""

    config: ClipTrainConfig
    runtime: Runtime
    pairs: Pairs
    texts: Texts
    model: OpenClipModel
    optimiser: torch.optim.Optimizer
    size: int
    device: torch.device
    threads: int
    step: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)

    @property
    def batch_size(self) -> int:
        """As configured, or all records where there are fewer."""
        return min(self.config.batch_size, len(self.pairs))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches only."""
        return len(self.pairs) // self.batch_size

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Trained:
    """A finished run: the model, its folder's `model_cfg`, and what the manifest should tell."""

    run: Run
    model_cfg: dict[str, Any]
    facts: dict[str, Any]


def train_clip(
    config: ClipTrainConfig, model_cfg: dict[str, Any], data: Artefact, scratch: Path, init: Path | None, runtime: Runtime
) -> Trained:
    """Train; goes on from the checkpoint in `scratch` where there is one.

    Args:
        config: the recipe.
        model_cfg: the architecture.
        data: an image_text artefact.
        scratch: for checkpoints and, in `scratch/model`, config and tokenizer of the model.
        init: folder of the open_clip model to start from.
        runtime: threads, memory, device.

    Raises:
        ConfigError: the parts of the recipe do not fit each other, or the loss is no number any more.
        InputError: too few records can be used.
        ArtefactError: the checkpoint is damaged.
    """
    import torch

    folder = scratch / "model"
    folder.mkdir(exist_ok=True)
    checkpoint = load_checkpoint(scratch / "checkpoint.pt")
    threads = threads_of(checkpoint, runtime.threads)
    torch.set_num_threads(threads)
    size = _square(model_cfg)
    pairs = load_pairs(data, source_side(size), config.image.resize, runtime.cache_bytes, runtime.threads)
    if config.positives == "same_caption_or_label":
        check_labels(pairs.captions)
    model_cfg = settle_tokenizer(config.tokenizer, pairs.captions.texts, model_cfg, folder, init)
    write_open_clip_config(folder, model_cfg, config.image)
    model = build_model(folder, config.seed)
    texts, end_id = _tokens(folder, pairs, model, model_cfg)
    facts = {
        "activation": check_activation(model, model_cfg),
        "end_token_id": end_id,
        "started_from": _start_from(init, folder, model),
    }
    device = pick_device(runtime.device)
    model.to(device)
    pack_attention(model)
    run = Run(config, runtime, pairs, texts, model, build_optimiser(model, config.optimiser), size, device, threads)
    if checkpoint:
        _go_on_from(run, checkpoint)
    _loop(run, scratch / "checkpoint.pt")
    return Trained(run, model_cfg, facts)


def _square(model_cfg: dict[str, Any]) -> int:
    size = model_cfg["vision_cfg"].get("image_size", 224)
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(set(sides)) != 1:
        raise ConfigError(f"vision_cfg.image_size is {size}; training needs a square")
    if "multimodal_cfg" in model_cfg:
        raise ConfigError(
            "this architecture has a captioning decoder (CoCa), which the contrastive objective does not train; use a plain CLIP"
        )
    return int(sides[0])


def _tokens(folder: Path, pairs: Pairs, model: OpenClipModel, model_cfg: dict[str, Any]) -> tuple[Texts, int]:
    """The captions' tokens and the end token's id, which every text must hold where the model pools."""
    context = int(model_cfg["text_cfg"].get("context_length", 77))
    ids, cut = tokenise(folder, pairs.captions.texts, context)
    end_id = int(model_cfg["text_cfg"].get("eos_id", ids.max()))
    places = (ids == end_id).argmax(axis=1)
    wrong = np.flatnonzero(ids[np.arange(len(ids)), places] != end_id)
    if pools_at_highest_id(model):
        wrong = np.flatnonzero(ids.argmax(axis=1) != places) if not wrong.size else wrong
    if wrong.size:
        raise EosinError(
            f"the end token {end_id} is not where the model pools, in {wrong.size} captions such as {pairs.captions.texts[wrong[0]]!r}"
        )
    return Texts(ids, places + 1, int(cut.sum())), end_id


def _start_from(init: Path | None, folder: Path, model: OpenClipModel) -> str:
    """Load the weights that training starts from; says which."""
    if init is None:
        return "random weights"
    weights = load_open_clip(init).state_dict()
    whole = same_tokenizer(init, folder)
    wanted = weights if whole else {name: weight for name, weight in weights.items() if name.startswith("visual.")}
    try:
        missing = model.load_state_dict(wanted, strict=whole).missing_keys
    except RuntimeError as error:
        raise ConfigError(f"init: {init} is of another architecture: {error}") from error
    if any(name.startswith("visual.") for name in missing):
        raise ConfigError(f"init: {init} lacks weights of the image tower, such as {missing[0]}")
    return "all weights" if whole else "image tower"


def _go_on_from(run: Run, checkpoint: Checkpoint) -> None:
    run.model.load_state_dict(checkpoint.model)
    run.optimiser.load_state_dict(checkpoint.optimiser)
    run.step, run.metrics = checkpoint.progress["step"], list(checkpoint.progress["metrics"])
    say(f"clip train: goes on after step {run.step} of {run.steps}")


def _loop(run: Run, checkpoint_path: Path) -> None:
    """Train to the end, checkpoint on the way, and tell the speed."""
    run.model.train()
    began, first, loading = time.perf_counter(), run.step, 0.0
    with bar("clip train", run.steps - run.step) as moving:
        while run.step < run.steps:
            started = time.perf_counter()
            batch = _batch(run)
            loading += time.perf_counter() - started
            line = _train_step(run, *batch)
            run.metrics.append(line)
            run.step += 1
            moving.advance(note=f"loss {line['loss']:.3f}")
            if run.step % run.runtime.checkpoint_every == 0 and run.step < run.steps:
                progress = {"step": run.step, "metrics": run.metrics}
                save_checkpoint(checkpoint_path, Checkpoint(run.model.state_dict(), run.optimiser.state_dict(), progress, run.threads))
    seconds = time.perf_counter() - began
    if run.step > first:
        speed = (run.step - first) * run.batch_size / seconds
        say(f"clip train: {run.steps} steps, {speed:.0f} images/s, {loading / seconds:.0%} of the time in loading")


def _batch(run: Run) -> tuple[torch.Tensor, torch.Tensor, int, torch.Tensor | None]:
    """The batch of the run's step: pixels, tokens, length of the longest text, and which pairs are positive."""
    import torch

    config, captions = run.config, run.pairs.captions
    epoch, place = divmod(run.step, run.steps_per_epoch)
    order = generator(config.seed, epoch).permutation(len(run.pairs))
    numbers = order[place * run.batch_size : (place + 1) * run.batch_size]
    draws = draw(config.augment, config.seed, epoch, numbers)
    images = torch.from_numpy(run.pairs.images.batch(numbers)).to(run.device)
    pixels = normalise(apply(draws, images, run.size, config.augment), config.image)
    drawn = captions.drawn(numbers, draws.caption)
    positive = None
    if config.positives != "pair":
        labels = captions.labels[numbers] if config.positives == "same_caption_or_label" else None
        positive = torch.from_numpy(positive_pairs(drawn, captions.held[numbers], labels)).to(run.device)
    tokens = torch.from_numpy(run.texts.ids[drawn]).to(run.device)
    return pixels, tokens, int(run.texts.lengths[drawn].max()), positive


def _train_step(run: Run, pixels: torch.Tensor, tokens: torch.Tensor, length: int, positive: torch.Tensor | None) -> dict[str, float]:
    """One step of the optimiser; the line of `metrics.jsonl`."""
    import torch
    from torch.nn import functional as F

    optimiser = run.config.optimiser
    rate = learning_rate(run.step, run.steps, optimiser)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    # Patch dropout, where an architecture has it, draws from torch's global generator.
    torch.manual_seed(run.config.seed * 1_000_003 + run.step)
    with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=run.config.precision == "bf16"):
        image_features = run.model.encode_image(pixels)
        text_features = encode_texts(run.model, tokens, length)
    images, texts = F.normalize(image_features.float(), dim=-1), F.normalize(text_features.float(), dim=-1)
    loss = contrastive_loss(run.model.logit_scale.exp() * images @ texts.T, positive)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), optimiser.clip_norm or math.inf)
    line = {
        "step": run.step,
        "epoch": run.step // run.steps_per_epoch,
        "loss": loss.item(),
        "lr": rate,
        "logit_scale": run.model.logit_scale.exp().item(),
        "grad_norm": norm.item(),
    }
    _check_finite(line, run)
    run.optimiser.step()
    with torch.no_grad():
        run.model.logit_scale.clamp_(0.0, math.log(optimiser.max_logit_scale))
    return line


def _check_finite(line: dict[str, float], run: Run) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(line[name]):
            raise ConfigError(
                f"step {run.step} of {run.steps}: {name} is {line[name]}; training has diverged. Lower optimiser.lr "
                f"(now {run.config.optimiser.lr}), raise optimiser.warmup (now {run.config.optimiser.warmup}) or use precision fp32"
            )
