"""Coloured squares with captions, a CLIP of a few thousand weights, and one that was trained on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task, open_artefact
from eosin.artefacts.writer import write_shard
from eosin.clip.cli import main
from eosin.images import encode_png
from eosin.records import ImageText, LabelledImage, Record

COLOURS = {"red": (200, 60, 70), "green": (70, 180, 80), "blue": (60, 80, 200), "pale": (225, 215, 230)}
ARCHITECTURE = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32, "patch_dropout": 0.25},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}


class Squares:
    """Makes the squares, and artefacts of them."""

    @staticmethod
    def pair(number: int, split: str = "train") -> ImageText:
        """A square whose colour its captions name."""
        label = list(COLOURS)[number % len(COLOURS)]
        noise = np.random.default_rng(number).integers(-25, 26, (40, 40, 3))
        pixels = (np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)
        return ImageText(
            id=f"squares/{split}-{number}",
            source="squares",
            licence="CC0-1.0",
            group=f"{split}-{number // 8}",
            split=split,
            image=encode_png(pixels),
            captions=(f"a {label} square", f"this tile is {label}", label),
            extra={"label": label},
        )

    @staticmethod
    def labelled(record: ImageText) -> LabelledImage:
        """The same square as a labelled image."""
        return LabelledImage(
            id=record.id,
            source=record.source,
            licence=record.licence,
            group=record.group,
            split=record.split,
            image=record.image,
            label=str(record.extra["label"]),
            extra={"caption": record.captions[0]},
        )

    @staticmethod
    def write(folder: Path, records: Sequence[Record]) -> Artefact:
        """A finished data artefact of records that come sorted by split."""
        splits = list(dict.fromkeys(record.split for record in records))
        plan = Plan(
            records[0].kind, "test", {}, tasks=tuple(Task("made", 0, 1, split) for split in splits), facts={"classes": list(COLOURS)}
        )
        with ArtefactWriter(folder, plan) as writer:
            for name, task in writer.pending():
                write_shard(writer.path, plan.kind, name, task.split, [record for record in records if record.split == task.split])
            return writer.finish()

    @staticmethod
    def spoiled(record: ImageText) -> ImageText:
        """The record with an image that is cut off."""
        return replace(record, image=record.image[: len(record.image) // 2])

    @staticmethod
    def open(folder: Path) -> Artefact:
        """An artefact that was written before."""
        return open_artefact(folder)


@pytest.fixture(scope="session")
def squares() -> type[Squares]:
    """See `Squares`: test files cannot import from here."""
    return Squares


@pytest.fixture(scope="session")
def pairs_artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    records = [Squares.pair(number) for number in range(36)] + [Squares.pair(number, "test") for number in range(8)]
    return Squares.write(tmp_path_factory.mktemp("pairs") / "image_text", records)


@pytest.fixture(scope="session")
def images_artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    records = [Squares.labelled(Squares.pair(number)) for number in range(20)] + [
        Squares.labelled(Squares.pair(number, "test")) for number in range(8)
    ]
    return Squares.write(tmp_path_factory.mktemp("images") / "labelled_images", records)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains in seconds."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "tiny.json").write_text(json.dumps(ARCHITECTURE))
    lines = [f"architecture: {folder / 'tiny.json'}", "epochs: 12", "batch_size: 12", "optimiser: {lr: 2e-3}"]
    (folder / "tiny.yaml").write_text("\n".join(lines) + "\n")
    (folder / "empty.yaml").write_text("")
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def train(recipe: Path) -> Callable[..., Artefact]:
    """`eosin clip train` with the tiny recipe."""

    def run(data: Artefact, out: Path, *more: str) -> Artefact:
        main(["train", str(recipe), f"data={data.path}", "--workers", "1", "--device", "cpu", "--out", str(out), *more])
        return open_artefact(out)

    return run


@pytest.fixture(scope="session")
def trained(pairs_artefact: Artefact, train: Callable[..., Artefact], tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A CLIP that knows the colours."""
    return train(pairs_artefact, tmp_path_factory.mktemp("trained") / "clip", "positives=same_caption")


@pytest.fixture(scope="session")
def exported(trained: Artefact, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """The same CLIP in Hugging Face's format."""
    out = tmp_path_factory.mktemp("exported") / "clip_hf"
    main(["export", str(recipe.parent / "empty.yaml"), f"model={trained.path}", "--out", str(out)])
    return open_artefact(out)
