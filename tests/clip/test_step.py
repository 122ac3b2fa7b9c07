"""The gradient of a step: alike however the batch is cut."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eosin.artefacts import Artefact
from eosin.clip.architecture import build_model, write_open_clip_config
from eosin.clip.batches import Batches
from eosin.clip.config import ClipTrainConfig, ObjectiveConfig
from eosin.clip.distributed import World
from eosin.clip.image_store import Reading
from eosin.clip.pairs import Wanted, load_pairs
from eosin.clip.relations import Rules, relate
from eosin.clip.step import Stepper
from eosin.clip.token_table import build_token_table
from eosin.clip.tokens import settle_tokenizer
from eosin.clip.towers import compile_blocks, pack_attention, pools_at_highest_id
from eosin.errors import ConfigError

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32, "patch_dropout": 0.25},
    "text_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 2},
}
COCA: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16, "attentional_pool": True, "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 1, "embed_cls": True, "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 16, "vocab_size": 320, "width": 32, "heads": 2, "layers": 1},
    "custom_text": True,
}  # fmt: skip

RESNET: dict[str, Any] = {**ARCHITECTURE, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}}

Make = Callable[..., tuple[Stepper, Batches]]


@pytest.fixture
def make(pairs_artefact: Artefact, tmp_path: Path) -> Make:
    """A stepper and the batches it takes, of 12 coloured squares each."""

    def build(architecture: dict[str, Any] = ARCHITECTURE, *, hard: bool = False, **settings: Any) -> tuple[Stepper, Batches]:
        config = ClipTrainConfig(data="x", batch_size=12, **settings)
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        pairs = load_pairs(pairs_artefact, Reading(40, "squash", 1 << 20), tmp_path, Wanted())
        if hard:
            index, following = pairs.index, np.roll(np.arange(len(pairs)), -1)
            first = {"hard": index.held[index.starts[following]], "hard_starts": np.arange(len(pairs) + 1)}
            shared = {"labels": index.labels // 2, "nodes": 3 * (index.labels // 2) + 1}
            pairs = dataclasses.replace(pairs, index=dataclasses.replace(index, **first, **shared))
        given = COCA if config.objective.name == "coca" else architecture
        if config.objective.name == "siglip":
            given = {**given, "init_logit_bias": -10.0}
        model_cfg = settle_tokenizer(config.tokenizer, pairs.texts, given, folder, None)
        write_open_clip_config(folder, model_cfg, config.image)
        model = build_model(folder, 0)
        pack_attention(model)
        tokens = build_token_table(tmp_path, pairs.texts, model_cfg, pools_at_highest=pools_at_highest_id(model))
        batches = Batches(config, pairs, tokens, 32, World())
        return Stepper(config, model.train(), torch.device("cpu"), World()), batches

    return build


@pytest.mark.parametrize("rule", ["pair", "same_caption_or_label", "same_disease"])
def test_a_batch_knows_the_hard_captions_that_hold_for_an_image_of_it(rule: Any, make: Make) -> None:
    """The next record's first caption is each one's hard one; captions tell four colours, labels and diseases two pairs of them."""
    batch = make(hard=True, positives=rule, objective=ObjectiveConfig(hard_captions=1))[1].batch(0)
    spared = relate(batch.keys, Rules(rule), slice(None), slice(None))[1]
    of_image = torch.from_numpy(batch.numbers % 4)
    said = (of_image + 1) % 4
    alike = (of_image[:, None] == said) if rule == "pair" else (of_image[:, None] // 2 == said // 2)
    assert torch.equal(spared[:, 1::2], alike)


def gradient(stepper: Stepper, batches: Batches, step: int = 1) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    stepper.model.zero_grad(set_to_none=True)
    losses = stepper.backward(batches.batch(step), step)
    return {name: p.grad.clone() for name, p in stepper.model.named_parameters() if p.grad is not None}, losses


OBJECTIVES = {
    "infonce": {"objective": ObjectiveConfig("infonce", captions=2, spare=("group",)), "positives": "same_caption"},
    "hardness": {"objective": ObjectiveConfig("infonce", hardness=0.5)},
    "siglip": {"objective": ObjectiveConfig("siglip")},
    "keep": {"objective": ObjectiveConfig("keep")},
    "coca": {"objective": ObjectiveConfig("coca", captions=2)},
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("micro", [4, 5])
def test_gradient_caching_gives_the_gradient_of_the_whole_batch(name: str, micro: int, make: Make) -> None:
    stepper, batches = make(**OBJECTIVES[name])
    if name != "coca":
        stepper.model.visual.patch_dropout = torch.nn.Identity()  # drawn for a part and for the whole it cannot be alike
    whole, wanted = gradient(stepper, batches)
    stepper.config = dataclasses.replace(stepper.config, micro_batch=micro)
    cached, found = gradient(stepper, batches)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert whole.keys() == cached.keys()
    for parameter, value in whole.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(cached[parameter] / scale, value / scale, atol=1e-5, rtol=0, msg=parameter)


def test_convolutions_see_channels_last_and_the_same_picture(make: Make) -> None:
    stepper, batches = make(RESNET)
    batch = batches.batch(0)
    seen: list[torch.Tensor] = []
    stepper.model.visual.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    stepper.backward(batch, 0)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    caught = seen[0].contiguous()
    seen.clear()
    stepper._convolves = False
    stepper.backward(batch, 0)
    torch.testing.assert_close(seen[0], caught)


def test_batch_normalisation_is_never_cached_in_silence(make: Make) -> None:
    with pytest.raises(ConfigError, match="micro_batches=independent"):
        make(RESNET, micro_batch=4)
    stepper, batches = make(RESNET, micro_batch=4, micro_batches="independent")
    assert stepper.backward(batches.batch(0), 0)["loss"] > 0


@pytest.mark.parametrize("micro", [0, 4])
@pytest.mark.parametrize("micro_batches", ["cached", "independent"])
def test_a_weight_that_no_part_touches_gets_no_gradient(micro: int, micro_batches: str, make: Make) -> None:
    """AdamW would let it decay: a decoder that is not trained would fade."""
    stepper, batches = make(micro_batch=micro, micro_batches=micro_batches)
    stepper.model.unused = torch.nn.Parameter(torch.ones(3))
    found, _ = gradient(stepper, batches)
    assert found.keys() == {name for name, _ in stepper.model.named_parameters()} - {"unused"}


class OneOfTwo(World):
    """A process whose twin touched the first weight that learns, and no other."""

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        for flags in tensors:
            flags[0] += 1


def test_what_no_process_touches_gets_no_gradient_and_what_another_touches_gets_one(make: Make) -> None:
    stepper, _ = make()
    learning = stepper._learning()
    stepper._world = OneOfTwo(0, 2)
    learning[1].grad = torch.ones_like(learning[1])
    stepper._share_touched()
    assert torch.equal(learning[0].grad, torch.zeros_like(learning[0])), "the twin's gradient is added to it"
    assert torch.equal(learning[1].grad, torch.ones_like(learning[1]))
    assert all(parameter.grad is None for parameter in learning[2:]), "AdamW would let them decay"


def test_only_one_tower_is_carried_back_at_a_time(make: Make) -> None:
    """What a part's image tower keeps for its backward pass is gone before its text tower keeps anything."""
    stepper, batches = make(micro_batch=4)
    done: list[str] = []
    for name, block in (("image", stepper.model.visual.transformer), ("text", stepper.model.transformer)):
        block.register_forward_hook(lambda _, __, out, name=name: done.append(f"{name} forth") if out.requires_grad else None)
        block.register_full_backward_hook(lambda *_, name=name: done.append(f"{name} back"))
    stepper.backward(batches.batch(0), 0)
    assert done == ["image forth", "image back", "text forth", "text back"] * 3


def test_a_tower_draws_alike_in_both_passes_of_caching(make: Make) -> None:
    stepper, batches = make(micro_batch=4)
    seen: list[torch.Tensor] = []
    stepper.model.visual.patch_dropout.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    stepper.backward(batches.batch(0), 0)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], seen[1])


def test_independent_micro_batches_are_batches_of_their_own(make: Make) -> None:
    stepper, batches = make(micro_batch=6, micro_batches="independent")
    stepper.model.visual.patch_dropout = torch.nn.Identity()
    summed, losses = gradient(stepper, batches)
    stepper.config = dataclasses.replace(stepper.config, micro_batch=0)
    batch = batches.batch(1)
    parts = []
    for rows in (slice(0, 6), slice(6, 12)):
        keys = batch.keys.part(torch.arange(12)[rows])
        part = dataclasses.replace(
            batch,
            numbers=batch.numbers[rows],
            images=batch.images[rows],
            draws=batch.draws.part(rows),
            tokens=batch.tokens[rows],
            keys=keys,
        )
        stepper.model.zero_grad(set_to_none=True)
        value = stepper.backward(part, 1)["loss"]
        parts.append(({name: p.grad.clone() for name, p in stepper.model.named_parameters() if p.grad is not None}, value))
    assert losses["loss"] == pytest.approx((parts[0][1] + parts[1][1]) / 2, abs=1e-6)
    for name, value in summed.items():
        torch.testing.assert_close(value, (parts[0][0][name] + parts[1][0][name]) / 2, atol=1e-6, rtol=1e-4, msg=name)


def test_every_weight_of_a_captioner_is_drawn_from_the_seed(make: Make) -> None:
    first = make(**OBJECTIVES["coca"])[0].model
    waste = [torch.full((32, 320), float(number)) for number in range(1, 40)]
    del waste
    second = make(**OBJECTIVES["coca"])[0].model
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    assert 0.1 < float(first.text_decoder.text_projection.std()) < 0.3


def test_recomputing_blocks_changes_no_gradient(make: Make) -> None:
    stepper, batches = make()
    kept, _ = gradient(stepper, batches)
    stepper.model.set_grad_checkpointing(True)
    again, _ = gradient(stepper, batches)
    for name, value in kept.items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_batches_are_the_same_however_many_threads_prepare_them_and_wherever_one_begins(make: Make) -> None:
    _, batches = make(epochs=3)
    one = list(batches.following(0, 9, 1))
    many = list(batches.following(4, 9, 3))
    assert len(one) == 9
    for first, second in zip(one[4:], many, strict=True):
        assert first.numbers.tolist() == second.numbers.tolist()
        assert (first.images == second.images).all()
        assert torch.equal(first.tokens, second.tokens)
        assert first.length == second.length
    epoch = sorted(number for batch in one[:3] for number in batch.numbers)
    assert epoch == list(range(36)), "an epoch is one pass"


def test_compiled_blocks_give_the_same_gradient_under_the_same_names(make: Make) -> None:
    stepper, batches = make(micro_batch=4)
    stepper.model.visual.patch_dropout = torch.nn.Identity()
    names = list(stepper.model.state_dict())
    plain, wanted = gradient(stepper, batches)
    assert compile_blocks(stepper.model, backend="eager") == 4
    assert list(stepper.model.state_dict()) == names
    compiled, found = gradient(stepper, batches)
    assert found == pytest.approx(wanted, abs=1e-6)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-5, rtol=1e-4)
