"""From labelled images to what models learn from: image-text pairs and conversations, for every builder alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eosin.artefacts import Artefact, Plan, RecordTable, Task
from eosin.config import settings_of
from eosin.data_builders.phrasing import load_phrasing
from eosin.data_builders.questions import LETTERS, Block, Question, QuestionCounts
from eosin.data_builders.subjects import Subject, read_subjects, stable_number
from eosin.data_builders.vocabulary import Vocabulary
from eosin.errors import ConfigError
from eosin.labels import LabelSet
from eosin.pipeline import Step, chunked
from eosin.records import Conversation, ImageText, LabelledImage, Message, Part
from eosin.seeds import generator

# Pairs are independent of each other; questions are balanced within a block, so blocks are large.
PAIRS_A_SHARD = 512
IMAGES_A_BLOCK = 1024


@dataclass(frozen=True)
class TeachingConfig:
    """How captions and conversations are made.

    Attributes:
        seed: decides every draw.
        stain: of all images, as image-text pairs state it; empty where it is unknown.
        phrasing: a file, or a name below `eosin.configs/questions`.
        topics: what to ask and tell besides the class; empty for all that is known.
        synonyms: ask about a class by any of its phrases, not by its answer alone.
        captions: an image's captions.
        mentions: what a caption mentions at most besides the class.
        max_options: of a multiple choice question.
        max_boxes: the most boxes an answer lists; labels with more are not asked for.
        train: conversations of a training image.
        held_out: conversations of an image of any other split.
    """

    seed: int = 0
    stain: str = ""
    phrasing: str = "tiles"
    topics: tuple[str, ...] = ()
    synonyms: bool = True
    captions: int = 4
    mentions: int = 2
    max_options: int = 4
    max_boxes: int = 3
    train: QuestionCounts = field(default_factory=QuestionCounts)
    held_out: QuestionCounts = field(default_factory=lambda: QuestionCounts(dialogue=0.0))

    def __post_init__(self) -> None:
        if not 2 <= self.max_options <= len(LETTERS):
            raise ConfigError(f"max_options is {self.max_options}; 2 to {len(LETTERS)} are allowed")
        if self.captions < 1 or self.mentions < 0 or self.max_boxes < 1:
            raise ConfigError(
                f"captions and max_boxes must be at least 1, mentions at least 0; got {self.captions}, {self.max_boxes}, {self.mentions}"
            )


@dataclass(frozen=True)
class MakePairs:
    """Image-text pairs of a task's images; picklable."""

    images: Artefact
    vocabulary: Vocabulary
    config: TeachingConfig

    def __call__(self, task: Task) -> Iterator[ImageText]:
        """A pair an image, in their order."""
        subjects = read_subjects(self.images, task.split, task.start, task.stop, self.vocabulary.labels)
        pictures = _pictures(self.images, task)
        for subject, picture in zip(subjects, pictures, strict=True):
            rng = generator(self.config.seed, stable_number("captions", subject.id))
            yield ImageText(
                **_origin(picture, picture.id, {**picture.extra, "label": subject.label}),
                image=picture.image,
                captions=self.vocabulary.captions(subject, self.config.captions, self.config.mentions, rng),
                organ=self.vocabulary.labels.classes[subject.label].facets.get("organ"),
                stain=self.config.stain or None,
            )


@dataclass(frozen=True)
class MakeConversations:
    """Conversations about a task's images; picklable."""

    images: Artefact
    vocabulary: Vocabulary
    config: TeachingConfig

    def __call__(self, task: Task) -> Iterator[Conversation]:
        """All conversations about an image next to each other, images in their order."""
        config = self.config
        subjects = list(read_subjects(self.images, task.split, task.start, task.stop, self.vocabulary.labels))
        seed = stable_number(config.seed, task.split, task.start)
        block = Block(subjects, self.vocabulary, seed, config.mentions, config.max_options, config.max_boxes)
        questions = block.ask(config.train if task.split == "train" else config.held_out)
        asked: dict[int, list[Question]] = {}
        for question in questions:
            asked.setdefault(question.place, []).append(question)
        for place, picture in enumerate(_pictures(self.images, task)):
            for number, question in enumerate(asked.get(place, [])):
                yield _conversation(picture, subjects[place], question, number)


def pairs_step(name: str, images: Artefact, vocabulary: Vocabulary, config: TeachingConfig) -> Step:
    """`image_text` from a `labelled_images` artefact."""
    settings = {key: getattr(config, key) for key in ("seed", "stain", "captions", "mentions")}
    plan = _plan("image_text", images, vocabulary, settings, PAIRS_A_SHARD, f"{_title(images)}: image-text pairs")
    return Step(name, plan, MakePairs(images, vocabulary, config), {"images": str(images.path.resolve())})


def conversations_step(name: str, images: Artefact, vocabulary: Vocabulary, config: TeachingConfig) -> Step:
    """`conversations` from a `labelled_images` artefact."""
    settings = {key: value for key, value in settings_of(config).items() if key not in ("captions", "stain", "phrasing", "topics")}
    plan = _plan("conversations", images, vocabulary, settings, IMAGES_A_BLOCK, f"{_title(images)}: conversations")
    return Step(name, plan, MakeConversations(images, vocabulary, config), {"images": str(images.path.resolve())})


def vocabulary_of(config: TeachingConfig, labels: LabelSet) -> Vocabulary:
    """The words for these classes.

    Raises:
        ConfigError: see `load_phrasing` and `Vocabulary`.
    """
    return Vocabulary(labels, load_phrasing(config.phrasing), config.topics, config.synonyms)


def _plan(kind: str, images: Artefact, vocabulary: Vocabulary, settings: dict[str, object], size: int, title: str) -> Plan:
    tasks = [task for split, count in images.manifest["splits"].items() for task in chunked("images", split, count, size)]
    facts = {key: images.plan.facts[key] for key in ("classes", "label_set", "groups_unknown") if key in images.plan.facts}
    return Plan(
        kind,
        "build",
        {**settings, "vocabulary": settings_of(vocabulary)},
        (images.ref("images"),),
        tuple(tasks),
        {**facts, "title": title},
    )


def _title(images: Artefact) -> str:
    return str(images.plan.facts.get("title", "labelled images"))


def _pictures(images: Artefact, task: Task) -> Iterator[LabelledImage]:
    """The task's records; one row group at a time is held."""
    columns = ["id", "source", "licence", "group", "split", "slide", "mpp", "extra", "image"]
    table = RecordTable(images, LabelledImage, task.split, columns, cached_groups=1)
    for index in range(task.start, task.stop):
        yield table[index]


def _origin(picture: LabelledImage, name: str, extra: dict[str, object]) -> dict[str, Any]:
    """The columns every record has, taken over from the image."""
    return {
        "id": name,
        "source": picture.source,
        "licence": picture.licence,
        "group": picture.group,
        "split": picture.split,
        "slide": picture.slide,
        "mpp": picture.mpp,
        "extra": extra,
    }


def _conversation(picture: LabelledImage, subject: Subject, question: Question, number: int) -> Conversation:
    messages = []
    for turn, (text, reply) in enumerate(question.turns):
        shown = (Part("image"),) if turn == 0 else ()
        messages += [Message("user", (*shown, Part("text", text))), Message("assistant", (Part("text", reply),))]
    extra = {"form": question.form, "image_id": picture.id, "label": subject.label, "value": question.value}
    if question.asked is not None:
        extra["asked"] = question.asked
    return Conversation(
        **_origin(picture, f"{picture.id}/{question.task}/{number}", dict(extra)),
        images=(picture.image,),
        messages=tuple(messages),
        task=question.task,
        answer=question.answer,
        options=question.options,
    )
