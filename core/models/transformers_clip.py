"""CLIP-like models in Hugging Face folders, as embedders: CLIPModel, SigLIP, or a vision tower alone. Local files, no remote code.

Which of a tower's outputs is the vector is written down for each kind of model and never guessed: other kinds are refused.

Images go through the PIL image processor: the torchvision one, transformers' default, differs from it by up to one grey level.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from eosin.errors import ArtefactError, InputError, MissingDependency
from eosin.images import Pixels
from eosin.models.embedding import TwoTowerEmbedder, pick_device
from eosin.models.protocols import fingerprint_of
from eosin.models.specs import EmbedderSpec
from eosin.models.words import cut_words, word_limit

if TYPE_CHECKING:
    import torch

_FILES = (
    "*.safetensors",
    "*.bin",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*.model",
)
# transformers makes a tokenizer of no words where none of these is there, or lists every model it knows.
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
_SAID = 300
# The names under which transformers keeps a PIL processor as it is: other names load the torchvision one unless told otherwise.
_PIL_ALREADY = ("PilBackend",)
# Heads of other tasks, whose weights an embedder has no use for.
_LEFT_BEHIND = ("classifier.", "decoder.", "head.", "lm_head.", "mask_token", "embeddings.mask_token")

_MASKED = "vit_mae"
Readout = Literal["two_towers", "pooler", "pooler_or_class", "class", "mean"]
_READ: dict[str, Readout] = {
    **dict.fromkeys(("clip", "siglip"), "two_towers"),
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit"), "pooler"),
    **dict.fromkeys(("beit", "convnext", "convnextv2", "swin", "swinv2"), "pooler"),
    **dict.fromkeys(("vit", "deit"), "pooler_or_class"),
    **dict.fromkeys((_MASKED, "vit_msn"), "class"),
    "ijepa": "mean",
}
"""By transformers' `model_type`: what the model itself pools, its class token where its pooler was never trained, the class token, or the
mean of all tokens, of a model that has patches only (Assran et al. 2023)."""


def transformers_fingerprint(folder: str | Path) -> str:
    """Of weights, configs and tokenizer; needs no torch.

    Raises:
        InputError: the folder holds no config.json.
    """
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} is no Hugging Face model: config.json is missing")
    return fingerprint_of(sorted({path for pattern in _FILES for path in Path(folder).glob(pattern)}))


@contextmanager
def no_bars() -> Iterator[None]:
    """transformers draws bars for every file it reads or writes; Eosin draws its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_image_processor(folder: str | Path) -> Any:
    """The folder's image processor with the PIL backend.

    Raises:
        InputError: the folder holds none that transformers knows.
    """
    from transformers import AutoImageProcessor

    file = Path(folder) / "preprocessor_config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("image_processor_type") if file.is_file() else None
        options = {} if kind in _PIL_ALREADY else {"backend": "pil"}
        return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, **options)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: its image processor cannot be loaded: {error}") from error


class TransformersEmbedder(TwoTowerEmbedder):
    """A Hugging Face folder with two towers, or with an image tower only. Without a tokenizer's files it embeds images alone.

    Args:
        spec: `path` is a folder with `config.json`.

    Raises:
        ArtefactError: weights are missing.
        InputError: transformers does not know the model, or needs its remote code, or how it becomes one vector is not written down.
        ConfigError: there is no such device.
        MissingDependency: transformers is not installed.
    """

    def __init__(self, spec: EmbedderSpec) -> None:
        super().__init__(spec)
        self.device = pick_device(spec.device)
        self._fingerprint = transformers_fingerprint(spec.path)
        self._read = _readout(spec.path)
        self.model = _load_model(spec.path, self._read).to(self.device)
        self._processor = load_image_processor(spec.path)
        self._two_towers = self._read == "two_towers"
        self._reads = self._two_towers and any((Path(spec.path) / name).is_file() for name in _TOKENIZERS)
        self._dim = self._probe()

    @property
    def dim(self) -> int:
        """See `Embedder`."""
        return self._dim

    @property
    def logit_scale(self) -> float:
        """See `Embedder`."""
        scale = getattr(self.model, "logit_scale", None)
        return float(scale.detach().exp()) if scale is not None else 1.0

    @property
    def supports(self) -> frozenset[str]:
        """See `Embedder`."""
        return frozenset({"image", "text", "pair"} if self._reads else {"image"})

    @property
    def fingerprint(self) -> str:
        """See `Embedder`."""
        return self._fingerprint

    @functools.cached_property
    def _tokenizer(self) -> Any:
        """Loaded with the first text: images need none, and some want a library of their own."""
        return _load_tokenizer(self._spec.path)

    @functools.cached_property
    def _cut(self) -> Callable[[str], str]:
        return cut_words(word_limit(self._tokenizer, self.model.config.text_config.max_position_embeddings))

    def _probe(self) -> int:
        """The length of a vector, which configs of different families keep under different names."""
        import numpy as np
        import torch

        with torch.inference_mode():
            blank = self._prepare(np.zeros((64, 64, 3), dtype=np.uint8))
            return int(self._encode_images(blank[None].to(self.device)).shape[1])

    def _prepare(self, pixels: Pixels) -> torch.Tensor:
        from PIL import Image

        prepared: torch.Tensor = self._processor([Image.fromarray(pixels)], return_tensors="pt")["pixel_values"][0]
        return prepared

    def _encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._two_towers:
            return _pooled(self.model.get_image_features(pixel_values=pixels))
        output = self.model(pixel_values=pixels, **_unmasked(self.model, pixels))
        if self._read == "mean":
            mean: torch.Tensor = output.last_hidden_state.mean(dim=1)
            return mean
        if self._read == "pooler" and output.pooler_output is None:
            raise InputError(f"{self._spec.path}: its config.json leaves out the head that pools, without which it gives no vector")
        return _pooled(output, class_token=self._read == "class")

    def _encode_texts(self, texts: list[str]) -> torch.Tensor:
        # No attention mask: CLIP's mask is causal and SigLIP was trained on padded texts.
        length = self.model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            [self._cut(text) for text in texts], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return _pooled(self.model.get_text_features(input_ids=tokens["input_ids"].to(self.device)))


def _readout(folder: str) -> Readout:
    config = Path(folder) / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{config} tells no model_type that transformers could load: {error}") from error
    if kind not in _READ:
        raise InputError(
            f"{folder}: how a {kind} becomes one vector an image is not known here, and a guess would give wrong vectors without an error. "
            f"Known are {', '.join(sorted(_READ))}, folders of timm and of open_clip, and published towers by their preset"
        )
    return _READ[kind]


def _unmasked(model: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """For a masked autoencoder, which shuffles its patches by chance, an order that leaves them as they are."""
    import torch

    if model.config.model_type != _MASKED:
        return {}
    order = torch.arange(model.embeddings.patch_embeddings.num_patches, dtype=torch.float32, device=pixels.device)
    return {"noise": order.expand(len(pixels), -1)}


def _load_model(folder: str, read: Readout) -> Any:
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise MissingDependency("transformers", "clip") from error
    try:
        with no_bars():
            model, report = AutoModel.from_pretrained(folder, local_files_only=True, dtype="float32", output_loading_info=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: transformers cannot load this model: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ArtefactError(f"{folder}: {len(missing)} weights are missing, such as {missing[0]}; the folder is incomplete")
    homeless = sorted(name for name in report["unexpected_keys"] if not name.startswith(_LEFT_BEHIND))
    if homeless:
        raise ArtefactError(
            f"{folder}: {len(homeless)} weights have no place in transformers' {model.config.model_type}, such as {homeless[0]}; "
            "without them it would compute something else. For a published tower name its preset"
        )
    if report["missing_keys"]:
        if read == "pooler":
            raise ArtefactError(
                f"{folder}: the weights of its pooler are missing, without which a {model.config.model_type} gives no vector"
            )
        # A pooler that was never trained: the class token is the vector then.
        model.pooler = None
    if model.config.model_type == _MASKED:
        # In training it sees a quarter of the patches, drawn by chance, and so it would here (He et al. 2022).
        model.config.mask_ratio = 0.0
    return model.eval()


def _load_tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"{folder}: its tokenizer cannot be loaded: {shorten(str(error), _SAID)}") from error


def _pooled(output: Any, *, class_token: bool = False) -> torch.Tensor:
    """The one vector per input; transformers 5 wraps it, and towers without a pooler leave the class token."""
    import torch

    if isinstance(output, torch.Tensor):
        return output
    pooled = None if class_token else getattr(output, "pooler_output", None)
    features: torch.Tensor = pooled if pooled is not None else output.last_hidden_state[:, 0]
    return features
