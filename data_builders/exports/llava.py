"""`export_llava`: conversations or image-text pairs as LLaVA's training scripts take them: one JSON a split, beside a folder of images.

The format is that of LLaVA (Liu et al. 2023): a list of `{"id", "image", "conversations": [{"from", "value"}]}`, from `human` or `gpt`;
`<image>` in a value stands for an image. `image` is a path below `files/`, a list of paths where there are several images, and missing
where there is none; a pair becomes the two turns of LLaVA's pretraining. All other columns stand under `eosin`, which LLaVA does not
read, with `groups_unknown` where the artefact's facts say so; the source `llava` reads them back.

Images are named by their content, so that many conversations about one image share its file. What LLaVA would stumble over, or read
otherwise than it is meant, is rejected: turns that do not alternate, other roles, slides, text that holds the image token.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.artefacts.files import SCRATCH, replacing
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.exports.samples import columns_of, exported, groups_told, image_file, no_caption, records_of, tasks_of
from eosin.errors import ArtefactError, ImageError
from eosin.pipeline import Step
from eosin.records import Conversation, Exported, ImageText, Message, Part, Record, Reject, json_text

IMAGE_TOKEN = "<image>"
RECORDS_A_TASK = 1000
_ROLES = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class LlavaConfig:
    """What goes into LLaVA's format.

    Attributes:
        data: the artefact.
        splits: of it; empty for all.
    """

    builder: Literal["export_llava"] = "export_llava"
    data: str = input_path("conversations", "image_text")
    splits: tuple[str, ...] = ()


def llava_steps(config: LlavaConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder.

    Raises:
        ConfigError: the data have no records of a split that is asked for.
    """
    inputs = open_inputs(config)
    data = inputs.artefacts["data"]
    tasks = tasks_of(data, config.splits, RECORDS_A_TASK)
    facts = {
        "title": f"{data.plan.facts.get('title', data.kind)} (LLaVA)",
        "description": "LLaVA's JSON, files/SPLIT.json; its images lie below files/, which is `--image_folder`.",
        "content": data.kind,
    }
    plan = Plan("exported", "build", settings_of(config), inputs.refs, tuple(tasks), facts)
    folder = out / "llava"
    join = functools.partial(_join, folder, tuple(tasks))
    yield Step("llava", plan, WriteLlava(data, str(folder)), inputs.paths, join)


@dataclass(frozen=True)
class WriteLlava:
    """Writes a task's images and its part of the JSON into the artefact in `folder`; picklable."""

    data: Artefact
    folder: str

    def __call__(self, task: Task) -> Iterator[Exported | Reject]:
        """Where each record went; images and part are whole before the first is told."""
        told: list[Exported | Reject] = []
        kept: dict[bytes, str] = {}
        with replacing(_part(Path(self.folder), task)) as temporary, temporary.open("w", encoding="utf-8") as part:
            for record in records_of(self.data, task):
                try:
                    entry = self._entry(record, kept)
                except ImageError as error:
                    told.append(Reject(record.id, error.reason, error.message))
                    continue
                if isinstance(entry, dict):
                    part.write(json_text(entry) + "\n")
                    told.append(exported(record, f"files/{task.split}.json", record.id))
                else:
                    told.append(entry)
        yield from told

    def _entry(self, record: Record, kept: dict[bytes, str]) -> dict[str, Any] | Reject:
        if isinstance(record, ImageText) and not record.captions:
            return no_caption(record)
        images: tuple[bytes, ...]
        left_out: tuple[str, ...]
        if isinstance(record, ImageText):
            messages, images, left_out = _pretraining(record), (record.image,), ("id", "image")
        elif isinstance(record, Conversation):
            messages, images, left_out = record.messages, record.images, ("id", "images", "messages")
        else:
            return Reject(record.id, "kind", f"a {record.kind} record is no conversation")
        refused = _refused(record.id, messages)
        if refused is not None:
            return refused
        entry: dict[str, Any] = {"id": record.id, "eosin": columns_of(record, *left_out) | groups_told(self.data)}
        paths = [self._keep(image, kept) for image in images]
        if paths:
            entry["image"] = paths[0] if len(paths) == 1 else paths
        entry["conversations"] = [{"from": _ROLES[message.role], "value": value_of(message)} for message in messages]
        return entry

    def _keep(self, image: bytes, kept: dict[bytes, str]) -> str:
        """The image's path below `files/`; one that is there already is whole, for it was renamed into place.

        Args:
            image: as the record holds it.
            kept: the paths of the task's images so far, by the digest of what the record holds.
        """
        digest = hashlib.sha256(image).digest()
        if digest not in kept:
            data, suffix = image_file(image)
            name = hashlib.sha256(data).hexdigest()
            kept[digest] = f"images/{name[:2]}/{name}.{suffix}"
            target = Path(self.folder) / "files" / kept[digest]
            if not target.exists():
                with replacing(target) as temporary:
                    temporary.write_bytes(data)
        return kept[digest]


def value_of(message: Message) -> str:
    """A message as LLaVA writes it: parts in their order, a line each."""
    return "\n".join(IMAGE_TOKEN if part.type == "image" else part.text or "" for part in message.content)


def _pretraining(record: ImageText) -> tuple[Message, ...]:
    """LLaVA's first stage: the image is all that is asked, its caption is the answer."""
    return Message("user", (Part("image"),)), Message("assistant", (Part("text", record.captions[0]),))


def _refused(name: str, messages: tuple[Message, ...]) -> Reject | None:
    """Why LLaVA cannot train on a conversation, None where it can."""
    roles = [message.role for message in messages]
    other = sorted(set(roles) - set(_ROLES))
    if other:
        return Reject(name, "role", f"a turn of {', '.join(other)}; LLaVA knows human and gpt only")
    if not roles or roles != [("user", "assistant")[place % 2] for place in range(len(roles))] or len(roles) % 2:
        return Reject(
            name, "turns", f"turns of {', '.join(roles) or 'nobody'}; LLaVA wants human and gpt in turn, and an answer at the end"
        )
    parts = [part for message in messages for part in message.content]
    if any(part.type == "slide" for part in parts):
        return Reject(name, "slide", "it shows a whole slide; LLaVA's format holds images only")
    if any(IMAGE_TOKEN in (part.text or "") for part in parts):
        return Reject(name, "image_token", f"its text holds {IMAGE_TOKEN}, which LLaVA would take for an image")
    if any(part.type == "image" for message in messages if message.role == "assistant" for part in message.content):
        return Reject(name, "image_in_answer", "an answer holds an image; LLaVA answers in text")
    return None


def _part(folder: Path, task: Task) -> Path:
    return folder / SCRATCH / f"{task.split}-{task.start:09d}.jsonl"


def _join(folder: Path, tasks: tuple[Task, ...]) -> dict[str, Any]:
    """Each split's parts as one JSON list, a line an entry; one that is there is whole, for it was renamed into place.

    Raises:
        ArtefactError: a part is gone.
    """
    made = {}
    for split in dict.fromkeys(task.split for task in tasks):
        made[split] = f"files/{split}.json"
        if (folder / made[split]).exists():
            continue
        with replacing(folder / made[split]) as temporary, temporary.open("w", encoding="utf-8") as whole:
            first = True
            for task in (task for task in tasks if task.split == split):
                for line in _lines(_part(folder, task)):
                    whole.write(("[\n" if first else ",\n") + line.rstrip("\n"))
                    first = False
            whole.write("[]\n" if first else "\n]\n")
    return {"json": made}


def _lines(part: Path) -> Iterator[str]:
    try:
        with part.open(encoding="utf-8", newline="\n") as lines:
            yield from lines
    except FileNotFoundError as error:
        raise ArtefactError(f"{part} is gone; build the artefact again with --overwrite") from error
