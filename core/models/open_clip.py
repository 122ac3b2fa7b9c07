"""CLIP in open_clip's folder format: `open_clip_config.json`, weights, and tokenizer files where the model has its own.

open_clip itself only logs a warning when weights are missing and goes on with random ones; here every key must be found.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeAlias

from eosin.errors import ArtefactError, InputError, MissingDependency
from eosin.images import Pixels
from eosin.models.embedding import TwoTowerEmbedder, pick_device
from eosin.models.protocols import fingerprint_of
from eosin.models.specs import EmbedderSpec
from eosin.models.words import cut_words, word_limit

if TYPE_CHECKING:
    import torch

OpenClipModel: TypeAlias = Any
"""A `torch.nn.Module` with encode_image, encode_text, visual and logit_scale; open_clip carries no types."""

CONFIG_FILE = "open_clip_config.json"
# In the order in which open_clip itself looks for them.
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# A tower that is not open_clip's own is described by a config.json in a folder of this name beside open_clip_config.json.
VISION_FOLDER, TEXT_FOLDER = "vision_tower", "text_tower"
_NAMES_OF_TOKENS = re.compile(r"<(?=(?:start|end)_of_text>)", re.IGNORECASE)
# torch's message has a line for every weight that does not fit.
_SAID = 300


def read_open_clip_config(folder: str | Path) -> dict[str, Any]:
    """`open_clip_config.json`: `model_cfg` (architecture) and `preprocess_cfg` (size, mean, std, interpolation, resize mode).

    Raises:
        InputError: it is missing, not JSON, or lacks `model_cfg`.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no open_clip model: {CONFIG_FILE} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise InputError(f"{path} has no model_cfg; it is not a config that open_clip wrote")
    return config


def weights_file(folder: str | Path) -> Path:
    """The weights of an open_clip folder.

    Raises:
        ArtefactError: there are none.
    """
    for name in WEIGHT_FILES:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise ArtefactError(f"{folder} holds no weights; one of {', '.join(WEIGHT_FILES)} is wanted")


def open_clip_fingerprint(folder: str | Path) -> str:
    """Of weights, config and tokenizer; needs no torch."""
    tokenizer = [Path(folder) / name for name in TOKENIZER_FILES if (Path(folder) / name).is_file()]
    towers = [path for name in (VISION_FOLDER, TEXT_FOLDER) if (path := Path(folder) / name / "config.json").is_file()]
    return fingerprint_of([Path(folder) / CONFIG_FILE, weights_file(folder), *tokenizer, *towers])


def noted_activation(path: Path) -> str:
    """The activation that Eosin notes in the weights files it writes: `gelu` or `quick_gelu`; empty where nothing is noted.

    Raises:
        ArtefactError: the file is damaged.
    """
    if path.suffix != ".safetensors":
        return ""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get("activation", ""))
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} cannot be read as weights: {error}") from error


def _check_noted(path: Path, model_cfg: dict[str, Any]) -> None:
    """Refuse weights whose noted activation is not the architecture's: they would load without an error and give other features."""
    noted = noted_activation(path)
    said = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    if noted in ("gelu", "quick_gelu") and noted != said:
        raise ArtefactError(
            f"{path} was trained with {noted}, and {CONFIG_FILE} beside it says {said}; set quick_gelu there to what is true"
        )


def _own_towers(folder: Path, model_cfg: dict[str, Any]) -> dict[str, Any]:
    """What replaces the configs of towers that lie beside the model: open_clip and timm want absolute paths."""
    found: dict[str, Any] = {}
    vision, text = model_cfg.get("vision_cfg", {}), model_cfg.get("text_cfg", {})
    if vision.get("timm_model_name") == VISION_FOLDER:
        name = f"local-dir:{(folder / VISION_FOLDER).absolute()}"
        found["vision_cfg"] = {**vision, "timm_model_name": name, "timm_model_pretrained": False}
    if text.get("hf_model_name") == TEXT_FOLDER:
        found["text_cfg"] = {**text, "hf_model_name": str((folder / TEXT_FOLDER).absolute()), "hf_model_pretrained": False}
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns of random weights while a model is built; the strict loading that follows makes that moot."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def build_open_clip(folder: str | Path, device: str = "cpu") -> OpenClipModel:
    """The untrained model that `open_clip_config.json` describes, drawn from torch's global generator.

    Args:
        folder: holds the config.
        device: where it is built; `meta`, within `torch.device("meta")`, gives shapes without memory.

    Raises:
        InputError: open_clip does not take the config.
        MissingDependency: open_clip is not installed.
    """
    towers = _own_towers(Path(folder), read_open_clip_config(folder)["model_cfg"])
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependency("open_clip_torch", "clip") from error
    try:
        with _quiet():
            model: OpenClipModel = open_clip.create_model(
                f"local-dir:{folder}", load_weights=False, pretrained_text=False, device=device, **towers
            )
    except (AssertionError, TypeError, ValueError, RuntimeError, OSError, ZeroDivisionError) as error:
        raise InputError(f"{Path(folder) / CONFIG_FILE}: open_clip cannot build this model: {error}") from error
    return model


def load_open_clip(folder: str | Path) -> OpenClipModel:
    """The model with its weights, in evaluation mode, float32, on the CPU.

    Raises:
        ArtefactError: weights are missing, or do not fit the architecture key by key.
        InputError: see `build_open_clip`.
    """
    path = weights_file(folder)
    model = build_open_clip(folder)
    _check_noted(path, read_open_clip_config(folder)["model_cfg"])
    import open_clip
    from safetensors import SafetensorError

    try:
        open_clip.load_checkpoint(model, str(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ArtefactError(f"{path} does not fit {CONFIG_FILE} beside it: {shorten(str(error), _SAID)}") from error
    return model.eval()


def preprocessing_of(model: OpenClipModel) -> Callable[[Any], torch.Tensor]:
    """open_clip's own evaluation transform: a PIL image becomes float32 [3, size, size]."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform: Callable[[Any], torch.Tensor] = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return transform


def tokenizer_of(folder: str | Path) -> Callable[[list[str]], torch.Tensor]:
    """The tokenizer open_clip chooses for the folder: texts become int64 [n, context].

    Raises:
        ArtefactError: the config names a tokenizer whose files are not there.
    """
    import open_clip

    named = read_open_clip_config(folder)["model_cfg"].get("text_cfg", {}).get("hf_tokenizer_name")
    try:
        # Without a name open_clip takes its built-in tokenizer, which reads nothing from the folder and knows no such argument.
        options = {"local_files_only": True} if named else {}
        tokenizer: Any = open_clip.get_tokenizer(f"local-dir:{folder}", **options)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{folder}: its tokenizer cannot be loaded: {error}") from error
    tokenizer.clean_fn = _cleaner(tokenizer)
    read: Callable[[list[str]], torch.Tensor] = tokenizer
    return read


def _cleaner(tokenizer: Any) -> Callable[[str], str]:
    """The tokenizer's own cleaning of texts, without words that are too long and without its special tokens in them."""
    clean, inner = tokenizer.clean_fn, getattr(tokenizer, "tokenizer", None)
    cut = cut_words(word_limit(inner or tokenizer, tokenizer.context_length))
    if inner is not None:
        # transformers reads special tokens in texts as text where the folder's tokenizer_config.json has split_special_tokens.
        return lambda text: cut(clean(text))
    # open_clip's own parts texts at punctuation anyway: with a space the name of a token is read as the text it is.
    return lambda text: _NAMES_OF_TOKENS.sub("< ", cut(clean(text)))


class OpenClipEmbedder(TwoTowerEmbedder):
    """An open_clip model with open_clip's own preprocessing.

    Args:
        spec: `path` is a folder with `open_clip_config.json`.

    Raises:
        ArtefactError, InputError: see `load_open_clip`.
        ConfigError: there is no such device.
    """

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__(spec)
        self.device = pick_device(spec.device)
        self.model = load_open_clip(spec.path).to(self.device)
        self._transform = preprocessing_of(self.model)
        self._tokenizer = tokenizer_of(spec.path)
        self._dim = int(read_open_clip_config(spec.path)["model_cfg"]["embed_dim"])
        self._fingerprint = open_clip_fingerprint(spec.path)

    @property
    def dim(self) -> int:
        """See `Embedder`."""
        return self._dim

    @property
    def logit_scale(self) -> float:
        """See `Embedder`."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def supports(self) -> frozenset[str]:
        """See `Embedder`."""
        return frozenset({"image", "text", "pair"})

    @property
    def fingerprint(self) -> str:
        """See `Embedder`."""
        return self._fingerprint

    def _prepare(self, pixels: Pixels) -> torch.Tensor:
        from PIL import Image

        return self._transform(Image.fromarray(pixels))

    def _encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_image(pixels)
        return features

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        features: torch.Tensor = self.model.encode_text(self._tokenizer(texts).to(self.device))
        return features
