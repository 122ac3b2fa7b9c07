"""Weights of a folder, read without pickle's powers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eosin.errors import ArtefactError

if TYPE_CHECKING:
    import torch

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_NAMED = 2


def weight_files(folder: Path) -> list[Path]:
    """Safetensors in one file or several, else `pytorch_model.bin`.

    Raises:
        ArtefactError: there are none.
    """
    for pattern in WEIGHT_PATTERNS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise ArtefactError(f"{folder} holds no weights (*.safetensors or pytorch_model.bin)")


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a folder by name.

    Raises:
        ArtefactError: there are none, or they are damaged.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        try:
            found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
            raise ArtefactError(f"{path} cannot be read as weights: {(str(error).splitlines() or ['?'])[0]}") from error
        weights.update(found)
    return weights


def misfit(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Why weights do not fit a model, in one line that names a weight or two of each kind; empty where they fit.

    torch's own message has a line for every tensor.

    Args:
        own: the model's state dict.
        given: the weights to load.
    """
    shapes = [
        f"{name} is {list(weight.shape)} where the model has {list(own[name].shape)}"
        for name, weight in given.items()
        if name in own and weight.shape != own[name].shape
    ]
    kinds = {
        "of another shape": shapes,
        "missing": [name for name in own if name not in given],
        "without a place": [name for name in given if name not in own],
    }
    return "; ".join(
        f"{len(found)} weights {kind} ({', '.join(found[:_NAMED])}{', ...' if len(found) > _NAMED else ''})"
        for kind, found in kinds.items()
        if found
    )
