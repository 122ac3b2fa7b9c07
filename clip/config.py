"""What the recipes of `eosin clip train` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eosin.config import input_path, input_paths
from eosin.errors import ConfigError

Positives = Literal["pair", "same_caption", "same_caption_or_label", "same_disease"]


@dataclass(frozen=True)
class ImageConfig:
    """How an image becomes the model's input; open_clip's `preprocess_cfg`. The size stands in the architecture.

    Attributes:
        resize: `squash` keeps the whole image, `shortest` the middle square. For square tiles they are the same; on others
            open_clip and transformers round the middle differently, so that only `squash` exports pixel by pixel.
        interpolation: of the resize.
        mean: of R, G, B in [0, 1]; OpenAI's by default, as nearly all CLIP models.
        std: likewise.
    """

    resize: Literal["squash", "shortest"] = "squash"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"image.mean and image.std are three numbers, std above 0; got {self.mean} and {self.std}")


@dataclass(frozen=True)
class AugmentConfig:
    """What a training image may turn into; every draw depends on (seed, epoch, index) alone.

    Attributes:
        symmetries: `all` is one of the eight flips and rotations of the square, for tissue has no upside; `mirrors` leaves out
            quarter turns, for captions that speak of horizontal and vertical.
        crop_area: smallest share of the image's area that a crop keeps; 1 for no crop.
        crop_ratio: largest ratio of a crop's sides.
        stain: strength of the jitter of hematoxylin, eosin and residual (Ruifrok and Johnston 2001; Tellez et al. 2018): each stain is
            multiplied by 1 ± stain, and 0.1 ± stain is added in optical density.
        brightness: pixels are multiplied by 1 ± brightness.
        colour_transfer: share of images whose channels are moved to a mean and standard deviation drawn anew from those of H&E tiles at
            large (after Reinhard et al. 2001, in RGB), so that structure must tell the class where colour could.
        mpp: smallest and largest scale of a crop, in microns a pixel of the model's input, drawn evenly in its logarithm; records that do
            not tell their scale are then rejected. Empty: `crop_area` decides.
    """

    symmetries: Literal["none", "mirrors", "all"] = "all"
    crop_area: float = 0.5
    crop_ratio: float = 1.33
    stain: float = 0.1
    brightness: float = 0.05
    colour_transfer: float = 0.0
    mpp: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.mpp and not (len(self.mpp) == 2 and 0 < self.mpp[0] <= self.mpp[1]):
            raise ConfigError(f"augment.mpp is the smallest and the largest scale in microns a pixel, such as [0.4, 0.6]; got {self.mpp}")
        if not (0 < self.crop_area <= 1 <= self.crop_ratio and 0 <= self.stain < 1 and 0 <= self.brightness < 1):
            raise ConfigError(f"augment: 0 < crop_area <= 1, crop_ratio >= 1, stain and brightness in [0, 1); got {self}")
        if not 0 <= self.colour_transfer <= 1:
            raise ConfigError(f"augment.colour_transfer is a share of the images, from 0 to 1; got {self.colour_transfer}")


@dataclass(frozen=True)
class TokenizerConfig:
    """Where the tokenizer comes from.

    Attributes:
        kind: `train` a byte-level BPE on the captions, the one of `init`, or `open_clip`'s own (49,408 tokens).
        lowercase: for `train`.
    """

    kind: Literal["train", "init", "open_clip"] = "train"
    lowercase: bool = True


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with a cosine schedule.

    Attributes:
        lr: the peak.
        final_lr: the end, as a share of the peak.
        warmup: share of the run in which the rate rises from 0.
        weight_decay: on matrices; norms, biases and the temperature have none.
        betas: of the moments.
        eps: of the division.
        clip_norm: gradients longer than this are shortened; 0 for never.
        max_logit_scale: the temperature's inverse stays at or below it (Radford et al. 2021: 100).
        temperature: a fixed one, such as KEEP's 0.04; 0 learns it.
        divergence: a run stops whose mean loss of 50 steps is so many times that of its first 50; 0 for never. Runs of fewer than 100
            steps have no two such means.
    """

    lr: float = 1e-3
    final_lr: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.98)
    eps: float = 1e-6
    clip_norm: float = 1.0
    max_logit_scale: float = 100.0
    temperature: float = 0.0
    divergence: float = 2.0

    def __post_init__(self) -> None:
        if self.divergence and self.divergence <= 1:
            raise ConfigError(f"optimiser.divergence is above 1, or 0 for never; got {self.divergence}")
        if self.temperature < 0:
            raise ConfigError(f"optimiser.temperature is above 0, or 0 to learn it; got {self.temperature}")
        if not (self.weight_decay >= 0 and self.clip_norm >= 0 and self.eps > 0 and all(0 <= beta < 1 for beta in self.betas)):
            raise ConfigError(f"optimiser: weight_decay and clip_norm >= 0, eps > 0, betas in [0, 1); got {self}")
        if not (self.lr > 0 and 0 <= self.warmup < 1 and 0 <= self.final_lr <= 1 and len(self.betas) == 2 and self.max_logit_scale >= 1):
            raise ConfigError(f"optimiser: lr > 0, 0 <= warmup < 1, 0 <= final_lr <= 1, two betas, max_logit_scale >= 1; got {self}")


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss; `positives` beside it says which pairs belong together.

    Attributes:
        name: `infonce` (Radford et al. 2021; with several positives UniCL, Yang et al. 2022), `siglip` (Zhai et al. 2023), `coca` (InfoNCE
            and captioning, Yu et al. 2022), `keep` (one metric loss over whole diseases, Zhou et al. 2024).
        captions: how many of its captions an image brings to a step; an image with fewer repeats them.
        spare: who is nobody's negative: records of one `group` (patient, slide, video), and diseases of which one is a kind of the other
            (`hypernyms`, needs an ontology).
        hard_captions: how many of `extra.hard_captions` an image brings as negatives (NegCLIP, Yuksekgonul et al. 2023).
        hardness: how much more near negatives weigh than far ones, the beta of Robinson et al. 2021; 0 for evenly. For infonce and coca.
        bias: siglip's first one, minus the logarithm of negatives a positive; 0: the architecture's, else Zhai et al.'s -10.
        contrastive_weight: of coca's first part.
        caption_weight: of coca's second part.
    """

    name: Literal["infonce", "siglip", "coca", "keep"] = "infonce"
    captions: int = 1
    spare: tuple[Literal["group", "hypernyms"], ...] = ()
    hard_captions: int = 0
    hardness: float = 0.0
    bias: float = 0.0
    contrastive_weight: float = 1.0
    caption_weight: float = 2.0

    def __post_init__(self) -> None:
        if self.captions < 1 or self.hard_captions < 0 or self.hardness < 0:
            raise ConfigError(f"objective: captions >= 1, hard_captions and hardness >= 0; got {self}")
        if self.hardness and self.name not in ("infonce", "coca"):
            raise ConfigError(f"objective.hardness is for infonce and coca; {self.name} has its own way with near negatives")
        if self.bias > 0 or (self.bias and self.name != "siglip"):
            raise ConfigError(f"objective.bias is below 0, and for siglip alone; got {self.bias} for {self.name}")


@dataclass(frozen=True)
class DiseaseConfig:
    """Which node of the ontology a record is about (KEEP, Zhou et al. 2024).

    Attributes:
        key: of `extra`, which holds a node's id, name or synonym.
        from_captions: where `extra` does not tell, the longest name that stands in a caption.
        per_batch: records of one disease that come to a batch together, KEEP's 4; 0 leaves the order to chance.
        word_drop: share of a caption's words left out, in every second caption; KEEP's is 0.4.
        label_captions: share of captions replaced by the disease and the kinds it belongs to.
    """

    key: str = "disease"
    from_captions: bool = False
    per_batch: int = 0
    word_drop: float = 0.0
    label_captions: float = 0.0

    def __post_init__(self) -> None:
        if self.per_batch < 0 or not (0 <= self.word_drop < 1 and 0 <= self.label_captions <= 1):
            raise ConfigError(f"disease: per_batch >= 0, word_drop in [0, 1), label_captions in [0, 1]; got {self}")


@dataclass(frozen=True)
class TowerConfig:
    """What of a tower learns, and how fast.

    Attributes:
        train: `all`; `last`: only the last `blocks` and what follows them; `lora`: low-rank adapters (Hu et al. 2022), merged into the
            weights at the end; `none`: nothing, a locked tower (LiT, Zhai et al. 2022).
        blocks: for `last`.
        rank: of the adapters.
        alpha: the adapters' output is scaled by alpha / rank.
        lr: factor on the learning rate.
        layer_decay: further factor on it for every block below the last (Clark et al. 2020); 1 for none.
    """

    train: Literal["all", "last", "lora", "none"] = "all"
    blocks: int = 0
    rank: int = 8
    alpha: float = 16.0
    lr: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if (self.train == "last") != (self.blocks > 0):
            raise ConfigError(f"blocks counts what train=last leaves free; got train={self.train} and blocks={self.blocks}")
        if self.rank < 1 or self.alpha <= 0 or self.lr <= 0 or not 0 < self.layer_decay <= 1:
            raise ConfigError(f"a tower's rank >= 1, alpha and lr > 0, 0 < layer_decay <= 1; got {self}")


@dataclass(frozen=True)
class HubConfig:
    """Repositories of the Hugging Face hub in place of folders, as `organisation/repository` or `organisation/repository@revision`.

    Attributes:
        start: for `start`.
        vision: for `vision_folder`; timm's model NAME is `timm/NAME`.
        text: for `text_folder`.
    """

    start: str = ""
    vision: str = ""
    text: str = ""


@dataclass(frozen=True)
class MonitorConfig:
    """What is measured on held-out records while the model learns.

    Attributes:
        every: epochs between measurements; 0 for none.
        split: whose records.
        records: the first so many, all of them when there are fewer.
        metric: which decides the best epoch: mean recall at 1 of both directions, or balanced zero-shot accuracy over `extra.label`.
        prompt: around a label's name in zero-shot.
        keep: whether the artefact's model is the last or the best; the other lies beside it.
    """

    every: int = 0
    split: Literal["val", "test"] = "val"
    records: int = 2000
    metric: Literal["retrieval", "zero_shot"] = "retrieval"
    prompt: str = "an H&E image of {name}"
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        if self.every < 0 or self.records < 2 or "{name}" not in self.prompt:
            raise ConfigError(f"monitor: every >= 0, records >= 2, {{name}} in the prompt; got {self}")
        if self.keep == "best" and not self.every:
            raise ConfigError("monitor.keep is best, but nothing is measured; set monitor.every, such as monitor.every=1")


@dataclass(frozen=True)
class ClipTrainConfig:
    """`eosin clip train`.

    Attributes:
        data: image-text pairs; the split `train` is used.
        more: further data sets, trained on together with the first.
        init: start from this model: the image tower, and the text tower when the tokenizer is the same.
        start: start from a folder: a Hugging Face CLIPModel, an open_clip model, or one weights file (.safetensors, or .pt, .bin as
            `torch.save` wrote it) of `architecture`.
        vision_folder: the image tower from a folder of timm or transformers (ViT, DINOv2).
        text_folder: the text tower from a folder of transformers, such as PubMedBERT; its tokenizer comes along.
        ontology: a folder with one file: OncoTree's JSON, OBO, CSV or JSON; see `eosin.clip.ontology`.
        hub: towers and starts by the name of a repository.
        architecture: a JSON file of open_clip's format, a name in `eosin.configs/architectures`, or one of open_clip's own names.
        title: what the model's card calls it.
        tag: open_clip's name of weights to start from, such as `openai`; open_clip fetches them.
        activation: `auto` is what the architecture or the start says. A bare weights file says nothing: choose `gelu` or `quick_gelu`.
        context: longest text in tokens; 0 is the architecture's own.
        seed: decides initial weights, order, captions and augmentation.
        epochs: passes over the images; each draws one caption an image.
        batch_size: a last, smaller batch of an epoch is left out; every epoch has another order.
        micro_batch: so many images go through the towers at a time; 0 for all of a process's share.
        micro_batches: `cached` gives the gradient of the whole batch (GradCache, Gao et al. 2021); `independent` lets each be a batch
            of its own and sums their gradients, plain accumulation.
        shuffle_window: records that are shuffled among each other, and whose files stay in memory; all of a smaller data set.
        positives: which images and captions of a batch belong together; see `eosin.clip.relations`.
        precision: `bf16` computes the towers in bfloat16; weights and loss stay float32.
        recompute: activation checkpointing: blocks are computed again in the backward pass instead of kept.
        compiled: blocks are compiled by torch.compile, which pays on a GPU: it takes minutes at the start and wants a C++ compiler.
    """

    data: str = input_path("image_text")
    more: tuple[str, ...] = input_paths("image_text", required=False)
    init: str = input_path("clip_model", required=False)
    start: str = input_path(required=False)
    vision_folder: str = input_path(required=False)
    text_folder: str = input_path(required=False)
    ontology: str = input_path(required=False)
    hub: HubConfig = field(default_factory=HubConfig)
    architecture: str = "clip-vit-192x6-96"
    tag: str = ""
    activation: Literal["auto", "gelu", "quick_gelu"] = "auto"
    context: int = 0
    title: str = "Pathology CLIP"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 64
    micro_batch: int = 0
    micro_batches: Literal["cached", "independent"] = "cached"
    shuffle_window: int = 16384
    positives: Positives = "pair"
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    disease: DiseaseConfig = field(default_factory=DiseaseConfig)
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute: bool = False
    compiled: bool = False
    vision: TowerConfig = field(default_factory=TowerConfig)
    text: TowerConfig = field(default_factory=TowerConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ConfigError(f"epochs must be at least 1 and batch_size at least 2; got {self.epochs} and {self.batch_size}")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed is a whole number from 0; got {self.seed}")
        if self.micro_batch < 0 or self.context < 0 or self.shuffle_window < self.batch_size:
            raise ConfigError(
                f"micro_batch and context are at least 0, shuffle_window at least batch_size; got {self.micro_batch}, {self.context} "
                f"and {self.shuffle_window}"
            )
        if self.tokenizer.kind == "init" and not (self.init or self.start or self.hub.start):
            raise ConfigError("tokenizer.kind is init, but there is no model to start from; add init=PATH")
        starts = [name for name in ("init", "start", "tag") if getattr(self, name)]
        if len(starts) > 1:
            raise ConfigError(f"a run starts from one model; got {' and '.join(starts)}")
