"""What `eosin llm` can be told: one frozen dataclass for training, one for export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eosin.config import input_path, input_paths
from eosin.errors import ConfigError

TrainedPart = Literal["projector", "language_model", "vision"]


@dataclass(frozen=True)
class TokenizerConfig:
    """The tokenizer of a language model that starts from scratch.

    Attributes:
        size: of the vocabulary at most; 256 bytes and the special tokens are always in it.
        min_count: how often a pair must occur to become a token.
    """

    size: int = 1000
    min_count: int = 2


@dataclass(frozen=True)
class LanguageModelConfig:
    """A language model that starts from scratch.

    Attributes:
        architecture: a JSON file of `LlamaConfig` values, or a name in `eosin.configs/architectures`.
        template: a chat template, or a name in `eosin.configs/templates`.
        tokenizer: trained on all text of the data.
        vision_layer: whose hidden states the projector reads; -2 as in LLaVA (Liu et al. 2023).
        class_token: keep the tower's class token as the first image token (`vision_feature_select_strategy: full`).
    """

    architecture: str = "llama-256x4"
    template: str = "eosin"
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    vision_layer: int = -2
    class_token: bool = True


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with linear warm-up and cosine decay to zero.

    Attributes:
        lr: the highest rate.
        projector_lr: of the projector, where it differs.
        weight_decay: of matrices; norms, biases and embeddings have none.
        warmup: share of the run.
        clip_norm: of the gradient.
        betas: of AdamW.
    """

    lr: float = 1e-3
    projector_lr: float | None = None
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0
    betas: tuple[float, ...] = (0.9, 0.98)

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise ConfigError(f"optimiser.betas: two numbers are wanted, such as [0.9, 0.98]; got {list(self.betas)}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"optimiser.warmup: a share of the run in [0, 1) is wanted; got {self.warmup}")


@dataclass(frozen=True)
class BatchConfig:
    """How samples become batches.

    Attributes:
        tokens: of a batch, padding counted.
        row_tokens: of a row at most, where it holds several questions; a longer single sample still has a row of its own.
        questions: on the same images in one row at most; they share the image's tokens, and do not see each other.
        max_length: a longer sample is rejected.
    """

    tokens: int = 4096
    row_tokens: int = 320
    questions: int = 8
    max_length: int = 1024

    def __post_init__(self) -> None:
        if min(self.tokens, self.row_tokens, self.questions, self.max_length) < 1:
            raise ConfigError(f"batch: every number must be 1 or more; got {self}")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021).

    Attributes:
        rank: of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: before the adapter.
        targets: a regular expression that fully matches the names of linear layers of the language model, and of nothing else.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str = r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True)
class TrainConfig:
    """`eosin llm train`.

    Attributes:
        stage: `align` trains parts of the model itself; `instruct` trains adapters (`lora`), and what `train` names beside them.
        vision: a CLIP in Hugging Face format whose image tower a new model gets (align).
        base: a folder with a LLaVA model of Hugging Face, instead of a new model (both stages).
        model: a model that an align stage made (instruct).
        data: image-text pairs and conversations; their train split is read.
        train: which parts learn beside the adapters; for `instruct`, only the projector can.
        language_model: of a new model.
        lora: for `instruct`.
        quantisation: `nf4` holds the frozen language model in 4 bits (QLoRA, Dettmers et al. 2023).
        caption_prompts: what a caption answers; one is drawn for each.
        views: how many of the eight flips and quarter turns of an image are used; samples with boxes keep the image as it is.
        stain: jitter of the stains in all views but the first, for patients that are stained otherwise.
        sample_weights: a token's weight in the loss is 1 over its reply's length to this power: 0 counts tokens, 1 counts replies.
        epochs: passes over the data; of an image's captions, each pass takes one.
        precision: of the arithmetic; weights that learn are float32.
    """

    stage: Literal["align", "instruct"]
    vision: str = input_path("clip_model", required=False)
    base: str = input_path(required=False)
    model: str = input_path("llm_model", required=False)
    data: tuple[str, ...] = input_paths("image_text", "conversations")
    train: tuple[TrainedPart, ...] = ("projector",)
    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    lora: LoraConfig | None = None
    quantisation: Literal["none", "nf4"] = "none"
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    caption_prompts: tuple[str, ...] = ("Describe the image.",)
    views: int = 1
    stain: float = 0.0
    sample_weights: float = 0.0
    epochs: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.views <= 8:
            raise ConfigError(f"views: 1 to 8 of an image's flips and quarter turns; got {self.views}")
        if not 0.0 <= self.stain < 1.0:
            raise ConfigError(f"stain: a jitter in [0, 1) is wanted; got {self.stain}")
        if self.epochs < 1:
            raise ConfigError(f"epochs: at least 1; got {self.epochs}")
        if not self.caption_prompts:
            raise ConfigError("caption_prompts: at least one is wanted")
        self._check_stage()

    def _check_stage(self) -> None:
        if self.stage == "align":
            if self.lora is not None or self.quantisation != "none":
                raise ConfigError("stage align trains the model's own weights: lora and quantisation belong to stage instruct")
            if self.model:
                raise ConfigError("stage align starts from vision=CLIP or base=FOLDER; model= belongs to stage instruct")
            if not self.train:
                raise ConfigError("train: stage align needs at least one of projector, language_model, vision")
            return
        if self.lora is None:
            raise ConfigError("stage instruct trains adapters: the recipe needs a lora section")
        if set(self.train) - {"projector"}:
            raise ConfigError(f"train: beside its adapters, stage instruct can train the projector only; got {', '.join(self.train)}")
        if self.vision:
            raise ConfigError("stage instruct starts from model=ARTEFACT or base=FOLDER; vision= belongs to stage align")


@dataclass(frozen=True)
class ExportConfig:
    """`eosin llm export`: the adapters merged, in the layout that transformers and vLLM load.

    Attributes:
        model: what `eosin llm train` made.
        base: the model the adapters stand on, where it no longer lies where they were trained.
        tolerance: largest difference of logits allowed between the trained model and the folder read back.
    """

    model: str = input_path("llm_model")
    base: str = input_path(required=False)
    tolerance: float = 1e-4
