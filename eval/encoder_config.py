"""The recipes of `eosin eval run` that measure encoders by retrieval, probes and slides, and of `eosin eval leaderboard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eosin.config import input_path
from eosin.errors import ConfigError
from eosin.eval.config import check_model, check_seed, check_split


@dataclass(frozen=True)
class RetrievalConfig:
    """Cross-modal retrieval: the caption of an image and the image of a caption, among all of the split.

    Attributes:
        task: `retrieval`.
        name: what reports call the model.
        model: a `clip_model` artefact.
        folder: or any Hugging Face CLIPModel folder.
        data: the pairs; equal images and equal captions are one candidate, every pairing of which is right.
        split: which of them.
        limit: at most so many records, spread over groups; recall falls with the number of candidates.
        shard_size: questions a shard.
        batch_size: images or texts a forward pass.
        device: `auto` takes a GPU where there is one.
        seed: of the choice under `limit`.
    """

    task: Literal["retrieval"]
    name: str = ""
    model: str = input_path("clip_model", required=False)
    folder: str = input_path(required=False)
    data: str = input_path("image_text")
    split: str = "test"
    limit: int | None = None
    shard_size: int = 2048
    batch_size: int = 64
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split, limit=self.limit, shard_size=self.shard_size, batch_size=self.batch_size)
        check_model(self.task, model=self.model, folder=self.folder)


@dataclass(frozen=True)
class ProbeConfig:
    """A classifier on frozen vectors: logistic regression, nearest neighbours or SimpleShot.

    Attributes:
        task: `probe`.
        name: what reports call the encoder.
        data: embeddings of labelled images.
        method: `logistic` (scikit-learn, lbfgs), `knn` (cosine, majority vote), `simpleshot` (Wang et al. 2019: centred,
            nearest class mean).
        train_split: what it learns from.
        val_split: what `costs` is chosen on; empty only where there is one cost.
        split: what it is asked.
        costs: scikit-learn's C, of which the best on the validation split is taken; of equal ones the smallest.
        neighbours: of `knn`.
        shots: images of each class to learn from; 0 for all.
        seeds: draws of the shots; scores are the mean over them.
        shard_size: questions a shard.
        seed: of the first draw.
    """

    task: Literal["probe"]
    name: str = ""
    data: str = input_path("embeddings")
    method: Literal["logistic", "knn", "simpleshot"] = "logistic"
    train_split: str = "train"
    val_split: str = "val"
    split: str = "test"
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
    neighbours: int = 20
    shots: int = 0
    seeds: int = 10
    shard_size: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_split(self.split, neighbours=self.neighbours, seeds=self.seeds, shard_size=self.shard_size)
        check_apart(self.train_split, self.val_split, self.split)
        check_costs(self.costs, self.val_split if self.method == "logistic" else "unused")
        if self.shots < 0:
            raise ConfigError(f"shots must be 0 (all) or more; got {self.shots}")


def check_apart(train: str, val: str, test: str) -> None:
    """Refuse splits that are none, or one split in two parts."""
    check_split(train)
    if val:
        check_split(val)
    if len({train, val, test}) < 3:
        raise ConfigError(f"train_split, val_split and split must differ; got {train!r}, {val!r}, {test!r}")


def check_costs(costs: tuple[float, ...], val_split: str) -> None:
    """Refuse costs that are none, and a choice that nothing decides."""
    if not costs or any(cost <= 0 for cost in costs):
        raise ConfigError(f"costs must be positive numbers, one at least; got {costs}")
    if len(costs) > 1 and not val_split:
        raise ConfigError(f"one of {len(costs)} costs is chosen on the validation split: name val_split, or give one cost")


@dataclass(frozen=True)
class SlideZeroShotConfig:
    """Zero-shot classification of whole slides from their tiles' vectors.

    Attributes:
        task: `zero_shot_slides`.
        name: what reports call the model.
        model: the `clip_model` artefact that made the vectors; another one's are refused.
        folder: or the Hugging Face CLIPModel folder.
        data: embeddings of tiles: `slide`, and `x`, `y` and `size` at level 0 in `extra` for heat maps and smoothing.
        slides: the slides with their labels, size and group; without them a slide has the label that all its tiles carry.
        overviews: a folder of overview pictures, named SLIDE.png or SLIDE.jpg, for heat maps.
        split: which tiles.
        labels: a label set by name or file.
        class_names: or a protocol's class set, as PROTOCOL/SET.
        prompts: the protocol.
        pooling: `topk_mean` (CONCH), `topk_sum` (MI-Zero), `mean`, `class_share` (KEEP, subtypes) or `tumour_ratio` (KEEP, detection).
        k: tiles that `topk_*` pools, for each class its own.
        scale: what cosines are multiplied with before the softmax of the shares; KEEP's 10.
        normal: classes that are no tumour: the other side of `tumour_ratio`, and never the answer of `class_share`.
        threshold: the tumour ratio above which a slide counts as tumour.
        smooth: nearest tiles over which scores are averaged first; 0 for none; MI-Zero's 8.
        heat_maps: so many slides keep a heat map.
        heat_map_side: its longer side in pixels.
        batch_size: texts a forward pass.
        device: `auto` takes a GPU where there is one.
    """

    task: Literal["zero_shot_slides"]
    name: str = ""
    model: str = input_path("clip_model", required=False)
    folder: str = input_path(required=False)
    data: str = input_path("embeddings")
    slides: str = input_path("slides", required=False)
    overviews: str = input_path(required=False)
    split: str = "test"
    labels: str = ""
    class_names: str = ""
    prompts: str = "prompts/conch"
    pooling: Literal["topk_mean", "topk_sum", "mean", "class_share", "tumour_ratio"] = "topk_mean"
    k: int = 50
    scale: float = 10.0
    normal: tuple[str, ...] = ()
    threshold: float = 0.5
    smooth: int = 0
    heat_maps: int = 20
    heat_map_side: int = 512
    batch_size: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        check_split(self.split, k=self.k, batch_size=self.batch_size, heat_map_side=self.heat_map_side)
        check_model(self.task, model=self.model, folder=self.folder)
        if self.pooling == "tumour_ratio" and not self.normal:
            raise ConfigError("pooling=tumour_ratio needs normal=[CLASS, ...]: which classes are no tumour")
        if self.labels and self.class_names:
            raise ConfigError(f"labels and class_names each name the classes: keep one of {self.labels}, {self.class_names}")
        if self.smooth < 0 or self.heat_maps < 0 or self.scale <= 0 or not 0 <= self.threshold < 1:
            raise ConfigError("smooth and heat_maps are 0 or more, scale is above 0, threshold from 0 to below 1")


@dataclass(frozen=True)
class SlideProbeConfig:
    """A slide's class or survival learnt from its tiles' frozen vectors.

    Attributes:
        task: `slide_probe`.
        name: what reports call the encoder.
        data: embeddings of tiles, with their `slide`.
        slides: the slides: group, split, label; for survival `time` and `event` in `extra`.
        target: `label`, or `survival` (Cox's partial likelihood, scored by the concordance index).
        pooling: `mean`, `prototypes` (shares and means over k-means clusters), `attention` (gated attention MIL, Ilse et al. 2018).
        train_split: slides it learns from.
        val_split: slides on which the cost, or the epoch of attention, is chosen.
        split: slides it is asked.
        tiles: at most so many tiles of a slide, drawn by seed.
        prototypes: clusters.
        costs: inverse strengths of the penalty.
        hidden: width of the attention.
        epochs: of attention, at most.
        learning_rate: of attention.
        seed: of tiles, clusters and weights.
    """

    task: Literal["slide_probe"]
    name: str = ""
    data: str = input_path("embeddings")
    slides: str = input_path("slides")
    target: Literal["label", "survival"] = "label"
    pooling: Literal["mean", "prototypes", "attention"] = "mean"
    train_split: str = "train"
    val_split: str = "val"
    split: str = "test"
    tiles: int = 4096
    prototypes: int = 16
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
    hidden: int = 128
    epochs: int = 30
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_split(self.split, tiles=self.tiles, prototypes=self.prototypes, hidden=self.hidden, epochs=self.epochs)
        check_apart(self.train_split, self.val_split, self.split)
        check_costs(self.costs, self.val_split)
        if self.pooling == "attention" and not self.val_split:
            raise ConfigError("attention stops at the best epoch on the validation split: name val_split")
