"""Where a model's architecture and first weights come from: scratch, open_clip's tags, checkpoints, Hugging Face and timm folders.

A folder that describes itself (open_clip, Hugging Face) brings its architecture along. A bare weights file does not: it needs
`architecture`, and nothing in it tells GELU from QuickGELU, so the recipe has to, unless Eosin wrote the file and noted it in there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eosin.clip.architecture import find_architecture
from eosin.clip.config import ClipTrainConfig
from eosin.clip.foreign_towers import text_cfg_of, vision_cfg_of
from eosin.clip.from_siglip import is_siglip_folder, model_cfg_of_siglip, read_siglip_weights
from eosin.clip.from_transformers import model_cfg_of_clip, read_clip_weights
from eosin.clip.start_pixels import check_constants
from eosin.clip.tokens import same_tokenizer
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.models.hub import fetch_model
from eosin.models.open_clip import (
    CONFIG_FILE,
    TEXT_FOLDER,
    VISION_FOLDER,
    OpenClipModel,
    load_open_clip,
    noted_activation,
    read_open_clip_config,
    weights_file,
)
from eosin.models.weights import misfit

_BARE = (".safetensors", ".pt", ".pth", ".bin")
_SIGLIP_BIAS, _SIGLIP_SCALE = -10.0, 2.302585092994046
"""Zhai et al. 2023: bias -10 and temperature 1/10, so that the many negatives do not dominate the first steps."""


def fetch_named(config: ClipTrainConfig) -> ClipTrainConfig:
    """The recipe with a folder for every repository it names; what was fetched before comes from the hub's cache.

    Raises:
        ConfigError: a name is none of a repository, or a folder is given as well.
        InputError: it cannot be had.
    """
    hub = {"start": config.hub.start, "vision_folder": config.hub.vision, "text_folder": config.hub.text}
    named = {key: name for key, name in hub.items() if name}
    folders: dict[str, Any] = {}
    both = [key for key in named if getattr(config, key)]
    if both:
        raise ConfigError(f"{both[0]} is a folder and hub names a repository for it; give one of them")
    for key, name in named.items():
        folders[key] = str(fetch_model(*name.split("@", 1)))
    return replace(config, **folders)


def settle_architecture(config: ClipTrainConfig, folders: Mapping[str, Path], init: Path | None) -> dict[str, Any]:
    """open_clip's `model_cfg` of the run, activation and all; the tokenizer is settled later.

    Args:
        config: the recipe.
        folders: its plain folders that were given: `start`, `vision_folder`, `text_folder`.
        init: the clip_model that training starts from.

    Raises:
        ConfigError: parts of the recipe contradict each other, or a weights file does not tell its activation.
        InputError: a folder is not what it should be.
    """
    start = folders.get("start")
    _check_towers(folders, start, init)
    described = _described_by(start) if start else None
    model_cfg = json.loads(json.dumps(described or find_architecture(config.architecture)))
    if "vision_folder" in folders:
        model_cfg["vision_cfg"] = vision_cfg_of(folders["vision_folder"])
    if "text_folder" in folders:
        model_cfg["text_cfg"] = text_cfg_of(folders["text_folder"])
    if config.context:
        model_cfg["text_cfg"]["context_length"] = config.context
    if config.objective.name == "siglip":
        model_cfg["init_logit_bias"] = config.objective.bias or model_cfg.get("init_logit_bias", _SIGLIP_BIAS)
        model_cfg.setdefault("init_logit_scale", _SIGLIP_SCALE)
    else:
        # No other objective reads a bias; one that nothing trains would stand in the way of exports.
        model_cfg.pop("init_logit_bias", None)
    _check_objective(config, model_cfg)
    check_constants(config, folders, init, _tag(config) if config.tag else {})
    return _with_activation(config, model_cfg, _known_activation(config, start, init))


def _check_towers(folders: Mapping[str, Path], start: Path | None, init: Path | None) -> None:
    """Towers of another library come along with `start` alone, and no folder replaces those that a start was trained with."""
    own = {"vision_folder": VISION_FOLDER, "text_folder": TEXT_FOLDER}
    if init is not None and any((init / tower / "config.json").is_file() for tower in own.values()):
        raise ConfigError(
            f"init: {init} has towers of timm or transformers, which architecture does not describe and a folder would replace untrained; "
            f"use start={init} instead of init, without vision_folder and text_folder: it brings its towers, and with tokenizer.kind=init "
            "its tokenizer"
        )
    for name, tower in own.items():
        if start is not None and name in folders and (start / tower / "config.json").is_file():
            raise ConfigError(f"start: {start} brings the tower it was trained with, which {name} would throw away; leave {name} out")


def _check_objective(config: ClipTrainConfig, model_cfg: Mapping[str, Any]) -> None:
    captioning = "multimodal_cfg" in model_cfg
    if captioning != (config.objective.name == "coca"):
        have = "has" if captioning else "has no"
        raise ConfigError(
            f"this architecture {have} captioning decoder (multimodal_cfg), and objective.name is {config.objective.name}; "
            "coca trains such an architecture, such as coca_ViT-B-32, and the others train one without"
        )


def _described_by(folder: Path) -> dict[str, Any] | None:
    """The architecture that a folder brings along; None for a bare weights file."""
    if (folder / CONFIG_FILE).is_file():
        return dict(read_open_clip_config(folder)["model_cfg"])
    if (folder / "config.json").is_file():
        return model_cfg_of_siglip(folder) if is_siglip_folder(folder) else model_cfg_of_clip(folder)
    bare_weights(folder)
    return None


def bare_weights(folder: Path) -> Path:
    """The one weights file of a folder.

    Raises:
        InputError: there is none, or more than one.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _BARE]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise InputError(
            f"start: {folder} must hold {CONFIG_FILE}, the config.json of a Hugging Face CLIP or SigLIP, or one weights file "
            f"({', '.join(_BARE)}); weights files found: {names}"
        )
    return files[0]


def _known_activation(config: ClipTrainConfig, start: Path | None, init: Path | None) -> str | None:
    """What the weights were trained with; "" where they do not tell, None where there are none."""
    folder = init or start
    if folder is not None and (folder / CONFIG_FILE).is_file():
        quick = read_open_clip_config(folder)["model_cfg"].get("quick_gelu")
        return noted_activation(weights_file(folder)) or ("quick_gelu" if quick else "gelu")
    if folder is not None and (folder / "config.json").is_file():
        quick = not is_siglip_folder(folder) and model_cfg_of_clip(folder).get("quick_gelu")
        return "quick_gelu" if quick else "gelu"
    if folder is not None:
        return noted_activation(bare_weights(folder))
    if config.tag:
        return "quick_gelu" if _tag(config).get("quick_gelu") else "gelu"
    return None


def _with_activation(config: ClipTrainConfig, model_cfg: dict[str, Any], known: str | None) -> dict[str, Any]:
    """`model_cfg` with the activation that was asked for or is known."""
    own = model_cfg["vision_cfg"].get("timm_model_name") is None or model_cfg["text_cfg"].get("hf_model_name") is None
    if not own:
        return model_cfg
    if known == "" and config.activation == "auto":
        raise ConfigError(
            "start: a bare weights file does not tell whether it was trained with GELU or QuickGELU, and the wrong one gives slightly "
            "wrong features without an error. Add activation=quick_gelu for weights that descend from OpenAI's, else activation=gelu"
        )
    if known and config.activation not in ("auto", known):
        raise ConfigError(f"activation is {config.activation}, but the weights to start from were trained with {known}; leave it at auto")
    wanted = config.activation if config.activation != "auto" else known
    if wanted is None:
        return model_cfg
    model_cfg.pop("quick_gelu", None)
    return {**model_cfg, "quick_gelu": True} if wanted == "quick_gelu" else model_cfg


def _tag(config: ClipTrainConfig) -> dict[str, Any]:
    import open_clip

    found: dict[str, Any] | None = open_clip.get_pretrained_cfg(config.architecture, config.tag)
    if not found:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(config.architecture)) or "none"
        raise ConfigError(f"tag: open_clip has no weights {config.tag!r} of {config.architecture}; it has: {tags}")
    return found


def load_start(config: ClipTrainConfig, folders: Mapping[str, Path], init: Path | None, folder: Path, model: OpenClipModel) -> str:
    """Load the weights that training starts from; says which.

    Args:
        config: the recipe.
        folders: see `settle_architecture`.
        init: the clip_model to start from.
        folder: of the new model, with its tokenizer.
        model: takes the weights.

    Raises:
        ConfigError: they are of another architecture.
    """
    if init is not None:
        return _load_into(model, load_open_clip(init).state_dict(), f"init: {init}", whole=same_tokenizer(init, folder))
    if "start" in folders:
        source = folders["start"]
        if not (source / CONFIG_FILE).is_file() and (source / "config.json").is_file():
            siglip = is_siglip_folder(source)
            weights = read_siglip_weights(source) if siglip else read_clip_weights(source)
            rows = len(weights["text.token_embedding.weight" if siglip else "token_embedding.weight"])
            whole = config.tokenizer.kind != "train" and rows == read_open_clip_config(folder)["model_cfg"]["text_cfg"].get(
                "vocab_size", 49408
            )
            return _load_into(model, weights, f"start: {source}", whole=whole)
        path = weights_file(source) if (source / CONFIG_FILE).is_file() else bare_weights(source)
        return _load_file(model, path, whole=config.tokenizer.kind != "train")
    if config.tag:
        import open_clip

        return _load_file(model, Path(open_clip.download_pretrained(_tag(config))), whole=config.tokenizer.kind != "train")
    return "random weights"


def _load_file(model: OpenClipModel, path: Path, *, whole: bool) -> str:
    """A checkpoint as open_clip reads it: a state dict, or a trainer's with `module.` before every name; positions are resized."""
    import pickle

    from open_clip.factory import load_state_dict
    from safetensors import SafetensorError

    try:
        weights = load_state_dict(str(path), weights_only=True)
    except (RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise ArtefactError(f"{path} cannot be read as weights: {(str(error).splitlines() or ['?'])[0]}") from error
    return _load_into(model, weights, f"start: {path}", whole=whole)


def _load_into(model: OpenClipModel, weights: Mapping[str, Any], where: str, *, whole: bool) -> str:
    own = model.state_dict() if whole else _image_tower(model.state_dict())
    fitted, resized = _with_positions_of(model, weights)
    given = fitted if whole else _image_tower(fitted)
    if not _image_tower(given):
        raise ConfigError(f"{where} lacks weights of the image tower (visual.*)")
    # Only SigLIP's objective has a bias; where the start has none, it begins at the architecture's.
    left = "logit_bias" in given and "logit_bias" not in own
    if left:
        del given["logit_bias"]
    wanted = {**{name: own[name] for name in ("logit_bias", "logit_scale") if name in own}, **given}
    if said := misfit(own, wanted):
        raise ConfigError(f"{where} is of another architecture: {said}")
    model.load_state_dict(wanted, strict=whole)
    notes = [f"{' and '.join(name for name in resized if name in given)} resized"] if any(name in given for name in resized) else []
    notes += ["logit_bias left behind"] if left else []
    return ("all weights" if whole else "image tower") + (f" ({', '.join(notes)})" if notes else "")


def _image_tower(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name: weight for name, weight in weights.items() if name.startswith("visual.")}


def _with_positions_of(model: OpenClipModel, weights: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The weights with position tables as long as the model's, as open_clip resizes them; and which were resized.

    A table of another width is left: its model is of another architecture.
    """
    from open_clip.model import resize_pos_embed, resize_text_pos_embed

    found, own, resized = dict(weights), model.state_dict(), []
    for resize, names in (
        (resize_pos_embed, ("visual.positional_embedding",)),
        (resize_text_pos_embed, ("positional_embedding", "text.positional_embedding")),
    ):
        for name in names:
            if name in found and name in own and found[name].shape[1] == own[name].shape[1] and len(found[name]) != len(own[name]):
                resize(found, model)
                resized.append(name)
    return found, resized
