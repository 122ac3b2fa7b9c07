import pytest
import torch
from open_clip.model import CLIP

from eosin.clip.config import OptimiserConfig
from eosin.clip.schedule import build_optimiser, learning_rate
from eosin.clip.towers import PackedAttention, encode_texts, pack_attention

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
TEXT = {"context_length": 20, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2}


def tokens() -> torch.Tensor:
    ids = torch.zeros(5, 20, dtype=torch.long)
    for row, length in enumerate((3, 9, 2, 6, 4)):
        ids[row, :length] = torch.arange(1, length + 1)
        ids[row, length - 1] = 49
    return ids


@pytest.mark.parametrize(
    "text", [TEXT, {**TEXT, "proj_bias": True}, {**TEXT, "pool_type": "eos", "eos_id": 49}, {**TEXT, "no_causal_mask": True}]
)
def test_leaving_padding_out_changes_no_feature(text: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = CLIP(16, VISION, text).eval()
    torch.testing.assert_close(encode_texts(model, tokens(), 9), model.encode_text(tokens()), atol=1e-6, rtol=1e-5)


def test_padding_is_not_computed() -> None:
    model = CLIP(16, VISION, TEXT).eval()
    seen: list[int] = []
    model.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    encode_texts(model, tokens(), 9)
    assert seen == [9]


def test_the_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    config = OptimiserConfig(lr=2.0, warmup=0.1, final_lr=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[99] == pytest.approx(0.2, abs=0.01)
    assert learning_rate(0, 1, OptimiserConfig(warmup=0.0)) == OptimiserConfig().lr


def test_only_matrices_decay() -> None:
    model = CLIP(16, VISION, TEXT)
    decays = {
        id(parameter): group["weight_decay"]
        for group in build_optimiser(model, OptimiserConfig()).param_groups
        for parameter in group["params"]
    }
    named = {name: decays[id(parameter)] for name, parameter in model.named_parameters()}
    assert len(named) == len(decays)
    free = {name for name, decay in named.items() if decay == 0}
    assert {"logit_scale", "visual.class_embedding", "ln_final.weight", "visual.transformer.resblocks.0.attn.in_proj_bias"} <= free
    assert {"visual.conv1.weight", "token_embedding.weight", "text_projection"}.isdisjoint(free)


def test_packed_attention_computes_what_torchs_does() -> None:
    torch.manual_seed(0)
    plain, packed = CLIP(16, {**VISION, "layers": 2}, TEXT), CLIP(16, {**VISION, "layers": 2}, TEXT)
    packed.load_state_dict(plain.state_dict())
    pack_attention(packed)
    assert sum(isinstance(module, PackedAttention) for module in packed.modules()) == 4
    pixels = torch.randn(3, 3, 32, 32)
    for model in (plain, packed):
        (model.encode_image(pixels) @ model.encode_text(tokens()[:3]).T).square().sum().backward()
    for (name, wanted), found in zip(plain.named_parameters(), packed.parameters(), strict=True):
        if wanted.grad is not None:
            torch.testing.assert_close(found.grad, wanted.grad, atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(packed.encode_text(tokens()), plain.encode_text(tokens()))


def test_attention_that_is_not_plain_goes_to_torch() -> None:
    torch.manual_seed(0)
    plain = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    packed = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    packed.load_state_dict(plain.state_dict())
    pack_attention(torch.nn.Sequential(packed))
    query, other = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    torch.testing.assert_close(packed(query, other, other, need_weights=False)[0], plain(query, other, other, need_weights=False)[0])
