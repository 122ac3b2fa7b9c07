"""The records themselves: frozen dataclasses that refuse to contradict themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from eosin.errors import InputError
from eosin.records.plain import whole_text

SPLITS = ("train", "val", "test", "none")
ROLES = ("system", "user", "assistant", "tool")
PART_TYPES = ("text", "image", "slide")
TASKS = ("open", "closed", "mcq", "caption", "report", "grounding", "tool")


@dataclass(frozen=True)
class Part:
    """One part of a message: text, the next image of the record, or a slide named by `text`."""

    type: str
    text: str | None = None


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined by line breaks."""
        return "\n".join(part.text or "" for part in self.content if part.type == "text")


@dataclass(frozen=True)
class Box:
    """A labelled box: fractions of the image's width and height, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str

    def __post_init__(self) -> None:
        if not (0.0 <= self.x0 < self.x1 <= 1.0 and 0.0 <= self.y0 < self.y1 <= 1.0):
            raise InputError(f"a box must satisfy 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, in fractions of the image; got {self}")


@dataclass(frozen=True)
class Region:
    """Where an image was cut from its slide: pixels of level 0."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Provenance:
    """What generated a record: hash of the prompt file and fingerprint of the model."""

    prompt: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The columns every data record has.

    Attributes:
        id: source + "/" + the publisher's own key; stable, never a hash of the content.
        source: the data set it came from.
        licence: SPDX name where there is one, else the publisher's words.
        group: the unit that must not cross splits: patient, slide, video or article.
        split: one of `SPLITS`.
        slide: the slide's name, where there is one.
        mpp: microns per pixel of the image.
        provenance: for generated records; null for plain data.
        extra: anything else, kept as JSON.
    """

    kind: ClassVar[str]
    id: str
    source: str
    licence: str
    group: str
    split: str = "none"
    slide: str | None = None
    mpp: float | None = None
    provenance: Provenance | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("id", "source", "licence", "group"):
            if not getattr(self, name):
                raise InputError(f"{self.kind} record {self.id!r}: {name} is empty; every record needs one")
        if self.split not in SPLITS:
            raise InputError(f"{self.kind} record {self.id!r}: split is {self.split!r}; allowed: {', '.join(SPLITS)}")


@dataclass(frozen=True, kw_only=True)
class ImageText(Record):
    """An image with captions. `image` holds the encoded bytes."""

    kind: ClassVar[str] = "image_text"
    image: bytes
    captions: tuple[str, ...]
    organ: str | None = None
    stain: str | None = None
    region: Region | None = None


@dataclass(frozen=True, kw_only=True)
class Conversation(Record):
    """A conversation over images: the n-th image part of `messages` is `images[n]`.

    Attributes:
        task: one of `TASKS`.
        answer: the gold answer, where there is one (for mcq: the full text of the right option).
        options: the choices of an mcq, in the order shown.
    """

    kind: ClassVar[str] = "conversations"
    images: tuple[bytes, ...]
    messages: tuple[Message, ...]
    task: str
    answer: str | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in TASKS:
            raise InputError(f"conversation {self.id!r}: task is {self.task!r}; allowed: {', '.join(TASKS)}")
        for message in self.messages:
            if message.role not in ROLES:
                raise InputError(f"conversation {self.id!r}: role is {message.role!r}; allowed: {', '.join(ROLES)}")
            for part in message.content:
                if part.type not in PART_TYPES:
                    raise InputError(f"conversation {self.id!r}: part type is {part.type!r}; allowed: {', '.join(PART_TYPES)}")
        parts = sum(part.type == "image" for message in self.messages for part in message.content)
        if parts != len(self.images):
            raise InputError(f"conversation {self.id!r}: {parts} image parts but {len(self.images)} images")


@dataclass(frozen=True, kw_only=True)
class LabelledImage(Record):
    """An image with a label; `mask` is a PNG; the class list lies in the manifest."""

    kind: ClassVar[str] = "labelled_images"
    image: bytes
    label: str | None = None
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Slide(Record):
    """A whole slide: `path` is relative to the artefact, or to the root that `run.json` names.

    A report whose slide is not at hand is a slide too: `path` is empty, and `width` and `height` are None.
    """

    kind: ClassVar[str] = "slides"
    path: str
    case: str | None = None
    width: int | None = None
    height: int | None = None
    labels: tuple[str, ...] = ()
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tile(Record):
    """A tile of a slide's grid: level-0 origin, side in pixels at `mpp`; kept, or why not."""

    kind: ClassVar[str] = "tiles"
    x: int
    y: int
    size: int
    kept: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Embedding(Record):
    """A unit-length float32 vector and the columns retrieval shows; `thumbnail` holds encoded bytes."""

    kind: ClassVar[str] = "embeddings"
    vector: tuple[float, ...]
    caption: str | None = None
    label: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """One answer of one model to one question; scoring needs nothing else.

    Attributes:
        question: id of the record that was asked.
        benchmark: digest of the artefact the question came from.
        condition: how it was asked: `plain`, `blind` (black image), `evidence`, ...
        task: `zero_shot` or one of `TASKS`.
        answer: the gold answer.
        options: what could be answered, where that is closed.
        reply: the model's words, untouched.
        finish_reason: `stop`, `length`, `error`, or `argmax` for a classifier.
        prompt_hash: sha256 of all that was sent but the images.
        image_hashes: sha256 of the encoded images that were sent.
        model: fingerprint of the model.
        scores: one number per option (log-likelihoods or cosine logits), or empty.
        topic: what the score is broken down by: the class or question form.
    """

    kind: ClassVar[str] = "predictions"
    question: str
    benchmark: str
    condition: str
    task: str
    answer: str
    options: tuple[str, ...] = ()
    reply: str
    finish_reason: str
    prompt_hash: str
    image_hashes: tuple[str, ...] = ()
    model: str
    scores: tuple[float, ...] = ()
    topic: str | None = None


@dataclass(frozen=True, kw_only=True)
class Exported(Record):
    """Where a record went in another program's format.

    Attributes:
        path: the file, relative to the artefact.
        key: what the record is called in it.
    """

    kind: ClassVar[str] = "exported"
    path: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Record):
    """What duplicates of one image, and of the text beside it, are found by; the record's text goes with its first image.

    Attributes:
        record: id of the record.
        place: which of its images; -1 where it has none.
        label: the class, where there is one.
        text: the beginning of captions or messages, for people.
        width: pixels, 0 where the image could not be decoded.
        height: likewise.
        file: sha256 of the encoded bytes; empty without an image.
        pixels: sha256 of size and decoded RGB.
        signs: perceptual hashes of the views, or null for a blank or unreadable image.
        spectrum: descriptor by which candidates are found, likewise.
        grey: a small grey picture, uint8.
        words: exact digest of the text and its MinHash, or null where it is too short.
        colour: means and standard deviations of the optical density of red, green and blue.
    """

    kind: ClassVar[str] = "fingerprints"
    record: str
    place: int = 0
    label: str | None = None
    text: str = ""
    width: int = 0
    height: int = 0
    file: bytes = b""
    pixels: bytes = b""
    signs: bytes | None = None
    spectrum: bytes | None = None
    grey: bytes | None = None
    words: bytes | None = None
    colour: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterMember(Record):
    """A record that has duplicates; its id is the record's.

    Attributes:
        within: the record's split: the table itself is of none.
        representative: id of the record that stands for the cluster, and names it.
        method: what linked it most surely: `exact`, `hash`, `text` or `embedding`.
        distance: of the method, to the nearest other member: bits, or 1 - likeness.
    """

    kind: ClassVar[str] = "clusters"
    within: str
    representative: str
    method: str
    distance: float


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """One finding of an audit, about a record of the data to be cleaned; source, licence and group are that record's.

    Attributes:
        finding: its name, such as `near_image`.
        data: the data set: its place on the command line.
        record: id of the record; null where the finding is about a whole data set.
        against: the other record's data set.
        other: id of the other record.
        score: distance, likeness or size of the deviation; the finding's name says which.
        detail: in words.
    """

    kind: ClassVar[str] = "audit"
    finding: str
    data: str
    record: str | None = None
    against: str | None = None
    other: str | None = None
    score: float = 0.0
    detail: str = ""


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Reject:
    """A record that was not taken: its key at the source, a short stable reason, and what was wrong.

    Halves of characters in them are written as escapes: what is wrong with a record must not keep its reject from being stored.
    """

    key: str
    reason: str
    message: str

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, whole_text(getattr(self, item.name)))


def box_to_text(box: Box) -> str:
    """A box as models read and write it: `[x0, y0, x1, y1]`, whole numbers 0 to 999 relative to the image."""
    return "[" + ", ".join(str(round(value * 999)) for value in (box.x0, box.y0, box.x1, box.y1)) + "]"
