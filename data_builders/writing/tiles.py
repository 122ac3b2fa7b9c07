"""`choose_tiles`: of each slide the tiles that are worth a description, from the tiles and their embeddings.

The embedder that made the embeddings reads the prompts and the report too; another one is refused. Vectors are read a block at a time:
what grows with a slide is an id and two numbers for each tile, and the vectors of at most `sample` of them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, RecordTable, Task, open_artefact
from eosin.commands import open_inputs
from eosin.config import input_path, load_recipe, settings_of
from eosin.data_builders.subjects import read_rows, stable_number
from eosin.data_builders.writing.choosing import Order, best_rows, clusters_of, in_turn
from eosin.data_builders.writing.materials import IMAGE_KINDS
from eosin.data_builders.writing.slide_scores import Block, SlideScores, choose, score_slide, vector_blocks
from eosin.errors import ConfigError, InputError
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import Floats
from eosin.pipeline import Resources, Step
from eosin.records import ImageText, LabelledImage, Record, Reject, Slide

_SENTENCE = re.compile(r"(?<=[.;:!?])\s+|\n+")
# A sentence of fewer words ("Colon.") finds everything; CLIP reads no more than 77 tokens of a longer one.
_FEWEST_WORDS, _MOST_SENTENCES = 3, 40


@dataclass(frozen=True)
class RetrievalPrompts:
    """What to look for: `any` on every slide, `organs` on those of an organ.

    Raises:
        ConfigError: there is nothing to look for.
    """

    version: int
    any: tuple[str, ...]
    organs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.any or not all(self.organs.values()):
            raise ConfigError("retrieval prompts: `any` and each organ need a prompt at least")

    def of(self, organ: str) -> tuple[str, ...]:
        """The prompts for a slide of this organ."""
        return (*self.organs.get(organ.casefold(), ()), *self.any)


@dataclass(frozen=True)
class TilesConfig:
    """Which tiles are chosen.

    Attributes:
        images: the tiles, each naming its slide (where it names none, its group counts as one).
        embeddings: of the tiles, by the same ids.
        embedder: the model that made the embeddings; without it nothing is looked for, and clusters alone choose.
        slides: with reports, by the slide's name.
        prompts: what to look for: a file, or a name below `eosin.configs/writing`.
        organ: of all slides, where the tiles do not say.
        by_prompt: tiles a slide by the prompts at most.
        by_report: tiles a slide by the report at most.
        tiles: tiles a slide in all at most.
        clusters: of a slide's tiles; 0 for the square root of their number, no more than 64.
        likeness: the cosine above which a tile counts as there already.
        sample: the most tiles a slide whose vectors are clustered.
        device: for the embedder.
        seed: of the clusters and the sample.
    """

    builder: Literal["choose_tiles"] = "choose_tiles"
    images: str = input_path(*IMAGE_KINDS)
    embeddings: str = input_path("embeddings")
    embedder: str = input_path("clip_model", required=False)
    slides: str = input_path("slides", required=False)
    prompts: str = "retrieval"
    organ: str = ""
    by_prompt: int = 64
    by_report: int = 64
    tiles: int = 256
    clusters: int = 0
    likeness: float = 0.88
    sample: int = 65536
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.by_prompt, self.by_report, self.clusters) < 0 or min(self.tiles, self.sample) < 1:
            raise ConfigError("by_prompt, by_report and clusters cannot be negative; tiles and sample must be at least 1")
        if self.likeness <= 0:
            raise ConfigError(f"likeness is {self.likeness}; a cosine above 0 is wanted, 1 to keep all")


def tiles_steps(config: TilesConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder: an `image_text` artefact, whose records have no captions yet.

    Raises:
        ConfigError, InputError, ArtefactError: an input or the prompts do not fit.
    """
    inputs = open_inputs(config)
    images, embeddings = inputs.artefacts["images"], inputs.artefacts["embeddings"]
    prompts = load_recipe(RetrievalPrompts, config.prompts if config.prompts.endswith((".yaml", ".yml")) else f"writing/{config.prompts}")
    places, pictures = slide_places(embeddings), slide_places(images)
    missing = sorted(places.keys() - pictures.keys())
    if missing:
        raise InputError(
            f"{images.path} has no tiles of the slide {missing[0][0]} in the split {missing[0][1]} ({len(missing)} such slides): "
            "the embeddings are of other tiles"
        )
    tasks = tuple(Task(name, start, stop, split) for (name, split), (start, stop) in places.items())
    settings = {key: value for key, value in settings_of(config).items() if key not in ("builder", "prompts", "device")}
    settings["retrieval"] = settings_of(prompts)
    facts = {key: images.plan.facts[key] for key in ("classes", "label_set") if key in images.plan.facts}
    facts["title"] = f"{images.plan.facts.get('title', 'tiles')}: chosen for description"
    slides = inputs.artefacts.get("slides")
    produce = ChooseTiles(images, embeddings, pictures, config, prompts, slides, _reports(slides))
    embedder = inputs.artefacts.get("embedder")
    if embedder is not None:
        produce = dataclasses.replace(produce, spec=EmbedderSpec(str(embedder.path), device=config.device))
    results = functools.partial(_results, sum(embeddings.manifest["splits"].values()), len(tasks))
    plan = Plan("image_text", "build", settings, inputs.refs, tasks, facts)
    yield Step("image_text", plan, produce, inputs.paths, results, Resources(model=embedder is not None))


def _results(tiles: int, slides: int) -> dict[str, int]:
    return {"tiles_considered": tiles, "slides": slides}


def slide_places(artefact: Artefact) -> dict[tuple[str, str], tuple[int, int]]:
    """(slide, split) -> the first of its rows within the split and the one behind its last, in order of first rows."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for split, count in artefact.manifest["splits"].items():
        for number, row in enumerate(read_rows(artefact, split, 0, count, ["slide", "group"])):
            key = (row["slide"] or row["group"], split)
            found[key] = (found.get(key, (number, 0))[0], number + 1)
    return found


def _reports(slides: Artefact | None) -> dict[str, int]:
    """Slide name -> its row in the `slides` artefact; a report that came without its slide goes by the patient."""
    if slides is None:
        return {}
    table = RecordTable(slides, Slide, None, ["id", "source", "licence", "group", "slide", "path", "width", "height"], cached_groups=1)
    return {table[row].slide or Path(table[row].path).stem or table[row].group: row for row in range(len(table))}


@dataclass(frozen=True)
class ChooseTiles:
    """Chooses the tiles of a task's slide; picklable."""

    images: Artefact
    embeddings: Artefact
    pictures: Mapping[tuple[str, str], tuple[int, int]]
    config: TilesConfig
    prompts: RetrievalPrompts
    slides: Artefact | None = None
    reports: Mapping[str, int] = field(default_factory=dict)
    spec: EmbedderSpec | None = None

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The chosen tiles, best first, then rejects for those that are there already."""
        rows, organ, patient = self._picture_rows(task)
        report = self._report(task.source) or self._report(patient)
        looked_for = self.prompts.of(organ)
        scores = self._scores(task, looked_for, report)
        chosen, twins = choose(scores, self._vectors(task), self._order, self.config.likeness, self.config.tiles)
        table = _table(self.images, task.split)
        for rank, tile in enumerate(chosen):
            name = scores.ids[tile.row]
            if name not in rows:
                yield Reject(name, "no_image", f"{self.images.path} holds no tile of this id on the slide {task.source}")
                continue
            found = {"by": tile.by, "score": round(tile.score, 4), "rank": rank}
            if tile.by == "prompt" and scores.which is not None:
                found["prompt"] = looked_for[int(scores.which[tile.row])]
            yield _record(table[rows[name]], found, report, organ)
        for twin in twins:
            yield Reject(scores.ids[twin.row], "near_duplicate", f"cosine {twin.likeness:.3f} to {scores.ids[twin.of]}, which was chosen")

    def _vectors(self, task: Task) -> Callable[[], Iterator[Block]]:
        return functools.partial(vector_blocks, self.embeddings, task)

    def _scores(self, task: Task, looked_for: Sequence[str], report: str) -> SlideScores:
        prompts = sentences = None
        if self.spec is not None:
            embedder = _embedder(self.spec, str(self.embeddings.plan.facts.get("fingerprint", "")))
            prompts = embedder.embed_texts(looked_for) if self.config.by_prompt else None
            told = sentences_of(report)
            sentences = embedder.embed_texts(told) if told and self.config.by_report else None
        return score_slide(self._vectors(task), prompts, sentences)

    def _order(self, scores: SlideScores, vectors: Callable[[Sequence[int]], Floats]) -> Order:
        """What is chosen first: by the prompts, by the report, then from the clusters in turn."""
        config, order = self.config, list[tuple[int, str, float]]()
        if scores.prompt is not None:
            order += [(row, "prompt", float(scores.prompt[row])) for row in best_rows(scores.prompt, config.by_prompt)]
        if scores.report is not None:
            order += [(row, "report", float(scores.report[row])) for row in best_rows(scores.report, config.by_report)]
        sample = self._sample(scores.ids)
        count = config.clusters or min(64, max(1, round(len(sample) ** 0.5)))
        clusters, nearness = clusters_of(vectors(sample), count, config.seed)
        return order + [(sample[place], "cluster", float(nearness[place])) for place in in_turn(clusters, nearness)]

    def _sample(self, ids: Sequence[str]) -> list[int]:
        if len(ids) <= self.config.sample:
            return list(range(len(ids)))
        drawn = sorted(range(len(ids)), key=lambda row: stable_number(self.config.seed, "sample", ids[row]))
        return sorted(drawn[: self.config.sample])

    def _picture_rows(self, task: Task) -> tuple[dict[str, int], str, str]:
        """Tile id -> its row among the pictures, and the slide's organ and patient."""
        start, stop = self.pictures[task.source, task.split]
        columns = ["id", "slide", "group", *(["organ"] if self.images.kind == "image_text" else [])]
        rows, organ, patient = {}, self.config.organ, ""
        for number, row in enumerate(read_rows(self.images, task.split, start, stop, columns), start):
            if (row["slide"] or row["group"]) == task.source:
                rows[row["id"]], patient = number, row["group"]
                organ = organ or row.get("organ") or ""
        return rows, organ, patient

    def _report(self, name: str) -> str:
        if self.slides is None or name not in self.reports:
            return ""
        columns = ["id", "source", "licence", "group", "path", "width", "height", "report"]
        return RecordTable(self.slides, Slide, None, columns, cached_groups=1)[self.reports[name]].report or ""


def sentences_of(report: str) -> list[str]:
    """The sentences of a report that can be looked for."""
    found = [" ".join(sentence.split()) for sentence in _SENTENCE.split(report)]
    return [sentence for sentence in found if len(sentence.split()) >= _FEWEST_WORDS][:_MOST_SENTENCES]


@functools.lru_cache(maxsize=1)
def _embedder(spec: EmbedderSpec, fingerprint: str) -> Embedder:
    """Loaded once a process.

    Raises:
        ConfigError: it did not make the embeddings, or reads no text.
    """
    embedder = load_embedder(spec)
    if embedder.fingerprint != fingerprint:
        raise ConfigError(f"{spec.path} did not make the embeddings: its fingerprint is {embedder.fingerprint}, theirs is {fingerprint}")
    if "text" not in embedder.supports:
        raise ConfigError(f"{spec.path} reads no text; leave embedder out, and clusters alone choose")
    return embedder


@functools.lru_cache(maxsize=4)
def _open_table(folder: str, split: str) -> RecordTable[ImageText] | RecordTable[LabelledImage]:
    artefact = open_artefact(folder)
    if artefact.kind == "image_text":
        return RecordTable(artefact, ImageText, split, cached_groups=4)
    return RecordTable(artefact, LabelledImage, split, cached_groups=4)


def _table(images: Artefact, split: str) -> RecordTable[ImageText] | RecordTable[LabelledImage]:
    return _open_table(str(images.path.absolute()), split)


def _record(tile: ImageText | LabelledImage, found: dict[str, Any], report: str, organ: str) -> ImageText:
    extra = {**tile.extra, "chosen": found}
    if report:
        extra["report"] = report
    if isinstance(tile, ImageText):
        return dataclasses.replace(tile, extra=extra, organ=tile.organ or organ or None)
    if tile.label:
        extra["label"] = tile.label
    names = ("id", "source", "licence", "group", "split", "slide", "mpp", "provenance")
    return ImageText(**{name: getattr(tile, name) for name in names}, extra=extra, image=tile.image, captions=(), organ=organ or None)
