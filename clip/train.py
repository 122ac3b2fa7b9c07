"""Training of an open_clip model on image-text pairs (Radford et al. 2021, and the objectives of `eosin.clip.objective`).

Everything random depends on (seed, epoch, index) or (seed, step), so a run that was killed and goes on from its checkpoint ends
with the weights of an undisturbed one, bit for bit, on the same device with the same number of threads; a checkpoint keeps its
number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.artefacts import Artefact
from eosin.artefacts.files import read_json, write_json
from eosin.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, threads_of
from eosin.clip.adapters import adapt
from eosin.clip.architecture import build_model, check_activation, write_open_clip_config
from eosin.clip.batches import Batch, Batches
from eosin.clip.config import ClipTrainConfig, TowerConfig
from eosin.clip.diseases import Diseases, count_diseases, node_finder
from eosin.clip.distributed import World
from eosin.clip.divergence import check_sound
from eosin.clip.foreign_towers import load_towers, place_towers
from eosin.clip.image_store import Reading, source_side
from eosin.clip.layers import lock
from eosin.clip.monitor import Monitor
from eosin.clip.ontology import read_ontology
from eosin.clip.pairs import Pairs, Wanted, check_labels, load_pairs
from eosin.clip.schedule import build_optimiser, learning_rate, set_rate
from eosin.clip.starting import load_start
from eosin.clip.step import Stepper
from eosin.clip.token_table import TokenTable, build_token_table
from eosin.clip.tokens import Tokeniser, settle_tokenizer
from eosin.clip.towers import compile_blocks, pack_attention, pools_at_highest_id
from eosin.clip.track import Tracker
from eosin.errors import ConfigError
from eosin.models.embedding import pick_device
from eosin.models.open_clip import CONFIG_FILE, OpenClipModel, read_open_clip_config
from eosin.progress import bar, say

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Runtime:
    """How a run is carried out; none of it belongs to the plan.

    Attributes:
        threads: for torch and for decoding.
        cache_bytes: memory for decoded images.
        checkpoint_every: steps.
        device: `auto` takes a GPU where there is one.
        world: the processes that share the run.
        tensorboard: folder of event files, or empty.
        wandb: project of Weights & Biases, or empty.
    """

    threads: int = 2
    cache_bytes: int = 1 << 30
    checkpoint_every: int = 100
    device: str = "auto"
    world: World = field(default_factory=World)
    tensorboard: str = ""
    wandb: str = ""


@dataclass(frozen=True)
class Sources:
    """What a run reads: the image_text artefact, the clip_model it starts from, its plain folders by name, and further data."""

    data: Artefact
    init: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    more: tuple[Artefact, ...] = ()


@dataclass
class Run:
    """A training run: what it was given, and where it stands."""

    config: ClipTrainConfig
    runtime: Runtime
    pairs: Pairs
    tokens: TokenTable
    batches: Batches
    model: OpenClipModel
    adapters: Any | None
    stepper: Stepper
    optimiser: torch.optim.Optimizer
    monitor: Monitor | None
    size: int
    device: torch.device
    threads: int
    step: int = 0
    metrics: list[dict[str, float]] = field(default_factory=list)
    measured: list[dict[str, float]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.epochs * self.batches.per_epoch

    @property
    def best(self) -> dict[str, float] | None:
        """The first of the best measurements."""
        return max(self.measured, key=lambda line: line[self.config.monitor.metric], default=None)


@dataclass(frozen=True)
class Trained:
    """A finished run: the model, its folder's `model_cfg`, and what the manifest should tell."""

    run: Run
    model_cfg: dict[str, Any]
    facts: dict[str, Any]


def train_clip(config: ClipTrainConfig, model_cfg: dict[str, Any], sources: Sources, scratch: Path, runtime: Runtime) -> Trained:
    """Train; goes on from the checkpoint in `scratch` where there is one.

    Args:
        config: the recipe.
        model_cfg: the architecture.
        sources: data and models.
        scratch: for checkpoints, what was found in the data and, in `scratch/model`, config and tokenizer of the model.
        runtime: threads, memory, device, processes.

    Raises:
        ConfigError: the parts of the recipe do not fit each other, or the loss is no number any more.
        InputError: too few records can be used.
        ArtefactError: the checkpoint is damaged.
    """
    import torch

    checkpoint = load_checkpoint(scratch / "checkpoint.pt")
    threads = _begun_with(scratch, threads_of(checkpoint, runtime.threads), write=runtime.world.main)
    torch.set_num_threads(threads)
    size = _square(model_cfg)
    diseases = Diseases(read_ontology(sources.folders["ontology"])) if "ontology" in sources.folders else None
    if diseases is not None and runtime.world.main:
        for note in diseases.ontology.notes:
            say(f"clip train: {note}")
    if not runtime.world.main:
        runtime.world.wait()
    reading = Reading(source_side(size), config.image.resize, runtime.cache_bytes, runtime.threads, config.shuffle_window)
    pairs, model_cfg = _prepare(config, model_cfg, sources, scratch, reading, diseases)
    model, facts = _build(config, model_cfg, sources, scratch / "model")
    tokens = build_token_table(scratch, pairs.texts, model_cfg, pools_at_highest=pools_at_highest_id(model))
    if runtime.world.main:
        runtime.world.wait()
    if diseases is not None:
        facts["ontology"] = count_diseases(pairs.index.nodes)
    facts["end_token_id"] = tokens.end
    run = _set_up(config, _Prepared(pairs, tokens, model, size, diseases), sources, scratch, runtime)
    run.threads = threads
    if checkpoint:
        _go_on_from(run, checkpoint)
    _loop(run, scratch)
    return Trained(run, model_cfg, facts)


def _begun_with(scratch: Path, asked: int, *, write: bool) -> int:
    """The number of threads that the run began with, though it was killed before its first checkpoint."""
    path = scratch / "threads.json"
    if path.is_file():
        return int(read_json(path)["threads"])
    if write:
        write_json(path, {"threads": asked})
    return asked


def _prepare(
    config: ClipTrainConfig,
    model_cfg: dict[str, Any],
    sources: Sources,
    scratch: Path,
    reading: Reading,
    diseases: Diseases | None,
) -> tuple[Pairs, dict[str, Any]]:
    """The records, and the architecture with its tokenizer, from an earlier attempt where there was one."""
    finder = node_finder(diseases.ontology, config.disease) if diseases is not None else None
    pairs = load_pairs(
        sources.data, reading, scratch, Wanted(bool(config.augment.mpp), finder, config.objective.hard_captions > 0), sources.more
    )
    if config.positives == "same_caption_or_label":
        check_labels(pairs.index)
    if diseases is None and (config.positives == "same_disease" or "hypernyms" in config.objective.spare):
        raise ConfigError("positives: same_disease and objective.spare: hypernyms need an ontology; add ontology=FOLDER")
    folder = scratch / "model"
    folder.mkdir(exist_ok=True)
    if not (folder / CONFIG_FILE).is_file():
        start = sources.init or sources.folders.get("start")
        place_towers(sources.folders, start, folder)
        settled = settle_tokenizer(config.tokenizer, pairs.texts, model_cfg, folder, sources.folders.get("text_folder") or start)
        write_open_clip_config(folder, settled, config.image)
    return pairs, dict(read_open_clip_config(folder)["model_cfg"])


def _square(model_cfg: dict[str, Any]) -> int:
    size = model_cfg["vision_cfg"].get("image_size", 224)
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(set(sides)) != 1:
        raise ConfigError(f"vision_cfg.image_size is {size}; training needs a square")
    return int(sides[0])


def _build(config: ClipTrainConfig, model_cfg: dict[str, Any], sources: Sources, folder: Path) -> tuple[OpenClipModel, dict[str, Any]]:
    """The model with the weights it starts from, and what the manifest tells about both."""
    model = build_model(folder, config.seed)
    said = [load_start(config, sources.folders, sources.init, folder, model), *load_towers(model, sources.folders)]
    if len(said) > 1:
        said = [line for line in said if line != "random weights"]
    return model, {"activation": check_activation(model, model_cfg), "started_from": ", ".join(said)}


def towers_of(config: ClipTrainConfig) -> dict[str, TowerConfig]:
    """The recipe's two towers."""
    return {"vision": config.vision, "text": config.text}


@dataclass(frozen=True)
class _Prepared:
    """What was read and built before the loop."""

    pairs: Pairs
    tokens: TokenTable
    model: OpenClipModel
    size: int
    diseases: Diseases | None


def _set_up(config: ClipTrainConfig, ready: _Prepared, sources: Sources, scratch: Path, runtime: Runtime) -> Run:
    """Everything the loop needs, at its first step."""
    import torch

    world, towers, model = runtime.world, towers_of(config), ready.model
    # What `joined` chose between: gloo carries no tensors of a GPU.
    own_gpu = world.size > 1 and runtime.device != "cpu" and torch.cuda.is_available()
    device = pick_device(f"cuda:{world.local_rank}" if own_gpu else runtime.device)
    adapters = _let_learn(config, model)
    model.to(device)
    if config.recompute:
        model.set_grad_checkpointing(True)
    if config.compiled:
        compile_blocks(model)
    reworded = config.disease.word_drop > 0 or config.disease.label_captions > 0
    tokeniser = Tokeniser(scratch / "model", ready.tokens.context) if reworded else None
    batches = Batches(config, ready.pairs, ready.tokens, ready.size, world, ready.diseases, tokeniser)
    world.share(batches.size)
    measuring = bool(config.monitor.every) and world.main
    held_out = Monitor(config.monitor, (sources.data, *sources.more), scratch / "model", ready.tokens.context) if measuring else None
    return Run(
        config,
        runtime,
        ready.pairs,
        ready.tokens,
        batches,
        model,
        adapters,
        stepper=Stepper(config, model, device, world),
        optimiser=build_optimiser(model, config.optimiser, towers),
        monitor=held_out,
        size=ready.size,
        device=device,
        threads=runtime.threads,
    )


def _let_learn(config: ClipTrainConfig, model: OpenClipModel) -> Any | None:
    """Lock, adapt, and fix the temperature as the recipe says; the adapters, if any."""
    import torch

    lock(model, towers_of(config))
    pack_attention(model)
    if config.optimiser.temperature:
        with torch.no_grad():
            model.logit_scale.fill_(-math.log(config.optimiser.temperature))
        model.logit_scale.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return adapt(model, towers_of(config))


def _go_on_from(run: Run, checkpoint: Checkpoint) -> None:
    run.model.load_state_dict(checkpoint.model)
    run.optimiser.load_state_dict(checkpoint.optimiser)
    run.step, run.metrics = checkpoint.progress["step"], list(checkpoint.progress["metrics"])
    run.measured = list(checkpoint.progress["measured"])
    say(f"clip train: goes on after step {run.step} of {run.steps}")


def _loop(run: Run, scratch: Path) -> None:
    """Train to the end, checkpoint and measure on the way, and tell the speed."""
    run.model.train()
    main, runtime = run.runtime.world.main, run.runtime
    began, first, loading = time.perf_counter(), run.step, 0.0
    tracker = Tracker(runtime.tensorboard if main else "", runtime.wandb if main else "", run.step)
    with bar("clip train", run.steps - run.step) as moving, tracker:
        following = run.batches.following(run.step, run.steps, run.threads)
        while run.step < run.steps:
            started = time.perf_counter()
            batch = next(following)
            loaded = time.perf_counter()
            loading += loaded - started
            line = _train_step(run, batch)
            run.metrics.append(line)
            tracker.write(run.step, {**line, "images_per_second": run.batches.size / (time.perf_counter() - started)})
            run.step += 1
            _check_learnable(run)
            moving.advance(note=f"loss {line['loss']:.3f}")
            _measure(run, scratch, tracker)
            if main and run.step % runtime.checkpoint_every == 0 and run.step < run.steps:
                progress = {"step": run.step, "metrics": run.metrics, "measured": run.measured}
                state = Checkpoint(run.model.state_dict(), run.optimiser.state_dict(), progress, run.threads)
                save_checkpoint(scratch / "checkpoint.pt", state)
    seconds = time.perf_counter() - began
    if run.step > first and main:
        speed = (run.step - first) * run.batches.size / seconds
        say(f"clip train: {run.steps} steps, {speed:.0f} images/s, {loading / seconds:.0%} of the time in loading")


def _check_learnable(run: Run) -> None:
    """Stop after an epoch in which no image of any batch had a negative, and say how many had none.

    Raises:
        ConfigError: as said. CoCa's captioning learns all the same.
    """
    if run.step != run.batches.per_epoch or not (alone := sum("without_negatives" in line for line in run.metrics)):
        return
    said = f"in {alone} of the {run.step} batches of the first epoch no image had a negative (positives, objective.spare, micro_batch)"
    if alone == run.step and run.config.objective.name != "coca":
        raise ConfigError(
            f"{said}: nothing can be learnt. Such data is of one caption, label, disease or group; take another rule or more data"
        )
    say(f"clip train: {said}")


def _train_step(run: Run, batch: Batch) -> dict[str, float]:
    """One step of the optimiser; the line of `metrics.jsonl`."""
    import torch

    optimiser = run.config.optimiser
    rate = learning_rate(run.step, run.steps, optimiser)
    set_rate(run.optimiser, rate)
    run.optimiser.zero_grad(set_to_none=True)
    losses = run.stepper.backward(batch, run.step)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), optimiser.clip_norm or math.inf)
    line = {
        "step": run.step,
        "epoch": run.step // run.batches.per_epoch,
        **losses,
        "lr": rate,
        "logit_scale": run.model.logit_scale.exp().item(),
        "grad_norm": norm.item(),
        **run.stepper.counts(batch),
    }
    check_sound(line, run.metrics, run.steps, optimiser)
    run.optimiser.step()
    if not optimiser.temperature:
        with torch.no_grad():
            run.model.logit_scale.clamp_(0.0, math.log(optimiser.max_logit_scale))
    return line


def _measure(run: Run, scratch: Path, tracker: Tracker) -> None:
    """Measure at the end of an epoch where the recipe asks for it, and keep the best weights."""
    epoch, rest = divmod(run.step, run.batches.per_epoch)
    if run.monitor is None or rest or epoch % run.config.monitor.every:
        return
    from safetensors.torch import save_file

    from eosin.artefacts.files import replacing

    found = run.monitor.measure(run.model, run.device)
    run.measured.append({"step": run.step, "epoch": epoch, **found})
    tracker.write(run.step, found)
    if run.best is run.measured[-1]:
        with replacing(scratch / "best.safetensors") as temporary:
            save_file({name: weight.detach().cpu().contiguous() for name, weight in run.model.state_dict().items()}, temporary)
