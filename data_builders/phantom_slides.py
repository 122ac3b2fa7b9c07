"""Phantom slides as an artefact: the TIFF files lie in its `files/`, report and region truth in its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eosin.artefacts import Plan, Task
from eosin.artefacts.files import replacing
from eosin.config import settings_of
from eosin.data_builders.phantoms import SCANNERS, TISSUES, SlideSpec, SlideTruth, render_slide
from eosin.data_builders.subjects import stable_number
from eosin.errors import ConfigError
from eosin.labels import LabelSet
from eosin.pipeline import Step
from eosin.records import SPLITS, Slide


@dataclass(frozen=True)
class SlidesConfig:
    """Whole slides to draw.

    Attributes:
        count: how many; 0 for none.
        width: in pixels of level 0.
        height: in pixels of level 0.
        mpp: microns per pixel of level 0.
        split: which all of them are in; their patients are in no other.
        tissues: laid out on each; empty for all but background.
    """

    count: int = 1
    width: int = 2048
    height: int = 2048
    mpp: float = 0.5
    split: str = "test"
    tissues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"the slides' split is {self.split!r}; allowed: {', '.join(SPLITS)}")


def slides_step(name: str, config: SlidesConfig, seed: int, labels: LabelSet, folder: Path) -> Step:
    """`slides`, one task a slide.

    Args:
        name: of the step.
        config: what to draw.
        seed: decides everything.
        labels: the tissues in words, for the reports.
        folder: the artefact's, for the files.
    """
    tissues = config.tissues or tuple(tissue for tissue in TISSUES if tissue != "BACK")
    words = {label: labels.classes[label].answer if label in labels.classes else TISSUES[label] for label in tissues}
    tasks = tuple(Task("slides", number, number + 1, config.split) for number in range(config.count))
    settings = {"seed": seed, **settings_of(config), "words": words}
    plan = Plan("slides", "build", settings, (), tasks, {"title": f"{labels.title}: slides", "classes": list(tissues)})
    return Step(name, plan, DrawSlides(config, seed, words, str(folder)))


@dataclass(frozen=True)
class DrawSlides:
    """Draws a task's slides into the artefact's `files/`; picklable."""

    config: SlidesConfig
    seed: int
    words: Mapping[str, str]
    folder: str

    def __call__(self, task: Task) -> Iterator[Slide]:
        """The slides' records; each file is whole before its record is made."""
        for number in range(task.start, task.stop):
            patient = f"W{number:03d}"
            path = f"files/{patient}-S0.tiff"
            spec = SlideSpec(
                seed=stable_number(self.seed, "slides", number),
                patient=patient,
                slide=f"{patient}-S0",
                scanner=list(SCANNERS)[number % len(SCANNERS)],
                width=self.config.width,
                height=self.config.height,
                mpp=self.config.mpp,
                tissues=tuple(self.words),
            )
            with replacing(Path(self.folder) / path) as temporary:
                truth = render_slide(spec, temporary)
            yield self._record(spec, truth, path)

    def _record(self, spec: SlideSpec, truth: SlideTruth, path: str) -> Slide:
        known = truth.to_json()
        kept = ("scanner", "region_cell_px", "regions", "attributes", "facts", "levels")
        return Slide(
            id=f"phantoms/{spec.slide}",
            source="phantoms",
            licence="CC0-1.0",
            group=spec.patient,
            split=self.config.split,
            slide=spec.slide,
            mpp=spec.mpp,
            path=path,
            case=spec.patient,
            width=spec.width,
            height=spec.height,
            labels=spec.tissues,
            report=slide_report(truth, self.words),
            extra={key: known[key] for key in kept},
        )


def slide_report(truth: SlideTruth, words: Mapping[str, str]) -> str:
    """A synoptic report of what was drawn: one line an entry, tissues by their share."""
    facts = dict(truth.facts)
    shares = {label: float(facts.pop(f"{label.lower()}_percent", 0.0)) for label in TISSUES}
    lines = ["Specimen: synthetic colorectal tissue, H&E"]
    lines += [f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in facts.items()]
    present = sorted(
        ((share, words[label]) for label, share in shares.items() if share and label in words), key=lambda item: (-item[0], item[1])
    )
    return "\n".join([*lines, "Composition: " + ", ".join(f"{name} {share:g} %" for share, name in present)])
