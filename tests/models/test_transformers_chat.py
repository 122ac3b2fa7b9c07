"""Chat in this process: replies do not depend on their batch, streams join to replies, and closing one stops it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from eosin.errors import ArtefactError, ImageError, InputError
from eosin.images import decode_image, encode_png
from eosin.models.generation import FairLock, nucleus
from eosin.models.protocols import Chat, Reply, Sampling
from eosin.models.specs import ChatSpec, load_chat
from eosin.models.transformers_chat import TransformersChat
from eosin.records import Message, Part

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{% for p in m['content'] %}"
    "{{ '<image>' if p['type'] == 'image' else p['text'] }}{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def save_tiny_llava(folder: Path) -> None:
    """A LLaVA with random but decisive weights: image of 32 px, 17 image tokens, context of 160."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokenizer.train_from_iterator(
        ["what is it yes no adipose tissue Größe"],
        trainers.BpeTrainer(
            vocab_size=290, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", additional_special_tokens=special[3:]
    )
    torch.manual_seed(3)
    vision = CLIPVisionConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=32, patch_size=8)
    text = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=64,
        max_position_embeddings=160, vocab_size=len(fast), bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3, vision_feature_select_strategy="full")
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.25)
        # Replies in letters: half characters would be no text to compare.
        words = {number: fast.decode([number]) for number in range(len(fast))}
        odd = [number for number, word in words.items() if word in special[:2] + special[3:] or not (word.isprintable() and word.isascii())]
        model.lm_head.weight[odd] = 0
    model.generation_config.eos_token_id = 2
    # A habit of sampling in the folder must not make greedy replies random.
    model.generation_config.update(do_sample=True, temperature=0.7)
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=images, tokenizer=fast, patch_size=8, vision_feature_select_strategy="full", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llava")
    save_tiny_llava(path)
    return path


@pytest.fixture(scope="module")
def chat(folder: Path) -> TransformersChat:
    model = load_chat(ChatSpec(str(folder), device="cpu", batch_size=4))
    assert isinstance(model, TransformersChat)
    return model


def picture(number: int) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 256, (20 + number, 40, 3), dtype=np.uint8))


def ask(text: str, *images: bytes) -> Chat:
    return Chat((Message("user", (*(Part("image") for _ in images), Part("text", text))),), images)


CHATS = [
    ask("what is it", picture(1)),
    ask("yes or no? a longer question, so that there is padding", picture(2)),
    ask("no image at all"),
    ask("which of both is it", picture(3), picture(4)),
    Chat(
        (
            Message("system", (Part("text", "be brief"),)),
            Message("user", (Part("text", "before"), Part("image"), Part("text", "after"))),
            Message("assistant", (Part("text", "yes"),)),
            Message("user", (Part("text", "sure?"),)),
        ),
        (picture(5),),
    ),
    ask("what is it", picture(6)),
]
GREEDY = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def replies(chat: TransformersChat) -> list[Reply]:
    return chat.generate(CHATS, GREEDY)


def test_a_reply_in_a_batch_is_the_reply_alone(chat: TransformersChat, replies: list[Reply]) -> None:
    assert [chat.generate([one], GREEDY)[0] for one in CHATS] == replies
    assert chat.generate(CHATS[::-1], GREEDY) == replies[::-1]


def test_replies_are_those_of_transformers_own_generate(chat: TransformersChat, replies: list[Reply], folder: Path) -> None:
    """Independent reference: the processor's and the model's own calls, one chat at a time."""
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    for one, reply in zip(CHATS, replies, strict=True):
        turns = [
            {"role": m.role, "content": [{"type": "image"} if p.type == "image" else {"type": "text", "text": p.text} for p in m.content]}
            for m in one.messages
        ]
        text = chat.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        images = [Image.fromarray(decode_image(image)) for image in one.images]
        inputs = chat.processor(text=text, images=images or None, add_special_tokens=False, return_tensors="pt")
        found = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert chat.processor.tokenizer.decode(found, skip_special_tokens=True) == reply.text
        assert reply.usage.prompt_tokens == inputs["input_ids"].shape[1]
        assert reply.usage.completion_tokens == len(found)


def test_another_image_changes_the_reply(chat: TransformersChat, replies: list[Reply]) -> None:
    assert replies[0].text != replies[5].text
    assert chat.generate([ask("what is it", picture(6))], GREEDY)[0] == replies[5]


def test_a_seed_gives_the_same_sample_in_any_batch(chat: TransformersChat) -> None:
    sampling = Sampling(max_tokens=12, temperature=1.5, top_p=0.95, seed=7)
    together = [reply.text for reply in chat.generate(CHATS, sampling)]
    assert [chat.generate([one], sampling)[0].text for one in CHATS] == together
    others = [chat.generate(CHATS[:1], Sampling(12, 1.5, seed=seed))[0].text for seed in range(4)]
    assert len(set(others)) > 1


def test_samples_follow_the_models_distribution(chat: TransformersChat) -> None:
    first = chat.generate(CHATS[:1], Sampling(1, logprobs=3))[0].logprobs
    assert first is not None
    best, chance = max(first[0].top.items(), key=lambda item: item[1])
    drawn = [chat.generate(CHATS[:1] * 4, Sampling(1, 1.0, seed=seed))[0].text for seed in range(60)]
    wanted = float(np.exp(chance))
    assert abs(drawn.count(best) / 60 - wanted) < 4 * (wanted * (1 - wanted) / 60) ** 0.5 + 1e-9


def test_the_nucleus_is_the_smallest_set_that_holds_top_p() -> None:
    chances = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert torch.isfinite(nucleus(chances, 0.8)).tolist() == [[True, True, False, False]]
    assert torch.isfinite(nucleus(chances, 0.81)).tolist() == [[True, True, True, False]]
    assert torch.isfinite(nucleus(chances, 0.0)).tolist() == [[True, False, False, False]]
    assert torch.equal(nucleus(chances, 1.0), chances)


def test_a_stream_joins_to_the_reply(chat: TransformersChat, replies: list[Reply]) -> None:
    for one, reply in zip(CHATS, replies, strict=True):
        deltas = list(chat.stream(one, GREEDY))
        assert "".join(delta.text for delta in deltas) == reply.text
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert (deltas[-1].finish_reason, deltas[-1].usage) == (reply.finish_reason, reply.usage)


def test_a_stop_text_ends_the_reply_and_no_part_of_it_is_streamed(chat: TransformersChat, replies: list[Reply]) -> None:
    words = replies[0].text
    assert len(words) >= 4
    stop = words[2:4]
    sampling = Sampling(max_tokens=12, stop=(stop, "never"))
    reply = chat.generate([CHATS[0]], sampling)[0]
    assert (reply.text, reply.finish_reason) == (words[: words.find(stop)], "stop")
    assert "".join(delta.text for delta in chat.stream(CHATS[0], sampling)) == reply.text


def test_closing_a_stream_stops_the_work(chat: TransformersChat) -> None:
    before = threading.active_count()
    stream = chat.stream(CHATS[0], Sampling(max_tokens=130))
    next(stream)
    steps = _count_forwards(chat)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert steps() <= 2
    assert chat.generate([CHATS[0]], GREEDY)


def _count_forwards(chat: TransformersChat) -> Callable[[], int]:
    count = 0

    def hook(*_: object) -> None:
        nonlocal count
        count += 1

    handle = chat.model.register_forward_hook(hook)

    def read() -> int:
        handle.remove()
        return count

    return read


def test_streams_and_replies_at_the_same_time_do_not_disturb_each_other(chat: TransformersChat, replies: list[Reply]) -> None:
    def work(number: int) -> str:
        one = CHATS[number % len(CHATS)]
        return "".join(delta.text for delta in chat.stream(one, GREEDY)) if number % 2 else chat.generate([one], GREEDY)[0].text

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(12))) == [replies[number % len(CHATS)].text for number in range(12)]


def test_waiters_take_turns() -> None:
    lock, order = FairLock(), []

    def work(name: str) -> None:
        with lock:
            for _ in range(3):
                order.append(name)
                lock.let_pass()

    with lock:
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for number, thread in enumerate(threads):
            thread.start()
            while len(lock._queue) < number + 2:
                pass
    for thread in threads:
        thread.join()
    assert order == list("ababab")


def test_scores_are_the_log_likelihoods_of_replies(chat: TransformersChat, folder: Path) -> None:
    """Independent reference: the loss of the model's own forward on prompt and option, one option at a time."""
    options = ["yes", "no", "adipose tissue"]
    found = chat.score(CHATS[0], options)
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    prompt = chat.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    image = Image.fromarray(decode_image(CHATS[0].images[0]))
    for option, score in zip(options, found, strict=True):
        whole = chat.processor(text=f"{prompt}{option}</s>", images=image, add_special_tokens=False, return_tensors="pt")
        own = chat.processor(text=prompt, images=image, add_special_tokens=False, return_tensors="pt")["input_ids"].shape[1]
        labels = whole["input_ids"].clone()
        labels[:, :own] = -100
        loss = model(**whole, labels=labels).loss.item()
        assert score == pytest.approx(-loss * (labels.shape[1] - own), abs=1e-3)


def test_logprobs_belong_to_the_tokens_of_the_reply(chat: TransformersChat) -> None:
    reply = chat.generate([CHATS[1]], Sampling(max_tokens=6, logprobs=2))[0]
    assert reply.logprobs is not None
    assert "".join(one.token for one in reply.logprobs) == reply.text
    for one in reply.logprobs:
        assert len(one.top) == 2
        assert one.logprob == pytest.approx(max(one.top.values()))
    assert chat.generate([CHATS[1]], Sampling(max_tokens=6))[0].logprobs is None


def test_a_reply_ends_where_the_context_ends_and_a_longer_chat_is_refused(chat: TransformersChat) -> None:
    reply = chat.generate([ask("x " * 60)], Sampling(max_tokens=500))[0]
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens <= 160
    with pytest.raises(InputError, match="context holds 160"):
        chat.generate([CHATS[0], ask("x " * 400)], GREEDY)
    with pytest.raises(InputError, match="context holds 160"):
        chat.stream(ask("x", *[picture(1)] * 10), GREEDY)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (Chat(()), "without messages"),
        (Chat((Message("user", (Part("image"),)),)), "1 image parts, but 0 images"),
        (ask("what is <image> here", picture(1)), "holds <image>"),
        (Chat((Message("user", (Part("text", "a"),)), Message("assistant", (Part("text", "b"),)))), "nothing is left to answer"),
        (Chat((Message("user", (Part("slide", "w"),)),)), "slide"),
    ],
)
def test_a_chat_that_cannot_be_answered_is_refused(chat: TransformersChat, one: Chat, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chat.generate([one], GREEDY)


def test_a_damaged_image_is_refused_by_its_reason(chat: TransformersChat) -> None:
    with pytest.raises(ImageError) as caught:
        chat.generate([ask("what", picture(1)[:60])], GREEDY)
    assert caught.value.reason in ("truncated", "corrupt")


def test_no_reply_and_no_room_are_told_apart(chat: TransformersChat) -> None:
    assert chat.generate([], GREEDY) == []
    with pytest.raises(InputError, match="at least 1"):
        chat.generate([CHATS[0]], Sampling(max_tokens=0))


def test_the_fingerprint_follows_the_weights_and_the_numbers(chat: TransformersChat, folder: Path, tmp_path: Path) -> None:
    again = TransformersChat(ChatSpec(str(folder), device="cpu"))
    assert again.fingerprint == chat.fingerprint
    assert TransformersChat(ChatSpec(str(folder), device="cpu", dtype="bfloat16")).fingerprint != chat.fingerprint
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE + " ")
    assert TransformersChat(ChatSpec(str(tmp_path), device="cpu")).fingerprint != chat.fingerprint


def test_folders_that_hold_no_whole_model_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        TransformersChat(ChatSpec(str(tmp_path)))
    (tmp_path / "adapter").mkdir()
    with pytest.raises(InputError, match="eosin llm export"):
        TransformersChat(ChatSpec(str(tmp_path)))
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    from safetensors.torch import load_file, save_file

    tensors = load_file(broken / "model.safetensors")
    save_file(dict(list(tensors.items())[1:]), broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="missing_keys"):
        TransformersChat(ChatSpec(str(broken)))
    (broken / "plan.json").write_text("{}")
    with pytest.raises(ArtefactError):
        TransformersChat(ChatSpec(str(broken)))


def test_capabilities_say_what_works(chat: TransformersChat) -> None:
    found = chat.capabilities
    assert (found.images, found.max_images, found.logprobs, found.scoring, found.tools) == (True, None, True, True, False)
