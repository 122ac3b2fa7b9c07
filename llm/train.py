"""`eosin llm train`: stage 1 aligns a vision tower with a language model, stage 2 instructs it through adapters (Liu et al. 2023).

align      vision= a CLIP, or base= a LLaVA folder;  the whole model is written, in the layout of Hugging Face
instruct   model= what align made, or base=;         `adapter/` is written: LoRA and the projector, with its base's digest
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eosin.artefacts import Artefact, ArtefactWriter, Plan, open_artefact
from eosin.artefacts.files import replacing
from eosin.checkpoint import load_checkpoint, threads_of
from eosin.commands import Inputs, open_inputs
from eosin.config import settings_of
from eosin.errors import ConfigError
from eosin.llm import loop
from eosin.llm.assistant import Assistant, check_artefact_model, new_assistant, read_assistant, shipped_text
from eosin.llm.config import TrainConfig
from eosin.llm.dataset import Dataset, prepare, write_rejects
from eosin.llm.image_store import ImageStoreWriter, Views
from eosin.llm.samples import read_samples, read_texts
from eosin.llm.tokenizer import read_tokenizer, train_tokenizer
from eosin.models.loading import quiet
from eosin.models.protocols import fingerprint_of
from eosin.progress import say
from eosin.seeds import seed_everything

_PARTS = {"projector": "model.multi_modal_projector.", "vision": "model.vision_tower.", "language_model": "model.language_model."}
_FACTS = {
    "intended_use": "Research on pathology assistants. Not a medical device: its answers need a pathologist's check.",
    "limits": "It knows the images and the questions of its training data; on anything else it answers as if it were that data.",
}


@dataclass(frozen=True)
class Machine:
    """What this machine gives to a run; it decides how fast, not what.

    Attributes:
        device: a torch device.
        threads: of torch; a resumed run keeps those it began with.
        checkpoint_seconds: between two checkpoints.
    """

    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 60.0


def train(config: TrainConfig, out: Path, machine: Machine, *, overwrite: bool = False) -> Artefact:
    """Make the `llm_model` artefact; an unfinished one goes on from its last checkpoint.

    Raises:
        ConfigError, InputError, ArtefactError: what was given does not fit; the message says what.
    """
    inputs = open_inputs(config)
    _check_start(config, inputs)
    with ArtefactWriter(out, _plan(config, inputs), overwrite=overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"{out}: already there")
            return open_artefact(out)
        checkpoint = writer.scratch / "checkpoint.pt"
        resumed = load_checkpoint(checkpoint)
        threads = threads_of(resumed, machine.threads)
        torch.set_num_threads(threads)
        seed_everything(config.seed)
        assistant = _starting_model(config, inputs, writer.scratch)
        data = _data(config, inputs, assistant, writer.scratch)
        model = _make_learn(config, assistant)
        assistant.model.to(machine.device)
        run = loop.Run(
            assistant.model,
            data.items,
            data.store,
            config,
            checkpoint,
            machine.checkpoint_seconds,
            threads,
            resumed,
            assistant.image_states if "vision" in config.train else lambda states: states,
        )
        # Its weights are in the run alone from here, which drops them once they are in the model.
        del resumed
        progress, speed = loop.train(run)
        say(_speed_line(speed))
        return _finish(writer, assistant, model, data, run, progress)


def _check_start(config: TrainConfig, inputs: Inputs) -> None:
    given = [name for name in ("vision", "base", "model") if name in inputs.artefacts or name in inputs.folders]
    allowed = ("vision", "base") if config.stage == "align" else ("model", "base")
    if len(given) != 1:
        raise ConfigError(
            f"stage {config.stage} starts from exactly one of {allowed[0]}=, {allowed[1]}=; got {', '.join(given) or 'neither'}"
        )
    if given == ["vision"] and "language_model" not in config.train:
        raise ConfigError("train: a language model that starts from scratch must learn; add language_model")
    if "model" in inputs.artefacts:
        check_artefact_model(inputs.artefacts["model"].path)


def _plan(config: TrainConfig, inputs: Inputs) -> Plan:
    facts: dict[str, Any] = {**_FACTS, "format": "transformers" if config.stage == "align" else "adapter"}
    if config.stage == "align":
        facts["title"] = "Vision-language assistant, stage 1: aligned"
    else:
        facts["title"] = "Vision-language assistant, stage 2: adapters"
    if "vision" in inputs.artefacts:
        facts["architecture"] = _architecture(config)
        facts["template"] = hashlib.sha256(_template(config).encode()).hexdigest()
    return Plan("llm_model", "llm train", settings_of(config), inputs.refs, facts=facts)


def _architecture(config: TrainConfig) -> dict[str, Any]:
    key = "language_model.architecture"
    try:
        values = json.loads(shipped_text(config.language_model.architecture, "architectures", ".json", key))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{key}: not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{key}: a mapping of LlamaConfig values is wanted")
    return values


def _template(config: TrainConfig) -> str:
    return shipped_text(config.language_model.template, "templates", ".jinja", "language_model.template")


def _starting_model(config: TrainConfig, inputs: Inputs, scratch: Path) -> Assistant:
    if "vision" not in inputs.artefacts:
        folder = inputs.folders["base"] if "base" in inputs.folders else inputs.artefacts["model"].path
        return read_assistant(folder, config.quantisation)
    architecture = _architecture(config)
    saved = scratch / "tokenizer.json"
    context = int(architecture.get("max_position_embeddings", 2048))
    if not saved.is_file():
        texts = read_texts(_data_artefacts(inputs), config.caption_prompts)
        trained = train_tokenizer(texts, config.language_model.tokenizer)
        with replacing(saved) as temporary:
            trained.save(str(temporary))
    tokenizer = read_tokenizer(saved, context)
    vision = inputs.artefacts["vision"].path
    return new_assistant(vision, config.language_model, architecture, _template(config), tokenizer)


def _data_artefacts(inputs: Inputs) -> list[Artefact]:
    return [artefact for name, artefact in inputs.artefacts.items() if name.startswith("data[")]


def _data(config: TrainConfig, inputs: Inputs, assistant: Assistant, scratch: Path) -> Dataset:
    samples = read_samples(_data_artefacts(inputs), config.caption_prompts, config.seed)
    longest = min(config.batch.max_length, assistant.context)
    views = Views(config.views, config.stain, config.seed)
    with ImageStoreWriter(scratch / "images.bin", assistant, views, frozen="vision" not in config.train) as writer:
        return prepare(samples, assistant.encoder(), writer, longest)


def _make_learn(config: TrainConfig, assistant: Assistant) -> Any:
    """Set what learns; the model that is saved: the assistant's own, or the adapters around it."""
    model = assistant.model
    model.train()
    if "vision" not in config.train:
        model.model.vision_tower.eval()
    if config.lora is not None:
        from eosin.llm import adapters

        return adapters.add_adapters(model, config.lora, projector="projector" in config.train)
    prefixes = tuple(_PARTS[part] for part in config.train) + (("lm_head.",) if "language_model" in config.train else ())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(prefixes))
    return model


def _finish(writer: ArtefactWriter, assistant: Assistant, model: Any, data: Dataset, run: loop.Run, progress: loop.Progress) -> Artefact:
    out = writer.path
    model.eval()
    with replacing(out / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(entry, sort_keys=True) + "\n" for entry in progress.history), encoding="utf-8")
    write_rejects(out, data.rejects)
    if run.config.stage == "align":
        with quiet():
            model.save_pretrained(out)
        assistant.processor.save_pretrained(out)
    else:
        # peft takes seconds to import, and stage 1 has no use for it.
        from eosin.llm import adapters

        adapters.save_adapters(model, out / adapters.FOLDER)
    learning = loop.learning_state(model)
    results = {
        "samples": data.counts,
        "steps": progress.step,
        "final_loss": _mean_of_last(progress),
        "learning_parameters": sum(value.numel() for value in learning.values()),
        "fingerprint": fingerprint_of(sorted(out.rglob("*.safetensors"))),
        "threads": run.threads,
    }
    artefact = writer.finish(results)
    say(f"{out}: {progress.step} steps, loss {results['final_loss']}")
    return artefact


def _mean_of_last(progress: loop.Progress) -> float:
    last = [entry["loss"] for entry in progress.history[-max(1, len(progress.history) // 20) :]]
    return round(sum(last) / max(1, len(last)), 4)


def _speed_line(speed: loop.Speed) -> str:
    seconds = max(speed.seconds, 1e-9)
    return (
        f"{speed.samples} samples in {speed.seconds:.0f} s: {speed.samples / seconds:.0f} samples, {speed.tokens / seconds:.0f} tokens, "
        f"{speed.targets / seconds:.0f} answer tokens a second"
    )
