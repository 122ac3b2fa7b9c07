"""An architecture of another family (Qwen2-VL: images of any size, positions in three axes) behind the same protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor, Qwen2VLVideoProcessor
from transformers.models.qwen2_vl import Qwen2VLImageProcessor

from eosin.images import encode_png
from eosin.models.protocols import Chat, Sampling
from eosin.models.specs import ChatSpec
from eosin.models.transformers_chat import TransformersChat
from eosin.records import Message, Part

SPECIAL = ["<pad>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if p['type'] == 'image' else p['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> TransformersChat:
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["what is it"], trainers.BpeTrainer(vocab_size=280, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[1], pad_token=SPECIAL[0], additional_special_tokens=SPECIAL[2:]
    )
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    config = Qwen2VLConfig(
        text_config={**text, "vocab_size": len(fast), "max_position_embeddings": 256, "rope_parameters": rope, "eos_token_id": 1},
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2},
        **{f"{SPECIAL[place][2:-2].removesuffix('_pad')}_token_id": place for place in range(2, 6)},
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.2)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    images = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=112 * 112)
    Qwen2VLProcessor(images, fast, Qwen2VLVideoProcessor(), chat_template=TEMPLATE).save_pretrained(folder)
    return TransformersChat(ChatSpec(str(folder), device="cpu", batch_size=4))


def picture(number: int) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 256, (60 + 20 * number, 90, 3), dtype=np.uint8))


def ask(text: str, *images: bytes) -> Chat:
    return Chat((Message("user", (*(Part("image") for _ in images), Part("text", text))),), images)


def test_batches_streams_and_scores_agree_with_images_of_several_sizes(chat: TransformersChat) -> None:
    chats = [
        ask("what is it", picture(1)),
        ask("a longer question", picture(2), picture(3)),
        ask("no image"),
        ask("what is it", picture(4)),
    ]
    sampling = Sampling(max_tokens=8)
    replies = chat.generate(chats, sampling)
    assert len({reply.text for reply in replies}) == 4
    assert [chat.generate([one], sampling)[0] for one in chats] == replies
    assert ["".join(delta.text for delta in chat.stream(one, sampling)) for one in chats] == [reply.text for reply in replies]
    together = chat.score(chats[1], ["what", "it is what"])
    assert together == pytest.approx([chat.score(chats[1], [option])[0] for option in ("what", "it is what")], abs=1e-3)
