"""Low-rank adapters on the language model (Hu et al. 2021), tied to the weights they were trained on."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
from torch import nn

from eosin.artefacts.files import read_json, write_json
from eosin.errors import ConfigError, InputError
from eosin.llm.config import LoraConfig

FOLDER = "adapter"
_PROJECTOR = "multi_modal_projector"
_LANGUAGE_MODEL = "model.language_model."


def adapted_layers(model: nn.Module, pattern: str) -> list[str]:
    """Names of the linear layers that the pattern fully matches.

    Raises:
        ConfigError: it is no regular expression, meets nothing, or meets something outside the language model.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"lora.targets: {pattern!r} is not a regular expression: {error}") from error
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found = [name for name in linear if expression.fullmatch(name)]
    stray = [name for name in found if not name.startswith(_LANGUAGE_MODEL)]
    if stray:
        raise ConfigError(f"lora.targets: the pattern meets layers outside the language model: {', '.join(stray[:3])}; anchor it there")
    if not found:
        near = next((name for name in linear if name.startswith(_LANGUAGE_MODEL)), "none")
        raise ConfigError(f"lora.targets: {pattern!r} matches no layer; names look like {near}, and the whole name must match")
    return found


def add_adapters(model: Any, config: LoraConfig, *, projector: bool) -> Any:
    """The model with fresh adapters; everything else is frozen, but for the projector where it learns too.

    Raises:
        ConfigError: see `adapted_layers`.
    """
    adapted_layers(model, config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        modules_to_save=[_PROJECTOR] if projector else None,
        bias="none",
    )
    with _old_names():
        return peft.get_peft_model(model, settings, autocast_adapter_dtype=False)


@contextlib.contextmanager
def _old_names() -> Iterator[None]:
    """peft 0.21 asks transformers 5 for a property by its old name, and users would read a warning that they cannot mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


def save_adapters(wrapped: Any, folder: Path) -> None:
    """The adapters, and the projector where it learnt.

    peft notes the base's path on this machine; it is taken out, for the artefact names its base by digest.
    """
    wrapped.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    settings = read_json(folder / "adapter_config.json")
    write_json(folder / "adapter_config.json", {**settings, "base_model_name_or_path": None})


def read_adapters(model: Any, folder: Path) -> Any:
    """The model with the adapters (and the projector) that lie in `folder`.

    Raises:
        InputError: the folder's weights are not those its config asks for.
    """
    try:
        with _old_names():
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=False)
        stored = peft.utils.load_peft_weights(str(folder), device="cpu")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder}: not adapters of this model: {error}") from error
    wanted = set(peft.get_peft_model_state_dict(wrapped))
    if wanted != set(stored):
        raise InputError(f"{folder}: the adapters do not fit: {sorted(wanted ^ set(stored))[:3]}")
    return wrapped
