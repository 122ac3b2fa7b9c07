"""`image_folder`: a folder of images, a folder per class at any depth, becomes labelled images, image-text pairs and conversations.

The file's own bytes are kept, but for texts beside the pixels (`eosin.images.without_texts`); every image is decoded once, and what
cannot be decoded goes to the rejects. The id of a record is `source/path`, the path relative to the folder.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import open_inputs
from eosin.config import input_path, load, settings_of
from eosin.data_builders.folder_files import printable
from eosin.data_builders.folder_listing import Entry, FolderLayout, Listing, list_folder
from eosin.data_builders.teaching import TeachingConfig, conversations_step, pairs_step, vocabulary_of
from eosin.errors import ImageError, InputError
from eosin.images import decode_image, read_image_file, without_texts
from eosin.labels import load_label_set
from eosin.pipeline import Step, chunked
from eosin.progress import say
from eosin.records import SPLITS, LabelledImage, Record, Reject

IMAGES_A_SHARD = 256
NOT_TAKEN = "not taken"


@dataclass(frozen=True)
class ImageFolderConfig:
    """A folder of images and how to read it.

    Attributes:
        folder: where it lies.
        source: its name in ids.
        licence: SPDX name, or the publisher's words.
        seed: of the splits and of the order.
        mpp: microns per pixel, where it is known.
        labels: a label set; `auto`: the shipped one that names exactly these classes, else the folders' names speak.
        layout: where `splits.csv` is missing, how names are read.
        teaching: captions and conversations.
    """

    builder: Literal["image_folder"] = "image_folder"
    folder: str = input_path()
    source: str = "tiles"
    licence: str = "unknown"
    seed: int = 0
    mpp: float | None = None
    labels: str = "auto"
    layout: FolderLayout = field(default_factory=FolderLayout)
    teaching: TeachingConfig = field(default_factory=TeachingConfig)


def image_folder_steps(config: ImageFolderConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The steps of this builder; each finished artefact is sent back in.

    Raises:
        InputError: see `list_folder`, or no image could be decoded.
        ConfigError: no label set fits, or a phrasing does not hold together.
    """
    inputs = open_inputs(config)
    listing = list_folder(inputs.folders["folder"], config.layout, config.seed)
    for warning in listing.warnings():
        say(f"warning: {warning}")
    labels = load_label_set(config.labels, listing.classes)
    vocabulary = vocabulary_of(config.teaching, labels)
    tasks = [task for split in SPLITS for task in chunked("files", split, len(listing.of_split(split)), IMAGES_A_SHARD)]
    if listing.rejects:
        tasks.append(Task(NOT_TAKEN, 0, len(listing.rejects)))
    settings = {key: value for key, value in settings_of(config).items() if key not in ("builder", "labels", "teaching")}
    facts = {"title": labels.title or config.source, "classes": listing.classes, "label_set": settings_of(labels)}
    plan = Plan("labelled_images", "build", settings, inputs.refs, tuple(tasks), facts)
    images = yield Step("labelled_images", plan, ReadImages(config.folder, json.dumps(settings, sort_keys=True)), inputs.paths)
    if not images.manifest["counts"]["out"]:
        raise InputError(f"{config.folder}: none of its images could be read; {images.path / 'rejects'} says why for each")
    yield pairs_step("image_text", images, vocabulary, config.teaching)
    yield conversations_step("conversations", images, vocabulary, config.teaching)


@dataclass(frozen=True)
class ReadImages:
    """Reads a task's files; picklable: each process lists the folder once.

    Attributes:
        folder: the folder.
        settings: the plan's settings, as JSON.
    """

    folder: str
    settings: str

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """The images in the listing's order, or the rejects of the listing."""
        listing = _listing(self.folder, self.settings)
        if task.source == NOT_TAKEN:
            yield from listing.rejects[task.start : task.stop]
            return
        for entry in listing.of_split(task.split)[task.start : task.stop]:
            yield self._read(entry)

    def _read(self, entry: Entry) -> Record | Reject:
        settings = json.loads(self.settings)
        name = printable(entry.path)
        try:
            data = read_image_file(Path(self.folder) / entry.path)
            decode_image(data)
        except ImageError as error:
            return Reject(name, error.reason, error.message)
        except InputError as error:
            return Reject(name, "unreadable", str(error))
        return LabelledImage(
            id=f"{settings['source']}/{name}",
            source=settings["source"],
            licence=settings["licence"],
            group=entry.group,
            split=entry.split,
            mpp=settings["mpp"],
            image=without_texts(data),
            label=entry.label,
        )


@functools.lru_cache(maxsize=2)
def _listing(folder: str, settings: str) -> Listing:
    values = json.loads(settings)
    return list_folder(Path(folder), load(FolderLayout, values["layout"]), values["seed"])
