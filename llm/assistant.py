"""A LLaVA model with its processor: built new, read from a folder, and asked for its image features.

LLaVA (Liu et al. 2023; 2024): hidden states of a CLIP image tower, through a projector of two layers, stand in the language
model's input where the image tokens are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    CLIPVisionModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from eosin.errors import ArtefactError, ConfigError, InputError, Unsupported
from eosin.llm.config import LanguageModelConfig
from eosin.llm.encoding import Encoder
from eosin.llm.tokenizer import IMAGE
from eosin.models.loading import read_model
from eosin.models.turns import renderer


@dataclass(frozen=True)
class Assistant:
    """A model and what it reads with: LlavaForConditionalGeneration, which may hold adapters inside its layers."""

    model: Any
    processor: Any

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def context(self) -> int:
        """Longest sequence of the language model."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def encoder(self) -> Encoder:
        """Conversations to ids, as this model reads them.

        Raises:
            ConfigError: the processor writes another number of image tokens than the tower gives features.
        """
        model = self.model
        features = int(self.image_states(self.blank_image()).shape[1])
        written = int((torch.tensor(self._blank_prompt()) == model.config.image_token_id).sum())
        if written != features:
            raise ConfigError(
                f"the processor writes {written} tokens for an image, the image tower gives {features} features: "
                "patch_size, num_additional_image_tokens and vision_feature_select_strategy of processor_config.json must fit config.json"
            )
        return Encoder(self.tokenizer, renderer(self.processor), int(model.config.image_token_id), features, end_ids(model, self.tokenizer))

    def blank_image(self) -> Tensor:
        """Pixels of a black image, float32 [1, 3, height, width]."""
        return self.pixels([_black()])

    def _blank_prompt(self) -> Any:
        return self.processor(text=[self.processor.image_token], images=[_black()], add_special_tokens=False)["input_ids"]

    def pixels(self, images: list[Any]) -> Tensor:
        """Images (PIL, RGB) as the tower takes them: float32 [n, 3, height, width]."""
        found: Tensor = self.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        return found

    def pixel_scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that the image processor normalises by, float32 [3, 1, 1] each, for pixels in [0, 1]."""
        processor = self.processor.image_processor
        return torch.tensor(processor.image_mean)[:, None, None], torch.tensor(processor.image_std)[:, None, None]

    def image_states(self, pixels: Tensor) -> Tensor:
        """The tower's hidden states that the projector reads, [n, image_tokens, width], as `LlavaModel.get_image_features` takes them.

        Args:
            pixels: float32 [n, 3, height, width].
        """
        config = self.model.config
        tower = self.model.model.vision_tower
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in tower.parameters())):
            states = tower(pixels.to(tower.device, tower.dtype), output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        chosen = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        if config.vision_feature_select_strategy == "default":
            chosen = [state[:, 1:] for state in chosen]
        return torch.cat(chosen, dim=-1)


def _black() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64))


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a reply: the model's and the tokenizer's own.

    Raises:
        ConfigError: there are none.
    """
    named = model.generation_config.eos_token_id
    found = {named} if isinstance(named, int) else set(named or ())
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    if not found:
        raise ConfigError("the model names no end token (eos_token_id); replies would never stop")
    return frozenset(int(token) for token in found)


def new_assistant(vision: Path, config: LanguageModelConfig, architecture: dict[str, Any], template: str, tokenizer: Any) -> Assistant:
    """A LLaVA with a trained CLIP tower, a new projector and a new Llama; torch's seed decides the new weights.

    Args:
        vision: a CLIP folder of Hugging Face, with its image processor.
        config: of the language model.
        architecture: `LlamaConfig` values.
        template: the chat template's text.
        tokenizer: trained.

    Raises:
        InputError: the folder holds no CLIP tower.
        ConfigError: the architecture does not fit.
    """
    try:
        tower = read_model(CLIPVisionModel, vision, spare=True, dtype=torch.float32)
        images = AutoImageProcessor.from_pretrained(vision, local_files_only=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f"vision: {vision} holds no CLIP image tower of Hugging Face ({error}); make one by `eosin clip export`"
        ) from error
    model = LlavaForConditionalGeneration(_llava_config(tower.config, config, architecture, tokenizer))
    model.model.vision_tower.load_state_dict(tower.state_dict(), strict=True)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=template,
        image_token=IMAGE,
    )
    return Assistant(model.eval(), processor)  # type: ignore[no-untyped-call]


def _llava_config(vision: Any, config: LanguageModelConfig, architecture: dict[str, Any], tokenizer: Any) -> LlavaConfig:
    known = set(LlamaConfig().to_dict())
    unknown = sorted(set(architecture) - known)
    if unknown:
        raise ConfigError(f"language_model.architecture: {', '.join(unknown)}: no such value of LlamaConfig")
    layers = vision.num_hidden_layers
    if not -layers - 1 <= config.vision_layer <= layers:
        raise ConfigError(f"language_model.vision_layer: the tower has {layers} layers; got {config.vision_layer}")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = LlamaConfig(**{**architecture, **ids, "vocab_size": len(tokenizer)})
    patches = (vision.image_size // vision.patch_size) ** 2
    # A path of this machine would make two runs of one plan differ.
    vision = type(vision)(**{key: value for key, value in vision.to_dict().items() if key != "_name_or_path"})
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=patches + config.class_token,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="full" if config.class_token else "default",
        vision_feature_layer=config.vision_layer,
        tie_word_embeddings=text.tie_word_embeddings,
        **ids,
    )


def read_assistant(folder: Path, quantisation: str = "none") -> Assistant:
    """A LLaVA folder of Hugging Face, weights complete.

    Raises:
        InputError: the folder holds no model, or keys are missing or left over.
        Unsupported: a model of another architecture.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model (no config.json)")
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "llava":
        raise Unsupported(f"{folder} holds a {kind} model; training works on llava models (LlavaForConditionalGeneration)")
    options: dict[str, Any] = {"dtype": torch.float32} if quantisation == "none" else {"quantization_config": nf4()}
    model = read_model(LlavaForConditionalGeneration, folder, **options)
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no processor of Hugging Face: {error}") from error
    if quantisation != "none":
        _check_quantised(model)
    return Assistant(model.eval(), processor)


def nf4() -> Any:
    """4-bit weights for the language model alone (Dettmers et al. 2023).

    The names are anchored at the model's root: a bare `vision_tower` would skip nothing, and any list replaces the default that spares
    the head.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    )


def _check_quantised(model: nn.Module) -> None:
    quantised = [name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"]
    stray = [name for name in quantised if not name.startswith("model.language_model.")]
    if stray or not quantised:
        raise Unsupported(
            f"4-bit weights went astray: {len(quantised)} layers, {len(stray)} of them outside the language model: {stray[:3]}"
        )


def shipped_text(name: str, folder: str, suffix: str, key: str) -> str:
    """The text of a file, or of `name` in `eosin.configs/folder`.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    if not path.is_file():
        path = Path(str(resources.files("eosin.configs"))) / folder / f"{name}{suffix}"
    if not path.is_file():
        raise ConfigError(f"{key}: no such file, and no {name}{suffix} in eosin.configs/{folder}")
    return path.read_text(encoding="utf-8")


def check_artefact_model(folder: Path) -> None:
    """Refuse a model that is adapters only.

    Raises:
        ArtefactError: it is.
    """
    if (folder / "adapter").is_dir():
        raise ArtefactError(f"{folder} holds adapters; make them a model by `eosin llm export` first")
