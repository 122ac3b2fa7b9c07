"""A tiny CLIP, and coloured squares that are easy to ask about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task
from eosin.config import load
from eosin.images import encode_png
from eosin.llm.config import TrainConfig
from eosin.llm.train import Machine, train
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Conversation, ImageText, Message, Part, Record

COLOURS = {"pink": (230, 150, 190), "purple": (110, 50, 130), "white": (245, 240, 245)}


def picture(colour: str, number: int) -> bytes:
    """A noisy square of one colour, 24 px."""
    noise = np.random.default_rng(number).integers(-8, 9, (24, 24, 3))
    return encode_png(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def turn(role: str, *parts: str | None) -> Message:
    """A message; None stands for an image."""
    return Message(role, tuple(Part("image") if part is None else Part("text", part) for part in parts))


class Given:
    """Records of one kind as a step's work: picklable."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)

    def __call__(self, task: Task) -> Iterator[Record]:
        return iter(self._records)


def write_records(folder: Path, records: list[Record]) -> Artefact:
    """A finished data artefact of training records."""
    plan = Plan(records[0].kind, "test", {}, tasks=(Task("test", 0, len(records), "train"),))
    return run_step(Step("test", plan, Given(records)), folder, LocalEngine())


def caption(colour: str, number: int) -> ImageText:
    return ImageText(
        id=f"test/{colour}-{number}",
        source="test",
        licence="CC0-1.0",
        group=f"g{number}",
        split="train",
        image=picture(colour, number),
        captions=(f"a {colour} square", f"this square is {colour}"),
    )


def conversation(name: str, messages: tuple[Message, ...], images: tuple[bytes, ...], task: str = "open") -> Conversation:
    return Conversation(
        id=f"test/{name}", source="test", licence="CC0-1.0", group="g", split="train", images=images, messages=messages, task=task
    )


def questions(colour: str, number: int) -> list[Record]:
    image = picture(colour, number)
    other = "pink" if colour != "pink" else "white"
    asked = {
        "What colour is it?": colour,
        f"Is it {colour}?": "yes",
        f"Is it {other}?": "no",
    }
    return [
        conversation(f"{colour}-{number}-{place}", (turn("user", None, question), turn("assistant", answer)), (image,))
        for place, (question, answer) in enumerate(asked.items())
    ]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `clip_model` artefact in Hugging Face format: 32 px, patches of 8, so 16 patches and a class token."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8, hidden_act="gelu"
    )
    text = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1, vocab_size=300)
    model = CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=32))
    folder = tmp_path_factory.mktemp("clip") / "clip_hf"
    with ArtefactWriter(folder, Plan("clip_model", "test", {}, facts={"format": "transformers"})) as writer:
        model.save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
        writer.finish({})
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve captioned squares."""
    return write_records(tmp_path_factory.mktemp("pairs") / "it", [caption(c, n) for n in range(4) for c in COLOURS]).path


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions on each of twelve squares."""
    return write_records(tmp_path_factory.mktemp("talks") / "cv", [r for n in range(4) for c in COLOURS for r in questions(c, n)]).path


@pytest.fixture(scope="session")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of two layers, heads of 64."""
    path = tmp_path_factory.mktemp("architecture") / "llama.json"
    path.write_text(
        '{"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,'
        ' "head_dim": 64, "max_position_embeddings": 256, "tie_word_embeddings": false}'
    )
    return path


@pytest.fixture(scope="session")
def align(clip: Path, pairs: Path, talks: Path, architecture: Path) -> Callable[..., TrainConfig]:
    """A stage-1 config; keywords lie over it."""

    def make(**values: object) -> TrainConfig:
        return load(
            TrainConfig,
            {
                "stage": "align",
                "vision": str(clip),
                "data": [str(pairs), str(talks)],
                "train": ["projector", "language_model"],
                "language_model": {"architecture": str(architecture), "tokenizer": {"size": 300}},
                "batch": {"tokens": 400, "row_tokens": 120, "max_length": 200},
                "optimiser": {"lr": 3e-3},
                "views": 2,
                "epochs": 20,
                **values,
            },
        )

    return make


@pytest.fixture(scope="session")
def stage1(align: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A model that has learnt its colours."""
    return train(align(), tmp_path_factory.mktemp("stage1") / "model", Machine(threads=1))


@pytest.fixture(scope="session")
def instruct(stage1: Artefact, talks: Path) -> Callable[..., TrainConfig]:
    """A stage-2 config; keywords lie over it."""

    def make(**values: object) -> TrainConfig:
        return load(
            TrainConfig,
            {
                "stage": "instruct",
                "model": str(stage1.path),
                "data": [str(talks)],
                "train": ["projector"],
                "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
                "batch": {"tokens": 400, "row_tokens": 120, "max_length": 200},
                "optimiser": {"lr": 2e-3},
                "epochs": 3,
                **values,
            },
        )

    return make


@pytest.fixture(scope="session")
def stage2(instruct: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """Adapters on that model."""
    return train(instruct(), tmp_path_factory.mktemp("stage2") / "adapters", Machine(threads=1))
