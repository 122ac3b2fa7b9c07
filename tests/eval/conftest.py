"""A benchmark of coloured tiles, and small models that look at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.errors import InputError, Unsupported
from eosin.images import decode_image, encode_png
from eosin.models.protocols import Capabilities, Chat, Delta, Reply, Sampling, Usage
from eosin.numerics import Floats, unit_rows
from eosin.records import Conversation, Embedding, LabelledImage, Message, Part, Prediction, Record

CLASSES = {"PINK": (230, 120, 180), "BLUE": (60, 70, 200), "GREEN": (60, 190, 90)}
WORDS = {"PINK": "pink tissue", "BLUE": "blue nuclei", "GREEN": "green ink"}
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 77, "width": 32, "heads": 2, "layers": 1},
}
LABEL_SET = {"classes": {name: {"answer": words} for name, words in WORDS.items()}, "title": "Colours"}


def tile(label: str, number: int, side: int = 24) -> bytes:
    """A noisy tile of the class's colour."""
    rng = np.random.default_rng([number, *label.encode()])
    pixels = np.array(CLASSES[label]) + rng.normal(0, 12, size=(side, side, 3))
    return encode_png(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path, kind: str, records: Sequence[Record], facts: dict[str, object] | None = None, **plan_of: Any) -> Artefact:
    """A data artefact of these records, one shard a split; records carry their split. `plan_of`: settings and inputs of its plan."""
    splits = sorted({record.split for record in records})
    tasks = tuple(Task("made", 0, 1, split) for split in splits)
    plan = Plan(kind, "build", **{"settings": {}, "tasks": tasks, "facts": facts or {}, **plan_of})
    with ArtefactWriter(folder, plan) as writer:
        for name, task in writer.pending():
            write_shard(writer.path, kind, name, task.split, [record for record in records if record.split == task.split])
        return writer.finish()


def tiles(count: int = 24) -> list[LabelledImage]:
    """`count` tiles a split; two tiles a patient."""
    names = list(CLASSES)
    return [
        LabelledImage(
            id=f"made/{split}-{number}",
            source="made",
            licence="CC0-1.0",
            group=f"{split}-patient-{number // 2}",
            split=split,
            image=tile(names[number % 3], number + (1000 if split == "test" else 0)),
            label=names[number % 3],
        )
        for split in ("train", "test")
        for number in range(count)
    ]


def conversations(images: Sequence[LabelledImage]) -> list[Conversation]:
    """A yes/no, an open and a multiple choice question about each tile."""
    found = []
    for number, image in enumerate(images):
        label = str(image.label)
        asked = list(CLASSES)[(number // 3) % 3]
        options = tuple(WORDS.values())
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABC", options, strict=True))
        rows = [
            ("closed", f"Is this {WORDS[asked]}?", "yes" if asked == label else "no", (), {"form": "class", "asked": asked}),
            ("open", "What is this?", WORDS[label], (), {"form": "class"}),
            ("mcq", f"What is this?\n{listed}", WORDS[label], options, {"form": "class"}),
        ]
        for task, text, answer, choices, extra in rows:
            messages = (Message("user", (Part("image"), Part("text", text))), Message("assistant", (Part("text", answer),)))
            common = {"source": "made", "licence": "CC0-1.0", "group": image.group, "split": image.split, "images": (image.image,)}
            found.append(
                Conversation(
                    id=f"{image.id}/{task}",
                    messages=messages,
                    task=task,
                    answer=answer,
                    options=choices,
                    extra={**extra, "image_id": image.id},
                    **common,
                )
            )
    return found


def predictions(rows: Sequence[tuple[object, ...]], **common: object) -> list[Prediction]:
    """Predictions from (question, group, answer, reply) rows and what they share."""
    defaults: dict[str, object] = {"benchmark": "b" * 64, "condition": "plain", "task": "open", "model": "m", "finish_reason": "stop"}
    shared = {"source": "made", "licence": "CC0-1.0", "split": "test", "prompt_hash": "p", **defaults, **common}
    return [
        Prediction(id=str(question), question=str(question), group=str(group), answer=str(answer), reply=str(reply), **shared)  # type: ignore[arg-type]
        for question, group, answer, reply in rows
    ]


class ColourEmbedder:
    """Images by their mean colour; a text by the colour of the class it names."""

    dim = 3
    logit_scale = 20.0
    supports = frozenset({"image", "text"})
    fingerprint = "colour-embedder"

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        means = np.stack([decode_image(image).reshape(-1, 3).mean(axis=0) for image in images])
        return unit_rows(means + 1e-3)

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        colours = [next(CLASSES[name] for name, words in WORDS.items() if words in text) for text in texts]
        return unit_rows(np.array(colours, dtype=np.float32))


@dataclass
class LookingChat:
    """Answers from the tile's colour; `asked` keeps every chat it was given; `bad` texts fail with `error`."""

    asked: list[Chat] = field(default_factory=list)
    bad: str | None = None
    error: type[Exception] = InputError
    fingerprint: str = "looking-chat"
    capabilities: Capabilities = field(default_factory=Capabilities)

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        self.asked += batch
        for chat in batch:
            if self.bad is not None and self.bad in chat.messages[-1].text:
                raise self.error("cannot answer this")
        return [Reply(self._answer(chat), "stop", Usage(7, 2)) for chat in batch]

    def _answer(self, chat: Chat) -> str:
        seen = "nothing"
        if chat.images:
            mean = decode_image(chat.images[0]).reshape(-1, 3).mean(axis=0)
            name = min(CLASSES, key=lambda label: float(np.abs(mean - CLASSES[label]).sum()))
            seen = WORDS[name] if mean.max() > 0 else "nothing"
        text = chat.messages[-1].text.splitlines()
        if text[-1].startswith("Is this"):
            return "Yes." if seen in text[-1] else "No."
        listed = [line[0] for line in text if line[1:3] == ". " and seen in line]
        return f"({listed[0]})" if listed else seen

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        raise Unsupported("not streamed")

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        raise Unsupported("not scored")


@dataclass(frozen=True)
class Bench:
    """Folders of the benchmark and of empty model artefacts."""

    root: Path
    images: Path
    talks: Path
    clip: Path
    llm: Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    images = tiles()
    facts = {"classes": list(CLASSES), "label_set": LABEL_SET}
    write(tmp_path / "images", "labelled_images", images, facts)
    write(tmp_path / "talks", "conversations", conversations(images))
    for kind in ("clip_model", "llm_model"):
        with ArtefactWriter(tmp_path / kind, Plan(kind, "train", {})) as writer:
            writer.finish()
    return Bench(tmp_path, tmp_path / "images", tmp_path / "talks", tmp_path / "clip_model", tmp_path / "llm_model")


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> ColourEmbedder:
    made = ColourEmbedder()
    for module in ("zero_shot", "vqa", "retrieval", "zero_shot_slides"):
        monkeypatch.setattr(f"eosin.eval.tasks.{module}.load_embedder", lambda spec: made)
    return made


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> LookingChat:
    made = LookingChat()
    monkeypatch.setattr("eosin.eval.tasks.vqa.load_chat", lambda spec: made)
    return made


@pytest.fixture
def write_records() -> Callable[..., Artefact]:
    """Writes records as an artefact."""
    return write


@pytest.fixture
def make_predictions() -> Callable[..., list[Prediction]]:
    """Makes predictions from (question, group, answer, reply) rows."""
    return predictions


@pytest.fixture
def archive(tmp_path: Path, embedder: ColourEmbedder) -> Path:
    """An index over all tiles, those of the test split too."""
    from eosin.commands import open_inputs
    from eosin.config import load
    from eosin.retrieval.build import build_index
    from eosin.retrieval.config import IndexConfig

    records = [
        Embedding(
            id=image.id,
            source="made",
            licence="CC0-1.0",
            group=image.group,
            split=image.split,
            vector=tuple(embedder.embed_images([image.image])[0].tolist()),
            label=WORDS[str(image.label)],
        )
        for image in tiles()
    ]
    write(tmp_path / "embeddings", "embeddings", records, {"fingerprint": embedder.fingerprint})
    config = load(IndexConfig, {"data": str(tmp_path / "embeddings")})
    build_index(config, open_inputs(config), tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def clip_model(tmp_path: Path) -> Path:
    """A tiny open_clip model with weights drawn at random."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "tiny-clip"
    with ArtefactWriter(folder, Plan("clip_model", "clip train", {})) as writer:
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP, "preprocess_cfg": {}}))
        torch.manual_seed(0)
        save_file(open_clip.create_model(f"local-dir:{folder}").state_dict(), folder / "model.safetensors")
        writer.finish()
    return folder
