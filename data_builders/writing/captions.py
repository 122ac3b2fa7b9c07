"""`write_captions`: describe, revise, summarise, as PathGen-1.6M's agents do; from labels alone with a check, as MedDr bootstraps.

Describe: the model looks at the picture and writes down what it sees. Revise: it looks again and writes edit operations, which code
applies. Summarise: a caption short enough for CLIP; a longer one goes back with its length. Where the label is known and told
(`tell: [label]`), verify: the label is found again from the description alone, with its own words hidden, or the record is rejected (He
et al. 2024, MedDr, arXiv 2404.15127, verify their bootstrapped reports against the label in the same spirit).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.writing.crew import work_through
from eosin.data_builders.writing.edits import apply_edits
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.leaks import check_source
from eosin.data_builders.writing.materials import IMAGE_KINDS, Material, Pictures, labels_of, read_materials
from eosin.data_builders.writing.prompts import load_prompt
from eosin.data_builders.writing.replies import Refused, schema_problem
from eosin.data_builders.writing.settings import Desk, desk_at, totals
from eosin.data_builders.writing.tokens import CLIP_CONTEXT, clip_tokens
from eosin.data_builders.writing.writer import Writer
from eosin.errors import ConfigError
from eosin.labels import LabelSet
from eosin.pipeline import Resources, Step, chunked
from eosin.records import ImageText, Record, Reject

IMAGES_A_SHARD = 256
Told = Literal["setting", "label", "caption", "report", "boxes"]


@dataclass(frozen=True)
class CaptionsConfig:
    """Which pictures are described, how, and by whom.

    Attributes:
        images: the pictures.
        writer: the model.
        tell: what the describer is told beside the picture: `setting` is organ and stain.
        describe: a prompt.
        revise: a prompt; empty for none.
        summarise: a prompt; empty for none, and the description is the caption.
        verify: a prompt that finds the label in the description; empty for none.
        max_tokens: of the caption, with CLIP's begin and end marks.
        labels: a label set, `auto`, or a file.
    """

    builder: Literal["write_captions"] = "write_captions"
    images: str = input_path(*IMAGE_KINDS)
    writer: WriterConfig = field(default_factory=WriterConfig)
    tell: tuple[Told, ...] = ("setting",)
    describe: str = "describe"
    revise: str = "revise"
    summarise: str = "summarise"
    verify: str = ""
    max_tokens: int = CLIP_CONTEXT
    labels: str = "auto"

    def __post_init__(self) -> None:
        if not self.describe:
            raise ConfigError("describe is empty; name a prompt, such as describe")
        if self.verify and "label" not in self.tell:
            raise ConfigError("verify asks whether the label that was told can be found again: add label to tell")
        if self.max_tokens < 8:
            raise ConfigError(f"max_tokens is {self.max_tokens}; a caption of fewer than 8 tokens says nothing")


def captions_steps(config: CaptionsConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder.

    Raises:
        ConfigError, InputError, ArtefactError: a prompt, an input or the writer does not fit.
    """
    inputs = open_inputs(config)
    images = inputs.artefacts["images"]
    names = {"describe": config.describe, "revise": config.revise, "summarise": config.summarise, "verify": config.verify}
    desk = desk_at(config.writer, out, {step: load_prompt(name) for step, name in names.items() if name})
    labels = labels_of(images, config.labels)
    if config.verify and labels is None:
        raise ConfigError(f"verify needs the classes, and {images.path} names none in its plan")
    kept = ("tell", "max_tokens")
    settings = {key: value for key, value in settings_of(config).items() if key in kept} | desk.settings
    tasks = [task for split, count in images.manifest["splits"].items() for task in chunked("images", split, count, IMAGES_A_SHARD)]
    facts: dict[str, Any] = {"title": f"{images.plan.facts.get('title', 'images')}, described by {config.writer.model}"}
    if labels is not None:
        facts |= {"classes": list(images.classes), "label_set": settings_of(labels)}
    produce = WriteCaptions(images, desk, config, labels)
    yield Step(
        "image_text",
        Plan("image_text", "build", settings, inputs.refs, tuple(tasks), facts),
        produce,
        {**inputs.paths, "endpoint": config.writer.url, "journal": desk.journal},
        functools.partial(totals, out / "image_text", "edits", "answers"),
        Resources(here=True),
    )


@dataclass(frozen=True)
class Described:
    """A picture in words.

    Attributes:
        material: the picture.
        caption: short.
        description: long.
        edits: what became of the edit operations.
        answers: step -> how many answers it took.
    """

    material: Material
    caption: str
    description: str
    edits: dict[str, int]
    answers: dict[str, int]


@dataclass(frozen=True)
class WriteCaptions:
    """Describes a task's pictures; picklable."""

    images: Artefact
    desk: Desk
    config: CaptionsConfig
    labels: LabelSet | None

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """A record a picture, in their order, or a reject."""
        pictures = Pictures(self.images, task.split)
        chain = functools.partial(self._described, self.desk.writer, pictures)
        materials = list(read_materials(self.images, task, self.labels))
        for outcome in work_through(self.desk.writer, materials, chain, lambda material: material.id):
            yield outcome if isinstance(outcome, Reject) else self._record(outcome, pictures[outcome.material.row])

    def _described(self, writer: Writer, pictures: Pictures, material: Material) -> Described:
        picture, answers, edits = pictures[material.row], {}, dict[str, int]()
        values = {"known": self._known(material), "options": self._options(), "max_tokens": str(self.config.max_tokens)}
        prompts = self.desk.prompts
        written = writer.write(prompts["describe"], values, (picture,), lambda value: check_source(value["description"]))
        text, answers["describe"] = str(written.value["description"]).strip(), written.answers
        if "revise" in prompts:
            check = functools.partial(self._check_edited, dict(written.value), text)
            written = writer.write(prompts["revise"], {**values, "description": text}, (picture,), check)
            answers["revise"] = written.answers
            text, edits = apply_edits(text, written.value["operations"])
        if "verify" in prompts:
            answers["verify"] = self._verified(writer, material, {**values, "description": text})
        caption = text
        if "summarise" in prompts:
            written = writer.write(prompts["summarise"], {**values, "description": text}, (), self._check_caption)
            caption, answers["summarise"] = str(written.value["caption"]).strip(), written.answers
        else:
            self._check_caption({"caption": caption})
        return Described(material, caption, text, edits, answers)

    def _known(self, material: Material) -> str:
        """What the describer is told, a line each."""
        told = {
            "setting": material.setting,
            "label": f"Diagnosis: {material.label}" if material.label else "",
            "caption": "\n".join(f"Caption: {text}" for text in material.captions),
            "report": f"Report: {material.report}" if material.report else "",
            "boxes": "Marked in the picture: " + ", ".join(sorted({box.label for box in material.boxes})) if material.boxes else "",
        }
        if "label" in self.config.tell and not material.label:
            raise Refused("no_label", "The record has no label, and the describer is to be told it")
        return "\n".join(filter(None, (told[name] for name in self.config.tell))) or material.setting

    def _options(self) -> str:
        return "" if self.labels is None else "\n".join(found.answer for found in self.labels.classes.values())

    def _verified(self, writer: Writer, material: Material, values: dict[str, str]) -> int:
        """How many answers it took to find the label in the description, where the class's own names are blanked out."""
        known = [] if self.labels is None else [name for found in self.labels.classes.values() for name in (found.answer, *found.names)]
        hidden = values["description"]
        for name in sorted(set(known), key=lambda name: (-len(name), name)):
            hidden = re.sub(re.escape(name), "[...]", hidden, flags=re.IGNORECASE)
        written = writer.write(self.desk.prompts["verify"], {**values, "description": hidden}, (), self._check_class)
        found = str(written.value["label"])
        if found.casefold() != material.label.casefold():
            raise Refused("label_not_found", f"From the description the label {material.label!r} is not found, but {found!r}")
        return written.answers

    def _check_class(self, value: dict[str, Any]) -> None:
        if str(value["label"]).casefold() not in self._options().casefold().splitlines():
            raise Refused("no_such_label", f"{value['label']!r} is none of the labels given; answer with one of them, word for word")

    def _check_edited(self, described: dict[str, Any], text: str, value: dict[str, Any]) -> None:
        """What the edits leave must be a description still, by the describer's own schema."""
        edited, _ = apply_edits(text, value["operations"])
        if edited == text:
            return
        problem = schema_problem({**described, "description": edited.strip()}, self.desk.prompts["describe"].schema)
        if problem:
            raise Refused("no_description_left", f"After these operations the description is none any more: {problem}")
        check_source(edited)

    def _check_caption(self, value: dict[str, Any]) -> None:
        caption = str(value["caption"]).strip()
        tokens = clip_tokens(caption)
        if not caption:
            raise Refused("empty", "The caption is empty")
        if tokens > self.config.max_tokens:
            raise Refused(
                "too_long", f"The caption has {tokens} CLIP tokens; at most {self.config.max_tokens} are allowed. Write a shorter one"
            )
        check_source(caption)

    def _record(self, found: Described, picture: bytes) -> ImageText:
        material, steps = found.material, tuple(found.answers)
        extra = {**material.origin["extra"], "description": found.description, "edits": found.edits, "answers": found.answers}
        if material.label_name:
            extra["label"] = material.label_name
        return ImageText(
            **{**material.origin, "extra": extra},
            provenance=self.desk.provenance(*steps),
            image=picture,
            captions=(found.caption,),
            organ=material.organ or None,
            stain=material.stain or None,
            region=material.region,
        )
