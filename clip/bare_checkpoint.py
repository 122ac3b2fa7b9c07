"""A bare weights file becomes an open_clip folder, which says what the file does not: architecture, activation, pixels.

Loaded by its path into an architecture's name, a checkpoint of a QuickGELU model runs with GELU and says nothing (open_clip takes the
activation from the name it is given). So it is not guessed here: either the file notes it, as Eosin's do, or the recipe says it.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from textwrap import shorten

from eosin.clip.architecture import find_architecture, write_open_clip_config
from eosin.clip.model_config import ClipExportConfig
from eosin.clip.starting import bare_weights
from eosin.errors import ArtefactError, ConfigError
from eosin.models.open_clip import CONFIG_FILE, build_open_clip, noted_activation


def open_clip_folder(config: ClipExportConfig, given: Path, scratch: Path) -> Path:
    """`given` where it is an open_clip folder, else the one made of its only weights file.

    Args:
        config: the recipe.
        given: an open_clip folder, or one with a bare weights file.
        scratch: where the new folder goes.

    Raises:
        ConfigError: the recipe does not say, or contradicts, what the file was trained with.
        InputError: there is not exactly one weights file.
        ArtefactError: the file is damaged, or of another architecture.
    """
    if (given / CONFIG_FILE).is_file():
        if config.architecture or config.activation != "auto":
            raise ConfigError(f"folder: {given} has an {CONFIG_FILE}, which says architecture and activation; leave both out of the recipe")
        return given
    path = bare_weights(given)
    if not config.architecture:
        raise ConfigError(f"folder: {path} is a bare weights file; add architecture=NAME, such as architecture=ViT-B-32")
    activation = _activation(config, path)
    model_cfg = json.loads(json.dumps(find_architecture(config.architecture)))
    model_cfg.pop("quick_gelu", None)
    if activation == "quick_gelu":
        model_cfg["quick_gelu"] = True
    folder = scratch / "source"
    folder.mkdir(exist_ok=True)
    write_open_clip_config(folder, model_cfg, config.image)
    _write_weights(path, folder, activation)
    return folder


def _activation(config: ClipExportConfig, path: Path) -> str:
    noted = noted_activation(path)
    if noted in ("gelu", "quick_gelu"):
        if config.activation not in ("auto", noted):
            raise ConfigError(f"activation is {config.activation}, but {path} notes that it was trained with {noted}; leave it at auto")
        return noted
    if config.activation == "auto":
        raise ConfigError(
            f"{path} does not tell whether it was trained with GELU or QuickGELU, and the wrong one gives slightly wrong features without "
            "an error. Add activation=quick_gelu for weights that descend from OpenAI's, else activation=gelu"
        )
    return config.activation


def _write_weights(path: Path, folder: Path, activation: str) -> None:
    from open_clip.factory import load_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        weights = load_state_dict(str(path), weights_only=True)
        model = build_open_clip(folder)
        model.load_state_dict(weights, strict=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise ArtefactError(f"{path} cannot be read as weights of this architecture: {shorten(str(error), 300)}") from error
    plain = {name: weight.detach().clone().contiguous() for name, weight in model.state_dict().items()}
    save_file(plain, folder / "model.safetensors", metadata={"activation": activation})
