"""`export_webdataset`: an artefact as tar files, one sample after another, as webdataset and open_clip read them.

A sample is the files of one key, as the webdataset format has it: the key is the name up to the first point. Keys are `{split}-{number}`,
for ids hold slashes and points; the id and all other columns are in the sample's JSON, with `groups_unknown` where the artefact's facts
say so, and the artefact's own table says which file and key a record went to. The source `webdataset` reads pairs back as they were.

    image_text        KEY.jpg | KEY.png, KEY.txt (the first caption), KEY.json
    labelled_images   KEY.jpg | KEY.png, KEY.cls (the class's number in the class list), KEY.mask.png, KEY.json
    conversations     KEY.0.jpg, KEY.1.jpg, ... (the n-th image part), KEY.json

Files are those of the USTAR format, without owner and time, so that equal records give equal bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.artefacts.files import replacing
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.exports.samples import columns_of, exported, groups_told, image_file, no_caption, records_of, tasks_of
from eosin.errors import ImageError, InputError
from eosin.pipeline import Step
from eosin.records import Conversation, Exported, ImageText, LabelledImage, Record, Reject, json_text

Files = dict[str, bytes]


@dataclass(frozen=True)
class WebDatasetConfig:
    """What goes into tar files.

    Attributes:
        data: the artefact.
        splits: of it; empty for all.
        samples_a_shard: of one tar file.
    """

    builder: Literal["export_webdataset"] = "export_webdataset"
    data: str = input_path("image_text", "labelled_images", "conversations")
    splits: tuple[str, ...] = ()
    samples_a_shard: int = 1000


def webdataset_steps(config: WebDatasetConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder.

    Raises:
        ConfigError: the data have no records of a split that is asked for.
    """
    inputs = open_inputs(config)
    data = inputs.artefacts["data"]
    tasks = tasks_of(data, config.splits, config.samples_a_shard)
    facts = {
        "title": f"{data.plan.facts.get('title', data.kind)} (WebDataset)",
        "description": "Tar files for webdataset and open_clip; `urls` in the plan's facts names those of each split.",
        "classes": list(data.classes),
        "content": data.kind,
        "urls": _urls(tasks, config.samples_a_shard),
    }
    plan = Plan("exported", "build", settings_of(config), inputs.refs, tuple(tasks), facts)
    yield Step("webdataset", plan, WriteTar(data, str(out / "webdataset"), config.samples_a_shard), inputs.paths)


def _urls(tasks: list[Task], size: int) -> dict[str, str]:
    """Each split's files in the braces that webdataset and open_clip expand."""
    last = {task.split: task.start // size for task in tasks}
    return {split: f"files/{split}-{{00000..{number:05d}}}.tar" for split, number in last.items()}


@dataclass(frozen=True)
class WriteTar:
    """Writes a task's records as one tar file of the artefact in `folder`; picklable."""

    data: Artefact
    folder: str
    size: int

    def __call__(self, task: Task) -> Iterator[Exported | Reject]:
        """Where each record went; the file is whole before the first is told."""
        path = f"files/{task.split}-{task.start // self.size:05d}.tar"
        told: list[Exported | Reject] = []
        with (
            replacing(Path(self.folder) / path) as temporary,
            tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for number, record in enumerate(records_of(self.data, task), task.start):
                key = f"{task.split}-{number:09d}"
                told.append(self._add(tar, record, path, key))
        yield from told

    def _add(self, tar: tarfile.TarFile, record: Record, path: str, key: str) -> Exported | Reject:
        if isinstance(record, ImageText) and not record.captions:
            return no_caption(record)
        try:
            files = _FILES[self.data.kind](record, self.data.classes, groups_told(self.data))
        except ImageError as error:
            return Reject(record.id, error.reason, error.message)
        for suffix, content in files.items():
            entry = tarfile.TarInfo(f"{key}.{suffix}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        return exported(record, path, key)


def _of_pair(record: ImageText, classes: tuple[str, ...], told: dict[str, str]) -> Files:
    image, suffix = image_file(record.image)
    return {suffix: image, "txt": record.captions[0].encode(), "json": _json(columns_of(record, "image") | told)}


def _of_labelled(record: LabelledImage, classes: tuple[str, ...], told: dict[str, str]) -> Files:
    image, suffix = image_file(record.image)
    files = {suffix: image}
    if record.label is not None and classes:
        if record.label not in classes:
            raise InputError(f"{record.id}: its label {record.label!r} is not in the class list: {', '.join(classes)}")
        files["cls"] = str(classes.index(record.label)).encode()
    if record.mask is not None:
        files["mask.png"] = record.mask
    return {**files, "json": _json(columns_of(record, "image", "mask") | told)}


def _of_conversation(record: Conversation, classes: tuple[str, ...], told: dict[str, str]) -> Files:
    images = (image_file(image) for image in record.images)
    files = {f"{place}.{suffix}": image for place, (image, suffix) in enumerate(images)}
    return {**files, "json": _json(columns_of(record, "images") | told)}


_FILES: dict[str, Callable[[Any, tuple[str, ...], dict[str, str]], Files]] = {
    "image_text": _of_pair,
    "labelled_images": _of_labelled,
    "conversations": _of_conversation,
}


def _json(value: dict[str, Any]) -> bytes:
    return json_text(value).encode()
