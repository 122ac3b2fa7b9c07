"""Image towers without a text tower: timm's folders, and published towers read by a preset. Local files, no remote code.

What decides the vector beside the weights is written down, not guessed: pixels and pooling come from timm's `config.json` or from the
preset, every weight must fit by name and shape, and the tokens that stand before the patches are counted.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.config import settings_of
from eosin.errors import ArtefactError, ConfigError, EosinError, InputError, MissingDependency
from eosin.images import Pixels
from eosin.models.embedding import TwoTowerEmbedder, pick_device
from eosin.models.protocols import fingerprint_of
from eosin.models.specs import EmbedderSpec
from eosin.models.vision_presets import Pooling, VisionPreset, load_preset
from eosin.models.weights import misfit, read_weights, weight_files

if TYPE_CHECKING:
    import torch

_CONFIG_FILE = "config.json"
_HEADS = ("head.", "fc.", "classifier.", "head_dist.")
# Left behind: what only pre-training uses, and a pooler that the preset does not ask for.
_PRETRAINING = ("embeddings.mask_token", "pooler.", "classifier.", "mask_token")
_MLP_LAYERS = ("swiglu_packed",)


def vision_fingerprint(folder: str | Path, preset: str = "") -> str:
    """Of weights, config and, where one is given, the preset's values; needs no torch.

    Raises:
        ArtefactError: the folder holds no weights.
        ConfigError: there is no such preset.
    """
    path = Path(folder)
    config = [path / _CONFIG_FILE] if (path / _CONFIG_FILE).is_file() else []
    facts = {"preset": json.dumps(settings_of(load_preset(preset)), sort_keys=True)} if preset else {}
    return fingerprint_of([*weight_files(path), *config], **facts)


class _VisionEmbedder(TwoTowerEmbedder):
    """An image tower and its transform; a subclass builds both and calls `_settle`."""

    _transform: Callable[[Any], torch.Tensor]
    _encode: Callable[[torch.Tensor], torch.Tensor]

    def _settle(self, tower: torch.nn.Module, size: int, fingerprint: str) -> int:
        """Put the tower on its device and find the length of its vector."""
        import torch

        self.model = tower.eval().to(self.device)
        self._fingerprint = fingerprint
        with torch.inference_mode():
            found = self._encode(torch.zeros(1, 3, size, size, device=self.device))
        if found.ndim != 2:
            raise InputError(
                f"{self._spec.path} gives {list(found.shape[1:])} numbers an image, not one vector; name a preset that says how to pool"
            )
        self._dim = int(found.shape[1])
        return self._dim

    @property
    def dim(self) -> int:
        """See `Embedder`."""
        return self._dim

    @property
    def logit_scale(self) -> float:
        """See `Embedder`; there are no texts to compare with."""
        return 1.0

    @property
    def supports(self) -> frozenset[str]:
        """See `Embedder`."""
        return frozenset({"image"})

    @property
    def fingerprint(self) -> str:
        """See `Embedder`."""
        return self._fingerprint

    def _prepare(self, pixels: Pixels) -> torch.Tensor:
        from PIL import Image

        return self._transform(Image.fromarray(pixels))

    def _encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._encode(pixels)

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        raise EosinError("an image tower was asked for texts; embed_texts refuses that")


class TimmEmbedder(_VisionEmbedder):
    """A folder of timm, read as its `config.json` says: architecture, pixels, pooling.

    Args:
        spec: `path` is a folder with timm's config.json and weights.

    Raises:
        InputError: the config does not say how pixels are normalised, or timm does not know the architecture.
        ArtefactError: weights are missing or do not fit.
        ConfigError: there is no such device.
        MissingDependency: timm is not installed.
    """

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__(spec)
        self.device = pick_device(spec.device)
        folder = Path(spec.path)
        config = _read_config(folder)
        given = {**config, **(config.get("pretrained_cfg") or {})}
        if "mean" not in given or "std" not in given:
            raise InputError(
                f"{folder / _CONFIG_FILE} tells no mean and std; what a tower reads cannot be guessed. Add pretrained_cfg with them"
            )
        arguments = _arguments(config.get("model_args") or {})
        tower = _build_timm(str(config["architecture"]), {**arguments, "num_classes": 0}, folder)
        _load(tower, {name: weight for name, weight in read_weights(folder).items() if not name.startswith(_HEADS)}, folder)
        from timm.data.config import resolve_data_config
        from timm.data.transforms_factory import create_transform

        data = resolve_data_config(pretrained_cfg=given, model=tower)  # type: ignore[no-untyped-call]
        self._transform = create_transform(**data, is_training=False)
        self._encode = tower
        self._settle(tower, int(data["input_size"][-1]), vision_fingerprint(folder))


class PresetEmbedder(_VisionEmbedder):
    """A published image tower, read as a preset says.

    Args:
        spec: `path` is the folder of the preset's repository, `preset` its name.

    Raises:
        ConfigError: there is no such preset or device.
        ArtefactError: weights are missing or do not fit the preset.
        InputError: the folder is not what the preset describes.
        MissingDependency: its library is not installed.
    """

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__(spec)
        self.device = pick_device(spec.device)
        folder, preset = Path(spec.path), load_preset(spec.preset)
        tower = build_tower(preset, folder)
        weights = read_weights(folder)
        _load(
            tower,
            {name: weight for name, weight in weights.items() if not name.startswith(_PRETRAINING)},
            folder,
            ("embeddings.mask_token",),
        )
        self._transform = _transform_of(preset)
        self._encode = functools.partial(encode_with, preset, tower)
        found = self._settle(tower, preset.pixels.size, vision_fingerprint(folder, spec.preset))
        if found != preset.dim:
            raise InputError(
                f"{folder}: vectors of {found} numbers, where the preset {spec.preset} has {preset.dim}; it is another model's folder"
            )


def build_tower(preset: VisionPreset, folder: Path | None = None) -> Any:
    """The preset's tower with random weights.

    Args:
        preset: what to build.
        folder: of the model; towers of transformers take their sizes from its config.json, what the preset says goes before that.

    Raises:
        InputError: the library does not take it.
        MissingDependency: the library is not installed.
    """
    if preset.library == "timm":
        return _build_timm(preset.architecture, _arguments({**preset.arguments, "num_classes": 0}), folder or preset.title)
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingDependency("transformers", "clip") from error
    values = _read_config(folder) if folder is not None else {}
    # What names remote code or another class goes; the preset says which of transformers' own it is.
    left = {key: value for key, value in values.items() if key not in ("auto_map", "architectures", "model_type", "dtype", "torch_dtype")}
    try:
        config = AutoConfig.for_model(preset.architecture, **{**left, **preset.arguments})
        tower = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder}: transformers cannot build this {preset.architecture}: {error}") from error
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None
    return tower


def encode_with(preset: VisionPreset, tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Images [n, 3, size, size] as the preset's vectors [n, dim].

    Raises:
        InputError: the tower has another number of tokens before the patches than the preset says.
    """
    if preset.library == "timm":
        if preset.pooling == "model":
            features: torch.Tensor = tower(pixels)
            return features
        tokens, prefix = tower.forward_features(pixels), tower.num_prefix_tokens
    else:
        tokens = tower(pixel_values=pixels).last_hidden_state
        prefix = 1 + int(getattr(tower.config, "num_register_tokens", 0))
    if prefix != preset.prefix:
        raise InputError(
            f"{preset.title}: {prefix} tokens before the patches, where the preset says {preset.prefix}; the mean would mix them up"
        )
    return pool_tokens(tokens, preset.pooling, prefix)


def pool_tokens(tokens: torch.Tensor, pooling: Pooling, prefix: int) -> torch.Tensor:
    """One vector an image.

    Args:
        tokens: [n, prefix + patches, d], class token first, registers behind it.
        pooling: `class` [n, d], `mean` of the patches [n, d], or `class_mean`, both side by side [n, 2 d].
        prefix: how many tokens are no patches.
    """
    import torch

    if pooling == "class":
        return tokens[:, 0]
    patches = tokens[:, prefix:].mean(dim=1)
    return patches if pooling == "mean" else torch.cat([tokens[:, 0], patches], dim=1)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{folder}: {_CONFIG_FILE} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder}: {_CONFIG_FILE} is no mapping")
    return config


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of timm's constructor, where layers go by name.

    Raises:
        ConfigError: a layer of another name.
    """
    arguments = dict(given)
    if (name := arguments.get("mlp_layer")) is not None:
        if name not in _MLP_LAYERS:
            raise ConfigError(f"mlp_layer: {name!r} is unknown; known: {', '.join(_MLP_LAYERS)}")
        from timm.layers.mlp import SwiGLUPacked

        arguments["mlp_layer"] = SwiGLUPacked
    return arguments


def _build_timm(architecture: str, arguments: Mapping[str, Any], where: object) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingDependency("timm", "clip") from error
    try:
        return timm.create_model(architecture, pretrained=False, **arguments)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"{where}: timm cannot build {architecture!r} with {dict(arguments)}: {error}") from error


def _load(tower: torch.nn.Module, weights: Mapping[str, torch.Tensor], folder: Path, may_lack: tuple[str, ...] = ()) -> None:
    """Every weight must fit, and none may be missing but those named.

    Raises:
        ArtefactError: some do not.
    """
    own = {name: weight for name, weight in tower.state_dict().items() if name in weights or name not in may_lack}
    if said := misfit(own, weights):
        raise ArtefactError(f"{folder} is of another architecture: {said}. For a published tower name its preset")
    tower.load_state_dict(dict(weights), strict=False)


def _transform_of(preset: VisionPreset) -> Callable[[Any], torch.Tensor]:
    from timm.data.transforms_factory import create_transform

    pixels = preset.pixels
    transform: Callable[[Any], torch.Tensor] = create_transform(
        input_size=(3, pixels.size, pixels.size),
        interpolation=pixels.interpolation,
        mean=pixels.mean,
        std=pixels.std,
        crop_pct=pixels.crop,
        crop_mode="center",
        is_training=False,
    )
    return transform
