"""Zero-shot classification of slides: prompts against every tile, then the tiles' scores pooled (MI-Zero, CONCH, KEEP).

The vectors must be those of the model whose prompts they meet: projected, of unit length, with the same fingerprint. Anything else is
refused, because it gives scores that look like scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import Inputs
from eosin.config import settings_of
from eosin.errors import ConfigError, InputError
from eosin.eval.encoder_config import SlideZeroShotConfig
from eosin.eval.heat_map import heat_map
from eosin.eval.pooling import OF_COSINES, POOLINGS, Pooling, smoothed, tumour_probability
from eosin.eval.prompts import Wording, read_conch, refuse_one_class, worded, worded_as
from eosin.eval.questions import read_columns
from eosin.eval.slides import SlideFacts, slide_facts
from eosin.eval.tasks.protocol import protocol_facts
from eosin.eval.tasks.zero_shot import class_weights
from eosin.eval.vectors import SlideReader, SlideTiles, benchmark_of, encoder_of, model_of
from eosin.images import decode_image, encode_jpeg, read_image_file
from eosin.labels import find_label_set, load_label_set
from eosin.models.protocols import Embedder
from eosin.models.specs import EmbedderSpec, load_embedder
from eosin.numerics import Floats
from eosin.pipeline import Step, chunked
from eosin.progress import say
from eosin.records import Prediction, Slide
from eosin.retrieval.case_columns import data_url


def zero_shot_slides_step(config: SlideZeroShotConfig, inputs: Inputs) -> tuple[Step, int]:
    """The work as a step, and how many slides it asks.

    Raises:
        InputError: the vectors are not projected, no slide has a label, or a label is none of the classes.
        ConfigError: the prompts do not fit the classes.
    """
    data = inputs.artefacts["data"]
    _refuse_unprojected(data)
    reader = SlideReader(data, config.split)
    slides, left_out = slide_facts(reader, inputs.artefacts.get("slides"), config.split)
    wording = _wording(config, _known_labels(data, inputs.artefacts.get("slides")))
    options = _options(config, wording, slides)
    aggregate, scores = "median" if len(wording.draws) > 1 else "", "logits" if config.pooling in OF_COSINES else "plain"
    rules = protocol_facts(f"{config.pooling} {wording.name} {wording.hash[:8]}", config, aggregate, wording.metric, scores)
    rules["protocol"]["title"] = f"{config.pooling}, {wording.title}"
    facts = {
        "title": "Predictions: zero-shot classification of slides",
        "classes": list(options),
        "questions": {"asked": len(slides), "left_out": left_out},
        **wording.facts(),
        **rules,
    }
    tasks = tuple(chunked("slides", config.split, len(slides), 16))
    plan = Plan("predictions", "eval run", settings_of(config), inputs.refs, tasks, facts)
    folder = inputs.artefacts["model"].path if config.model else inputs.folders["folder"]
    spec = EmbedderSpec(str(folder), device=config.device, batch_size=config.batch_size)
    produce = SlideZeroShot(config, data, tuple(slides), wording, options, spec, inputs.folders.get("overviews"))
    return Step("zero-shot of slides", plan, produce, inputs.paths), len(slides)


def _refuse_unprojected(data: Artefact) -> None:
    if data.plan.facts.get("projected") is False:
        raise InputError(
            f"{data.path}: these vectors were taken before the projection into the space of the text; zero-shot needs projected ones. "
            "Embed the tiles again with the model's own head"
        )


def _known_labels(data: Artefact, slides: Artefact | None) -> set[str]:
    """The labels of all splits: what can be answered does not hang on which slides are asked."""
    told = set(data.classes) | set(slides.classes if slides else ())
    if slides:
        return told | {label for record in slides.records(Slide) if len(record.labels) == 1 for label in record.labels}
    return told | {row["label"] for split in data.manifest["splits"] for row in read_columns(data, split, ["label"]) if row["label"]}


def _wording(config: SlideZeroShotConfig, labels: set[str]) -> Wording:
    if config.prompts.endswith(".json"):
        return read_conch(Path(config.prompts))
    if config.class_names:
        return worded_as(config.prompts, config.class_names)
    if config.labels:
        return worded(config.prompts, find_label_set(config.labels))
    return worded(config.prompts, load_label_set("auto", sorted({*labels, *config.normal})))


def _options(config: SlideZeroShotConfig, wording: Wording, slides: list[SlideFacts]) -> tuple[str, ...]:
    """What can be answered: the classes, or for the tumour ratio `normal` and `tumour`."""
    labels = {str(slide.label) for slide in slides}
    if strange := sorted((labels | set(config.normal)) - set(wording.classes)):
        raise ConfigError(
            f"the slides have the labels {', '.join(sorted(labels))}, normal is {list(config.normal)}, but the classes are "
            f"{', '.join(wording.classes)}: {', '.join(strange)} is none of them"
        )
    refuse_one_class(wording)
    if set(wording.classes) <= set(config.normal):
        raise ConfigError("normal names every class: one at least must be tumour")
    if empty := [name for name in wording.classes if name not in labels]:
        say(f"zero-shot of slides: no slide of {', '.join(empty)}; the model may still answer with it")
    return ("normal", "tumour") if config.pooling == "tumour_ratio" else wording.classes


@dataclass(frozen=True)
class SlideZeroShot:
    """Classifies a task's slides; the model is loaded at the first one."""

    config: SlideZeroShotConfig
    data: Artefact
    slides: tuple[SlideFacts, ...]
    wording: Wording
    options: tuple[str, ...]
    spec: EmbedderSpec
    overviews: Path | None

    @cached_property
    def _embedder(self) -> Embedder:
        """The model, which must be the one that made the vectors.

        Raises:
            InputError: it is another one.
        """
        embedder = load_embedder(self.spec)
        if embedder.fingerprint != encoder_of(self.data):
            raise InputError(
                f"the vectors of {self.data.path} were made by model {encoder_of(self.data)}, the prompts would be embedded by "
                f"{embedder.fingerprint}: they share no space. Name the model that made them, or embed the tiles again"
            )
        return embedder

    @cached_property
    def _weights(self) -> Floats:
        """float32 [draws x classes, dim]"""
        return class_weights(self._embedder, [texts for draw in self.wording.draws for texts in draw.values()])

    @cached_property
    def _reader(self) -> SlideReader:
        return SlideReader(self.data, self.config.split)

    @cached_property
    def _pooling(self) -> Pooling:
        config = self.config
        normal = tuple(self.wording.classes.index(name) for name in config.normal)
        return Pooling(config.k, config.scale, normal, config.threshold)

    def __call__(self, task: Task) -> Iterator[Prediction]:
        """A prediction a slide, in order.

        Raises:
            Unsupported: the model has no text tower.
            InputError: see `_embedder`; or tiles lack the places that smoothing needs.
        """
        weights = self._weights
        for number in range(task.start, task.stop):
            slide = self.slides[number]
            tiles = self._reader.read(slide.name)
            cosines = self._cosines(tiles, weights)
            yield self._prediction(slide, tiles, cosines, pictured=number < self.config.heat_maps)

    def _cosines(self, tiles: SlideTiles, weights: Floats) -> NDArray[np.float64]:
        """float64 [tiles, draws, classes]"""
        if tiles.vectors.shape[1] != weights.shape[1]:
            raise InputError(
                f"slide {tiles.slide}: its vectors have {tiles.vectors.shape[1]} numbers, the prompts' {weights.shape[1]}: these are not "
                "projected vectors of this model"
            )
        cosines = (tiles.vectors @ weights.T).astype(np.float64)
        if self.config.smooth:
            places = tiles.places()
            if places is None:
                raise InputError(f"slide {tiles.slide}: smooth={self.config.smooth} needs x, y and size of every tile in extra")
            cosines = smoothed(cosines, places[:, :2] + places[:, 2:] / 2, self.config.smooth)
        return cosines.reshape(len(cosines), len(self.wording.draws), len(self.wording.classes))

    def _prediction(self, slide: SlideFacts, tiles: SlideTiles, cosines: NDArray[np.float64], *, pictured: bool) -> Prediction:
        pooled = np.stack([POOLINGS[self.config.pooling](cosines[:, draw], self._pooling) for draw in range(cosines.shape[1])])
        draws = pooled.argmax(axis=1)
        scale = self._embedder.logit_scale if self.config.pooling in OF_COSINES else 1.0
        shown = pooled[0] * scale if len(pooled) == 1 else np.bincount(draws, minlength=len(self.options)) / len(draws)
        label = str(slide.label)
        if self.config.pooling == "tumour_ratio":
            label = "normal" if label in self.config.normal else "tumour"
        extra: dict[str, Any] = {"tiles": len(cosines)}
        if len(pooled) > 1:
            extra["draws"] = [int(place) for place in draws]
        if pictured and (picture := self._heat_map(slide, tiles, cosines.mean(axis=1), int(np.argmax(shown)))):
            extra["thumbnail"] = picture
        return Prediction(
            id=f"{slide.source}/{slide.name}",
            source=slide.source,
            licence=slide.licence,
            group=slide.group,
            split=slide.split,
            slide=slide.name,
            extra=extra,
            question=slide.name,
            benchmark=benchmark_of(self.data),
            condition="plain",
            task="zero_shot_slides",
            answer=label,
            options=self.options,
            reply=self.options[int(np.argmax(shown))],
            finish_reason="argmax",
            prompt_hash=self.wording.hash,
            model=model_of(self.data),
            scores=tuple(round(float(value), 9) for value in shown),
            topic=label,
        )

    def _heat_map(self, slide: SlideFacts, tiles: SlideTiles, cosines: NDArray[np.float64], reply: int) -> str | None:
        """Where the answer comes from, as a data URL: P(tumour), or the answered class's cosine; None where tiles have no place."""
        places = tiles.places()
        if places is None:
            say(f"zero-shot of slides: {slide.name}: no heat map, its tiles lack x, y and size in extra")
            return None
        values = tumour_probability(cosines, self._pooling) if self.config.pooling == "tumour_ratio" else cosines[:, reply]
        reach = (places[:, :2] + places[:, 2:]).max(axis=0)
        extent = slide.extent or (float(reach[0]), float(reach[1]))
        picture = heat_map(places, values, self._overview(slide.name), extent, self.config.heat_map_side)
        return data_url(encode_jpeg(picture, quality=85))

    def _overview(self, slide: str) -> NDArray[np.uint8] | None:
        """The slide's overview picture, where the folder holds one."""
        for suffix in (".png", ".jpg") if self.overviews else ():
            path = Path(str(self.overviews)) / f"{Path(slide).name}{suffix}"
            if path.is_file():
                return decode_image(read_image_file(path))
        return None
