"""`phantoms`: a teaching set of synthetic H&E with known truth: labelled tiles, image-text pairs, conversations and slides.

Patients, and with them stains, never cross splits; a recipe can keep scanners apart as well. What was drawn lies in the records:
class, boxes, mask, and in `extra` attributes, counts, scanner and the tile's own seed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.config import settings_of
from eosin.data_builders.phantom_slides import SlidesConfig, slides_step
from eosin.data_builders.phantoms import SCANNERS, TISSUES, Tile, TileSpec, TileTruth, render_tile
from eosin.data_builders.subjects import stable_number
from eosin.data_builders.teaching import TeachingConfig, conversations_step, pairs_step, vocabulary_of
from eosin.errors import ConfigError
from eosin.images import encode_jpeg, encode_png
from eosin.labels import load_label_set
from eosin.pipeline import Step, chunked
from eosin.records import SPLITS, Box, LabelledImage

SOURCE = "phantoms"
# What nobody drew from life needs no one's leave.
LICENCE = "CC0-1.0"
TILES_A_SHARD = 128


@dataclass(frozen=True)
class Cohort:
    """The patients of one split.

    Attributes:
        patients: how many.
        tiles: of each class, from each patient.
        scanners: their slides' scanners, taken in turn; empty for all.
    """

    patients: int
    tiles: int
    scanners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.scanners if name not in SCANNERS]
        if unknown:
            raise ConfigError(f"there is no scanner {', '.join(unknown)}; there are {', '.join(SCANNERS)}")
        if self.patients < 1 or self.tiles < 1:
            raise ConfigError(f"a split needs a patient and a tile of each class at least; got {self.patients} and {self.tiles}")


@dataclass(frozen=True)
class PhantomsConfig:
    """What to draw.

    Attributes:
        seed: decides everything.
        size: of a tile, in pixels.
        mpp: microns per pixel.
        encoding: `jpeg` (small and fast) or `png` (every pixel as drawn).
        splits: split -> its patients.
        classes: of the nine tissues; empty for all.
        labels: the label set.
        slides: whole slides.
        teaching: captions and conversations.
    """

    builder: Literal["phantoms"] = "phantoms"
    seed: int = 0
    size: int = 224
    mpp: float = 0.5
    encoding: Literal["jpeg", "png"] = "jpeg"
    splits: dict[str, Cohort] = field(default_factory=lambda: {"train": Cohort(16, 17), "val": Cohort(4, 8), "test": Cohort(10, 10)})
    classes: tuple[str, ...] = ()
    labels: str = "phantoms"
    slides: SlidesConfig = field(default_factory=SlidesConfig)
    teaching: TeachingConfig = field(default_factory=lambda: TeachingConfig(phrasing="phantoms", stain="H&E"))

    def __post_init__(self) -> None:
        wrong = [name for name in self.splits if name not in SPLITS]
        if wrong or not self.splits:
            raise ConfigError(f"splits names {', '.join(wrong) or 'nothing'}; allowed: {', '.join(SPLITS)}")
        unknown = [name for name in self.classes if name not in TISSUES]
        if unknown:
            raise ConfigError(f"there is no tissue {', '.join(unknown)}; there are {', '.join(TISSUES)}")

    @property
    def tissues(self) -> tuple[str, ...]:
        """The classes to draw."""
        return self.classes or tuple(TISSUES)


def phantoms_steps(config: PhantomsConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The steps of this builder; each finished artefact is sent back in.

    Raises:
        ConfigError: the label set or the phrasing does not fit.
    """
    labels = load_label_set(config.labels, config.tissues)
    vocabulary = vocabulary_of(config.teaching, labels)
    kept = ("seed", "size", "mpp", "encoding", "splits", "classes")
    settings = {key: value for key, value in settings_of(config).items() if key in kept}
    tasks = [task for split in SPLITS for task in chunked("tiles", split, tile_count(config, split), TILES_A_SHARD)]
    facts = {"title": labels.title, "classes": list(config.tissues), "label_set": settings_of(labels), "limits": _LIMITS}
    images = yield Step("labelled_images", Plan("labelled_images", "build", settings, (), tuple(tasks), facts), DrawTiles(config))
    yield pairs_step("image_text", images, vocabulary, config.teaching)
    yield conversations_step("conversations", images, vocabulary, config.teaching)
    if config.slides.count:
        yield slides_step("slides", config.slides, config.seed, labels, out / "slides")


_LIMITS = "Drawn by a program: right for testing and teaching the software, worth nothing as evidence about real tissue."


def tile_count(config: PhantomsConfig, split: str) -> int:
    """How many tiles a split has."""
    cohort = config.splits.get(split)
    return cohort.patients * cohort.tiles * len(config.tissues) if cohort else 0


@dataclass(frozen=True)
class DrawTiles:
    """Draws a task's tiles; picklable."""

    config: PhantomsConfig

    def __call__(self, task: Task) -> Iterator[LabelledImage]:
        """The tiles in their order: classes in turn, then patients, so that every block has all of both."""
        for number in range(task.start, task.stop):
            name, spec = tile_spec(self.config, task.split, number)
            yield self._record(name, task.split, render_tile(spec))

    def _record(self, name: str, split: str, tile: Tile) -> LabelledImage:
        truth = tile.truth
        return LabelledImage(
            id=f"{SOURCE}/{name}",
            source=SOURCE,
            licence=LICENCE,
            group=truth.patient,
            split=split,
            slide=truth.slide,
            mpp=truth.mpp,
            image=encode_png(tile.image) if self.config.encoding == "png" else encode_jpeg(tile.image, quality=92),
            label=truth.tissue,
            boxes=tuple(Box(box.x0, box.y0, box.x1, box.y1, box.label) for box in truth.boxes),
            mask=encode_png(tile.mask),
            extra=_truth(truth),
        )


def _truth(truth: TileTruth) -> dict[str, object]:
    """What no column holds."""
    return {
        "attributes": dict(truth.attributes),
        "counts": {name: count for name, count in truth.counts.items() if count},
        "scanner": truth.scanner,
        "seed": truth.seed,
    }


def tile_spec(config: PhantomsConfig, split: str, number: int) -> tuple[str, TileSpec]:
    """Name and spec of a split's tile `number`."""
    cohort = config.splits[split]
    rest, place = divmod(number, len(config.tissues))
    turn, member = divmod(rest, cohort.patients)
    before = sum(config.splits[name].patients for name in SPLITS[: SPLITS.index(split)] if name in config.splits)
    patient, tissue = f"P{before + member:03d}", config.tissues[place]
    scanners = cohort.scanners or tuple(SCANNERS)
    seed = stable_number(config.seed, SOURCE, split, number)
    slide = f"{patient}-S0"
    spec = TileSpec(seed, tissue, patient, slide, scanners[member % len(scanners)], config.size, config.mpp)
    return f"{patient}/{tissue}-{turn:04d}", spec
