"""open_clip architectures: found by name, built from a seed, their activation checked."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from eosin.artefacts.files import replacing
from eosin.clip.config import ImageConfig
from eosin.errors import ConfigError, EosinError
from eosin.models.open_clip import CONFIG_FILE, OpenClipModel, build_open_clip

_NEEDED = ("embed_dim", "vision_cfg", "text_cfg")


def find_architecture(name: str) -> dict[str, Any]:
    """open_clip's `model_cfg`: `name` is a JSON file, a name in `eosin.configs/architectures`, or one that open_clip ships.

    Raises:
        ConfigError: there is none, or the file is no architecture.
    """
    shipped = Path(str(resources.files("eosin.configs"))) / "architectures"
    for path in (Path(name), shipped / f"{name}.json"):
        if path.is_file():
            return _read(path)
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(name)
    if config is None:
        names = ", ".join(sorted(path.stem for path in shipped.glob("clip-*.json")))
        raise ConfigError(f"architecture {name!r} is no file, none of Eosin's ({names}) and none of open_clip's (such as ViT-B-32)")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from error
    missing = [key for key in _NEEDED if not isinstance(config, dict) or key not in config]
    if missing:
        raise ConfigError(f"{path} is no CLIP architecture: {', '.join(missing)} missing; wanted: {', '.join(_NEEDED)}")
    return dict(config)


def write_open_clip_config(folder: Path, model_cfg: dict[str, Any], image: ImageConfig) -> None:
    """`open_clip_config.json`, complete: open_clip takes nothing from its defaults that decides pixels."""
    preprocess = {"mean": image.mean, "std": image.std, "interpolation": image.interpolation, "resize_mode": image.resize}
    text = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}, indent=2)
    with replacing(folder / CONFIG_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def build_model(folder: Path, seed: int) -> OpenClipModel:
    """The untrained model of a folder; its weights depend on `seed` alone.

    Raises:
        InputError: open_clip does not take the architecture.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_open_clip(folder)
        decoder = getattr(model, "text_decoder", None)
        if decoder is not None:
            # open_clip 3.3 leaves this one weight as the memory was found: its decoder's init_parameters is never called.
            torch.nn.init.normal_(decoder.text_projection, std=decoder.text_projection.shape[0] ** -0.5)
        return model


def activation_of(model: OpenClipModel) -> str:
    """What the built model computes between the layers of its MLPs: `gelu`, `quick_gelu`, or several names joined by `+`.

    Weights trained with one and run with the other give no error and slightly wrong features, so it is read from the modules.
    """
    from open_clip.transformer import QuickGELU
    from torch import nn

    found = set()
    for module in model.modules():
        if isinstance(module, QuickGELU):
            found.add("quick_gelu")
        elif isinstance(module, nn.GELU):
            found.add("gelu" if module.approximate == "none" else "gelu_pytorch_tanh")
    return "+".join(sorted(found)) or "other"


def check_activation(model: OpenClipModel, model_cfg: dict[str, Any]) -> str:
    """`activation_of`, which must be what the architecture says.

    Raises:
        EosinError: it is not.
    """
    found = activation_of(model)
    wanted = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    if found in ("gelu", "quick_gelu") and found != wanted:
        raise EosinError(f"the architecture says {wanted}, but the model that was built has {found}")
    return found
