"""Rows that share an image are rows apart, only cheaper; batches are a function of (seed, epoch)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from eosin.artefacts import Artefact
from eosin.llm.assistant import Assistant, read_assistant
from eosin.llm.batches import Item, Row, attention_mask, lay_out, plan_epoch
from eosin.llm.config import BatchConfig
from eosin.llm.encoding import Encoded
from eosin.llm.forward import Batch, loss_of, target_logits
from eosin.records import Message, Part


def talk(*turns: tuple[str, ...]) -> tuple[Message, ...]:
    return tuple(Message(role, tuple(Part("image") if part == "<i>" else Part("text", part) for part in parts)) for role, *parts in turns)


TALKS = (
    talk(("user", "<i>", "What colour is it?"), ("assistant", "pink")),
    talk(("user", "<i>", "Describe the image."), ("assistant", "this square is pink"), ("user", "Is it white?"), ("assistant", "no")),
    talk(("user", "<i>", "Is it pink?"), ("assistant", "yes")),
)


@pytest.fixture(scope="module")
def assistant(stage1: Artefact) -> Assistant:
    return read_assistant(stage1.path)


def batch_of(rows: list[Row], states: torch.Tensor) -> Batch:
    layout = lay_out(rows)
    return Batch(layout, states, torch.ones(len(layout.targets)))


def test_logits_of_questions_in_one_row_are_those_of_the_models_own_forward(assistant: Assistant) -> None:
    """Independent reference: LlavaForConditionalGeneration on each conversation alone, from pixels."""
    encoder = assistant.encoder()
    samples = [encoder.encode(one) for one in TALKS]
    alone = encoder.encode(talk(("user", "No image here."), ("assistant", "yes")))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted, losses = [], []
    with torch.no_grad():
        for sample in [*samples, alone]:
            ids = torch.from_numpy(sample.ids.astype(np.int64))[None]
            labels = torch.where(torch.from_numpy(sample.learn)[None], ids, -100)
            out = assistant.model(input_ids=ids, pixel_values=pixels if sample.prefix else None, labels=labels)
            wanted.append(out.logits[0, np.flatnonzero(sample.learn) - 1])
            losses.append(out.loss * sample.learn.sum())
        # The second row is shorter, so padding is tried as well.
        batch = batch_of([Row(tuple(samples), samples[0].prefix, (0,)), Row((alone,), 0, ())], torch.zeros(0))
        found = target_logits(assistant.model, batch, assistant.image_states(pixels))
        loss = loss_of(found, batch)
    torch.testing.assert_close(found, torch.cat(wanted), atol=2e-5, rtol=0)
    torch.testing.assert_close(loss, torch.stack(losses).sum() / len(batch.layout.targets), atol=2e-5, rtol=0)


def test_image_states_are_what_the_model_feeds_its_projector(assistant: Assistant) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = assistant.model.model.multi_modal_projector(assistant.image_states(pixels))
        wanted = torch.stack(list(assistant.model.get_image_features(pixels, return_dict=True).pooler_output))
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)


def test_a_question_sees_the_prefix_and_itself_only() -> None:
    mask = attention_mask(np.array([[0, 0, 1, 1, 2, -1]]))[0, 0]
    assert mask.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def sample(prefix: int, own: int, value: int) -> Encoded:
    ids = np.concatenate([np.full(prefix, 3), np.full(own, value)]).astype(np.int32)
    return Encoded(ids, np.arange(prefix + own) == prefix + own - 1, prefix)


def items() -> list[Item]:
    return [Item((sample(10, 3 + number % 5, number),), (number // 4,), upright=number % 7 == 0) for number in range(60)]


def test_every_item_is_in_each_epoch_once_and_batches_keep_to_their_size() -> None:
    config = BatchConfig(tokens=120, row_tokens=30, questions=3)
    for epoch in range(3):
        batches = plan_epoch(items(), config, 4, 0, epoch)
        found = Counter(int(one.ids[-1]) for batch in batches for row in batch for one in row.samples)
        assert found == Counter(range(60))
        for batch in batches:
            assert max(map(len, batch)) * len(batch) <= 120 or len(batch) == 1
            assert all(len(row.samples) <= 3 for row in batch)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    def shape(seed: int, epoch: int) -> list[list[tuple[int, ...]]]:
        batches = plan_epoch(items(), BatchConfig(tokens=120), 4, seed, epoch)
        return [[(row.view, *(int(one.ids[-1]) for one in row.samples)) for row in batch] for batch in batches]

    assert shape(0, 1) == shape(0, 1)
    assert shape(0, 1) != shape(0, 2)
    assert shape(0, 1) != shape(1, 1)


def test_images_with_boxes_are_never_flipped() -> None:
    views = {True: set[int](), False: set[int]()}
    for epoch in range(8):
        for batch in plan_epoch(items(), BatchConfig(), 4, 0, epoch):
            for row in batch:
                views[int(row.samples[0].ids[-1]) % 7 == 0].add(row.view)
    assert views == {True: {0}, False: {0, 1, 2, 3}}
