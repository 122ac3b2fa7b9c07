"""`write_instructions`: conversations of every kind about images with captions, labels or boxes, and about slides with reports.

The model is told what is known of a picture, and writes questions and answers that follow from it, as if it had only looked (LLaVA-Med,
PathInstruct and PathGen-Instruct make theirs in this way). Yes and no come in pairs; the right option of a multiple choice question
stands at each letter equally often within a shard, whatever was rejected.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import Inputs, open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.couples import balanced_positions
from eosin.data_builders.questions import LETTERS
from eosin.data_builders.subjects import stable_number
from eosin.data_builders.writing.crew import work_through
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.forms import FORMS, OPTIONS, Aids, Draft
from eosin.data_builders.writing.materials import IMAGE_KINDS, Material, Pictures, labels_of, read_materials
from eosin.data_builders.writing.prompts import load_prompt
from eosin.data_builders.writing.settings import Desk, desk_at, totals
from eosin.data_builders.writing.tools import load_tools
from eosin.errors import ConfigError
from eosin.labels import LabelSet
from eosin.pipeline import Resources, Step, chunked
from eosin.records import Conversation, Message, Part, Record, Reject
from eosin.seeds import generator

MATERIALS_A_SHARD = 256


@dataclass(frozen=True)
class InstructionsConfig:
    """What is written about, in which forms, and by whom.

    Attributes:
        images: pictures with captions, labels or boxes; or
        slides: slides with reports, shown to a model as slide parts.
        writer: the model.
        forms: form -> share of the pictures that get it, 0 to 1.
        prompts: form -> prompt, where it is not the shipped one of the form's name.
        see: send the picture as well; without it a model that reads only text can write.
        seed: of every draw.
        labels: a label set, `auto`, or a file.
        tools: a tool set, for the form `tool`.
        max_boxes: the most boxes an answer lists.
        choose: what stands under the options of a multiple choice question.
    """

    builder: Literal["write_instructions"] = "write_instructions"
    images: str = input_path(*IMAGE_KINDS, required=False)
    slides: str = input_path("slides", required=False)
    writer: WriterConfig = field(default_factory=WriterConfig)
    forms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FORMS, 1.0))
    prompts: dict[str, str] = field(default_factory=dict)
    see: bool = True
    seed: int = 0
    labels: str = "auto"
    tools: str = "tools"
    max_boxes: int = 5
    choose: str = "Answer with the letter."

    def __post_init__(self) -> None:
        unknown = sorted({*self.forms, *self.prompts} - FORMS.keys())
        if unknown:
            raise ConfigError(f"there is no form {', '.join(unknown)}; there are {', '.join(FORMS)}")
        if any(not 0 <= share <= 1 for share in self.forms.values()) or not any(self.forms.values()):
            raise ConfigError(f"forms holds shares from 0 to 1, and one above 0; got {self.forms}")
        if self.max_boxes < 1:
            raise ConfigError(f"max_boxes must be at least 1; got {self.max_boxes}")


def instructions_steps(config: InstructionsConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder.

    Raises:
        ConfigError, InputError, ArtefactError: a prompt, an input or the writer does not fit.
    """
    inputs = open_inputs(config)
    source = _source(inputs)
    asked = [form for form in FORMS if config.forms.get(form, 0.0) > 0]
    desk = desk_at(config.writer, out, {form: load_prompt(config.prompts.get(form, form)) for form in asked})
    labels = labels_of(source, config.labels)
    aids = Aids(config.seed, config.max_boxes, load_tools(config.tools))
    kept = ("forms", "see", "seed", "max_boxes", "choose")
    settings = {key: value for key, value in settings_of(config).items() if key in kept} | desk.settings
    if "tool" in asked:
        settings["tools"] = settings_of(aids.tools)
    tasks = [task for split, count in source.manifest["splits"].items() for task in chunked(source.kind, split, count, MATERIALS_A_SHARD)]
    facts: dict[str, Any] = {"title": f"{source.plan.facts.get('title', source.kind)}: conversations written by {config.writer.model}"}
    if labels is not None:
        facts |= {"classes": list(source.classes), "label_set": settings_of(labels)}
    yield Step(
        "conversations",
        Plan("conversations", "build", settings, inputs.refs, tuple(tasks), facts),
        WriteInstructions(source, desk, config, aids, labels),
        {**inputs.paths, "endpoint": config.writer.url, "journal": desk.journal},
        functools.partial(totals, out / "conversations", "form", "answers"),
        Resources(here=True),
    )


def _source(inputs: Inputs) -> Artefact:
    if len(inputs.artefacts) != 1:
        raise ConfigError("one input is wanted: add images=PATH or slides=PATH to the command, not both")
    return next(iter(inputs.artefacts.values()))


@dataclass(frozen=True)
class Job:
    """One form asked of one material."""

    material: Material
    form: str

    @property
    def name(self) -> str:
        """Its key among the rejects, and the start of its records' ids."""
        return f"{self.material.id}/{self.form}"


@dataclass(frozen=True)
class Done:
    """The drafts of a job, and how many answers it took."""

    job: Job
    drafts: tuple[Draft, ...]
    answers: int


@dataclass(frozen=True)
class WriteInstructions:
    """Writes the conversations about a task's materials; picklable."""

    source: Artefact
    desk: Desk
    config: InstructionsConfig
    aids: Aids
    labels: LabelSet | None

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """All conversations about a material next to each other, materials in their order; rejects where they would stand."""
        pictures = Pictures(self.source, task.split) if self.source.kind in IMAGE_KINDS else None
        jobs: list[Job] = []
        for material in read_materials(self.source, task, self.labels):
            if not (material.captions or material.label or material.report or material.boxes):
                yield Reject(material.id, "nothing_known", "neither caption, label, report nor boxes: there is nothing to write from")
                continue
            jobs += [Job(material, form) for form in self.desk.prompts if self._wanted(material, form)]
        done = work_through(self.desk.writer, jobs, functools.partial(self._ask, pictures), lambda job: job.name)
        places = self._places(task, done)
        for number, outcome in enumerate(done):
            if isinstance(outcome, Reject):
                yield outcome
                continue
            picture = pictures[outcome.job.material.row] if pictures else None
            for count, draft in enumerate(outcome.drafts):
                yield self._record(outcome, f"{outcome.job.name}/{count}", self._placed(draft, places.get(number, 0)), picture)

    def _wanted(self, material: Material, form: str) -> bool:
        draw = stable_number(self.config.seed, "form", form, material.id) / 2**63
        return draw < self.config.forms[form] and FORMS[form].fits(material, self.aids)

    def _ask(self, pictures: Pictures | None, job: Job) -> Done:
        form, material = FORMS[job.form], job.material
        sent = (pictures[material.row],) if pictures and self.config.see else ()
        values = {"facts": material.facts, **form.slots(material, self.aids)}
        found: list[Draft] = []

        def check(value: dict[str, object]) -> None:
            found[:] = form.drafts(value, material, self.aids)

        written = self.desk.writer.write(self.desk.prompts[job.form], values, sent, check)
        return Done(job, tuple(found), written.answers)

    def _places(self, task: Task, done: Sequence[Done | Reject]) -> Mapping[int, int]:
        """The place of the right option for each multiple choice question that was taken."""
        rows = [number for number, outcome in enumerate(done) if isinstance(outcome, Done) and outcome.drafts[0].distractors]
        rng = generator(self.config.seed, stable_number("places", task.split, task.start))
        return balanced_positions(rows, OPTIONS, rng)

    def _placed(self, draft: Draft, place: int) -> tuple[Draft, tuple[str, ...]]:
        """A draft with its options in order, and the options; other drafts as they are."""
        if not draft.distractors:
            return draft, ()
        rng = generator(self.config.seed, stable_number("options", draft.turns[0][1]))
        options = [draft.distractors[int(number)] for number in rng.permutation(len(draft.distractors))]
        options.insert(place, draft.answer)
        lines = [draft.turns[0][1], *(f"{LETTERS[number]}. {option}" for number, option in enumerate(options)), self.config.choose]
        return Draft("mcq", (("user", "\n".join(lines)), ("assistant", LETTERS[place])), draft.answer), tuple(options)

    def _record(self, done: Done, name: str, placed: tuple[Draft, tuple[str, ...]], picture: bytes | None) -> Conversation:
        draft, options = placed
        material, form = done.job.material, done.job.form
        shown = Part("image") if picture is not None else Part("slide", str(material.origin["slide"] or material.id))
        messages = []
        first = next(number for number, (role, _) in enumerate(draft.turns) if role == "user")
        for number, (role, text) in enumerate(draft.turns):
            messages.append(Message(role, (*((shown,) if number == first else ()), Part("text", text))))
        extra = {"form": form, "image_id": material.id, "answers": done.answers}
        if material.label_name:
            extra["label"] = material.label_name
        return Conversation(
            **{**material.origin, "id": name, "extra": extra},
            provenance=self.desk.provenance(form),
            images=() if picture is None else (picture,),
            messages=tuple(messages),
            task=draft.task,
            answer=draft.answer,
            options=options,
        )
