"""The recipes of `eosin eval run` (one class a task) and `eosin eval score`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eosin.config import input_path, input_paths
from eosin.errors import ConfigError
from eosin.eval.tasks.names import Condition, Corruption
from eosin.models.protocols import Sampling
from eosin.records import SPLITS, TASKS


def check_split(split: str, **counts: int | None) -> None:
    """Refuse a split that is none, and counts below 1."""
    if split not in SPLITS:
        raise ConfigError(f"split: got {split!r}; allowed: {', '.join(SPLITS)}")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ConfigError(f"{name} must be 1 or more; got {count}")


# What every library that draws here takes.
_SEEDS = 2**32


def check_seed(seed: int) -> None:
    """Refuse what no generator starts from."""
    if not 0 <= seed < _SEEDS:
        raise ConfigError(f"seed must be from 0 to {_SEEDS - 1}; got {seed}")


def check_model(task: str, **places: object) -> None:
    """Refuse no model and more than one."""
    if sum(map(bool, places.values())) != 1:
        shown = {"model": "model=ARTEFACT", "folder": "folder=DIR", "endpoint": "endpoint (url and model)"}
        raise ConfigError(f"{task} needs one of {', '.join(shown[place] for place in places)}; got {sum(map(bool, places.values()))}")


def _check_tasks(tasks: tuple[str, ...]) -> None:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ConfigError(f"tasks: got {', '.join(unknown) or 'none'}; allowed: {', '.join(TASKS)}")


@dataclass(frozen=True)
class ZeroShotConfig:
    """Zero-shot classification by prompts (Radford et al. 2021).

    Attributes:
        task: `zero_shot`.
        name: what reports call the model.
        model: a `clip_model` artefact.
        folder: or any Hugging Face CLIPModel folder.
        data: the labelled images.
        split: which of them.
        labels: a label set by name or file; empty takes the one that the data carry.
        class_names: or a protocol's class set, as PROTOCOL/SET: `conch/nct_crc`; images of labels that it leaves out are not asked.
        rename: label in the records -> label in the class set, where they differ.
        prompts: the protocol, by name below `eosin.configs` or as a file; a `.json` file is one of CONCH's, with class names of its own.
        condition: `plain`, or `blind` with a black image of the same size.
        corruptions: ask every image again under each of these, see `eosin.eval.corruptions`.
        severities: how strongly, from 1 to 5.
        colour_reference: a training artefact: ask every image again under the condition `colour_matched`, with the mean and deviation of
            each channel made those of this artefact's mean image, so that a class's colour is no help.
        reference_split: which of its images.
        domain: `source`, `slide`, or a key of `extra`, such as `scanner`: what in-domain and out-of-domain images differ by.
        in_domain: its values that count as in-domain; all others are out of it.
        limit: at most so many images, spread over groups.
        pictures: how many questions keep a small picture for reports.
        shard_size: questions a shard: what a killed run loses at most.
        batch_size: images a forward pass.
        device: `auto` takes a GPU where there is one.
        seed: of the choice under `limit`.
    """

    task: Literal["zero_shot"]
    name: str = ""
    model: str = input_path("clip_model", required=False)
    folder: str = input_path(required=False)
    data: str = input_path("labelled_images")
    split: str = "test"
    labels: str = ""
    class_names: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    prompts: str = "prompts/histology"
    condition: Literal["plain", "blind"] = "plain"
    corruptions: tuple[Corruption, ...] = ()
    severities: tuple[int, ...] = (1, 3, 5)
    colour_reference: str = input_path("labelled_images", "image_text", required=False)
    reference_split: str = "train"
    domain: str = ""
    in_domain: tuple[str, ...] = ()
    limit: int | None = None
    pictures: int = 60
    shard_size: int = 512
    batch_size: int = 64
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split, limit=self.limit, shard_size=self.shard_size, batch_size=self.batch_size)
        check_split(self.reference_split)
        check_model(self.task, model=self.model, folder=self.folder)
        named = [name for name in (self.labels, self.class_names, self.prompts if self.prompts.endswith(".json") else "") if name]
        if len(named) > 1:
            raise ConfigError(f"labels, class_names and a .json file of prompts each name the classes: keep one of {', '.join(named)}")
        if self.corruptions and (self.condition != "plain" or any(not 1 <= severity <= 5 for severity in self.severities)):
            raise ConfigError(f"corruptions go with condition plain and severities from 1 to 5; got {self.condition}, {self.severities}")
        if self.colour_reference and self.condition != "plain":
            raise ConfigError(f"colour_reference goes with condition plain; got {self.condition}")
        if bool(self.domain) != bool(self.in_domain):
            raise ConfigError("domain and in_domain go together: domain=scanner 'in_domain=[A,B]'")


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Attributes:
        model: the name of the model there.
        url: the server's base, such as http://127.0.0.1:8000/v1.
        api_key_env: the environment variable that holds the key.
        timeout: seconds for one request.
    """

    model: str
    url: str
    api_key_env: str | None = None
    timeout: float = 300.0


@dataclass(frozen=True)
class VqaConfig:
    """Questions from conversations, put to a chat model.

    Attributes:
        task: `vqa`.
        name: what reports call the model.
        model: an `llm_model` artefact.
        folder: or any Hugging Face image-text-to-text folder.
        endpoint: or a server.
        data: the conversations.
        index: for `evidence`: the archive of cases.
        embedder: for `evidence`: the model that made its vectors.
        split: which conversations.
        tasks: which kinds of question.
        limit_per_task: at most so many questions of each kind, spread over groups.
        condition: `plain`; `blind`: black images of the same sizes; `no_image`: the text alone; `evidence`: similar cases before
            the question.
        evidence_k: how many cases.
        instructions: task -> a sentence after the question, for models that were not trained on its form of answer.
        sampling: greedy unless said otherwise.
        pictures: how many questions keep a small picture for reports.
        shard_size: questions a shard: what a killed run loses at most.
        batch_size: questions answered together.
        device: `auto` takes a GPU where there is one.
        dtype: of the weights.
        seed: of the choice under `limit_per_task`.
    """

    task: Literal["vqa"]
    name: str = ""
    model: str = input_path("llm_model", required=False)
    folder: str = input_path(required=False)
    endpoint: Endpoint | None = None
    data: str = input_path("conversations")
    index: str = input_path("index", required=False)
    embedder: str = input_path("clip_model", required=False)
    split: str = "test"
    tasks: tuple[str, ...] = ("closed", "open", "mcq", "grounding")
    limit_per_task: int | None = None
    condition: Condition = "plain"
    evidence_k: int = 4
    instructions: dict[str, str] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=64))
    pictures: int = 60
    shard_size: int = 128
    batch_size: int = 16
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"limit_per_task": self.limit_per_task, "evidence_k": self.evidence_k}
        check_split(self.split, **counts, shard_size=self.shard_size, batch_size=self.batch_size)
        _check_tasks(self.tasks)
        if self.instructions:
            _check_tasks(tuple(self.instructions))
        check_model(self.task, model=self.model, folder=self.folder, endpoint=self.endpoint)
        if self.condition == "evidence" and not (self.index and self.embedder):
            raise ConfigError("condition evidence needs index=ARTEFACT and embedder=ARTEFACT")


@dataclass(frozen=True)
class ColourConfig:
    """The colour baseline: what mean and spread of R, G and B alone can answer.

    Attributes:
        task: `colour_baseline`.
        name: what reports call it.
        data: labelled images, for the classes.
        conversations: questions, each form answered on its own.
        colour_reference: ask every labelled image again under the condition `colour_matched`, as in `ZeroShotConfig`.
        reference_split: which of its images.
        train_split: what it learns from.
        split: what it is asked.
        tasks: which kinds of question.
        limit_per_task: as for the model it stands beside.
        shard_size: questions a shard.
        seed: of the choice under `limit_per_task`.
    """

    task: Literal["colour_baseline"]
    name: str = "colour baseline"
    data: str = input_path("labelled_images", required=False)
    conversations: str = input_path("conversations", required=False)
    colour_reference: str = input_path("labelled_images", "image_text", required=False)
    reference_split: str = "train"
    train_split: str = "train"
    split: str = "test"
    tasks: tuple[str, ...] = ("closed", "open", "mcq")
    limit_per_task: int | None = None
    shard_size: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split, limit_per_task=self.limit_per_task, shard_size=self.shard_size)
        check_split(self.train_split)
        check_split(self.reference_split)
        if self.colour_reference and not self.data:
            raise ConfigError("colour_reference matches the colours of labelled images: name data=ARTEFACT")
        _check_tasks(self.tasks)
        if not (self.data or self.conversations):
            raise ConfigError("colour_baseline needs data=ARTEFACT (labelled images), conversations=ARTEFACT, or both")
        if self.split == self.train_split:
            raise ConfigError(f"split and train_split are both {self.split!r}: it would be asked what it learnt from")


@dataclass(frozen=True)
class ScoreConfig:
    """How predictions are scored.

    Attributes:
        predictions: what is scored, together.
        title: of the report.
        resamples: draws of the bootstrap.
        confidence: of the intervals.
        seed: of the draws.
        examples: right and wrong answers shown with their picture, of each kind a run.
    """

    predictions: tuple[str, ...] = input_paths("predictions")
    title: str = "Evaluation"
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    examples: int = 4

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.resamples < 100 or not 0.5 <= self.confidence < 1.0 or self.examples < 0:
            raise ConfigError(
                "resamples must be at least 100, confidence from 0.5 to below 1, examples 0 or more; "
                f"got {self.resamples}, {self.confidence}, {self.examples}"
            )


@dataclass(frozen=True)
class LeaderboardConfig:
    """How runs are ranked.

    Attributes:
        predictions: the runs.
        title: of the page.
        resamples: draws of the bootstrap.
        confidence: of intervals and tests.
        seed: of the draws.
        separate: a ranking for each protocol in place of an error.
    """

    predictions: tuple[str, ...] = input_paths("predictions")
    title: str = "Leaderboard"
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    separate: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.resamples < 100 or not 0.5 <= self.confidence < 1.0:
            raise ConfigError(f"resamples must be at least 100, confidence from 0.5 to below 1; got {self.resamples}, {self.confidence}")
