"""Chat with any image-text-to-text model of Hugging Face, in this process.

Local files only and no code from the model's folder. Replies that are generated at the same time take turns, one forward pass
each, so a server can stream several. Greedy replies do not depend on the batch, but for ties within rounding (see
`eosin.models.generation`).
"""

from __future__ import annotations

import functools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eosin.artefacts import open_artefact
from eosin.errors import ConfigError, InputError, MissingDependency
from eosin.images import decode_image
from eosin.models.embedding import pick_device
from eosin.models.loading import read_model
from eosin.models.protocols import Capabilities, Chat, Delta, Reply, Sampling, TokenLogprob, Usage, fingerprint_of
from eosin.models.specs import ChatSpec
from eosin.models.turns import prompt_text, renderer, reply_length, segments, wants_special_tokens
from eosin.records import Message, Part

if TYPE_CHECKING:
    from torch import Tensor

    from eosin.models.generation import Observer, Row

_MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")
_ARTEFACT_FILES = frozenset({"manifest.json", "plan.json", "run.json"})


@dataclass(frozen=True)
class _Prompt:
    """A chat, rendered and decoded."""

    text: str
    images: tuple[Any, ...]


class TransformersChat:
    """`ChatModel` over `AutoModelForImageTextToText`.

    Args:
        spec: `model` is a folder: an exported `llm_model` artefact, or any model of that kind.

    Raises:
        InputError: the folder holds no such model, or no chat template.
        ArtefactError: an artefact that is unfinished or damaged.
        MissingDependency: torch or transformers is not installed.
    """

    def __init__(self, spec: ChatSpec) -> None:
        if spec.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1; got {spec.batch_size}")
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise MissingDependency(error.name or "transformers", "llm") from error
        from eosin.models.generation import FairLock

        self._spec = spec
        self._folder = _model_folder(spec.model)
        self.device = pick_device(spec.device)
        dtype = "auto" if spec.dtype == "auto" else getattr(torch, spec.dtype)
        self.model: Any = read_model(AutoModelForImageTextToText, self._folder, trust_remote_code=False, dtype=dtype)
        try:
            self.processor: Any = AutoProcessor.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self._folder} holds no processor of Hugging Face: {error}") from error
        self.model.to(self.device).eval()
        self._tokenizer: Any = self.processor.tokenizer
        self._render = renderer(self.processor)
        self._end_ids = _plain_generation(self.model, self._tokenizer)
        self._lock = FairLock()

    @property
    def capabilities(self) -> Capabilities:
        """Images in any number, log-probabilities, scoring."""
        return Capabilities(images=True, logprobs=True, scoring=True)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of every file of the model but the artefact's own, and of the numbers it computes in."""
        return model_fingerprint(self._folder, str(self.model.dtype))

    @property
    def context(self) -> int:
        """Longest sequence, prompt and reply together."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or self._tokenizer.model_max_length)

    def generate(self, batch: Sequence[Chat], sampling: Sampling) -> list[Reply]:
        """See `ChatModel.generate`."""
        prompts = [self._prompt(chat) for chat in batch]
        replies: dict[int, Reply] = {}
        # Neighbours of like length and kind: little padding, and processors that take no row without images among others.
        order = sorted(range(len(prompts)), key=lambda number: (bool(prompts[number].images), len(prompts[number].text)))
        while order:
            with_images = bool(prompts[order[0]].images)
            part = [number for number in order[: self._spec.batch_size] if bool(prompts[number].images) == with_images]
            order = order[len(part) :]
            replies.update(zip(part, self._generate([prompts[number] for number in part], sampling), strict=True))
        return [replies[number] for number in range(len(prompts))]

    def stream(self, chat: Chat, sampling: Sampling) -> Iterator[Delta]:
        """See `ChatModel.stream`. The chat is checked at once; work starts with the first piece asked for."""
        inputs = self._inputs([self._prompt(chat)])
        return self._stream(inputs, self._observer(inputs, sampling), sampling)

    def score(self, chat: Chat, options: Sequence[str]) -> list[float]:
        """See `ChatModel.score`; the end token belongs to an option.

        Raises:
            ImageError: an image cannot be decoded.
            InputError: the chat with an option is longer than the context.
        """
        from eosin.models import generation

        prompt = self._prompt(chat)
        ids = [self._option_ids(chat.messages, option) for option in options]
        found: list[float] = []
        for start in range(0, len(ids), self._spec.batch_size):
            part = ids[start : start + self._spec.batch_size]
            inputs = self._inputs([prompt] * len(part), reply=max(map(len, part)))
            with self._lock:
                found += generation.option_scores(self.model, inputs, part)
        return found

    def _prompt(self, chat: Chat) -> _Prompt:
        from PIL import Image

        parts = sum(part.type == "image" for message in chat.messages for part in message.content)
        if parts != len(chat.images):
            raise InputError(f"the chat has {parts} image parts, but {len(chat.images)} images came with it")
        text = prompt_text(self._render, chat.messages)
        placeholder = getattr(self.processor, "image_token", None)
        if placeholder and text.count(placeholder) > parts:
            raise InputError(f"the text of the chat holds {placeholder}, which stands for an image in this model; take it out")
        return _Prompt(text, tuple(Image.fromarray(decode_image(image)) for image in chat.images))

    def _inputs(self, prompts: Sequence[_Prompt], reply: int = 1) -> dict[str, Tensor]:
        """What the model takes, padded on the left.

        Raises:
            InputError: a prompt leaves no room for `reply` tokens in the context, or its images do not fit its text.
        """
        images = [list(prompt.images) for prompt in prompts] if prompts[0].images else None
        try:
            found = self.processor(
                text=[prompt.text for prompt in prompts],
                images=images,
                add_special_tokens=wants_special_tokens(self._tokenizer, prompts[0].text),
                padding=True,
                padding_side="left",
                return_tensors="pt",
            )
        except (ValueError, IndexError) as error:
            raise InputError(f"the model's processor refuses this chat: {error}") from error
        longest = int(found["attention_mask"].sum(dim=1).max())
        if longest + reply > self.context:
            raise InputError(
                f"the chat has {longest} tokens with its images; the model's context holds {self.context}: "
                "shorten the chat, or send fewer images"
            )
        moved = found.to(self.device)
        return {name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in moved.items()}

    def _option_ids(self, messages: Sequence[Message], option: str) -> list[int]:
        reply = Message("assistant", (Part("text", option),))
        piece: list[int] = self._tokenizer(segments(self._render, [*messages, reply])[-1].text, add_special_tokens=False)["input_ids"]
        return piece[: reply_length(piece, self._end_ids)]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _observer(self, inputs: dict[str, Tensor], sampling: Sampling) -> Observer:
        from eosin.models import generation

        if sampling.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1; got {sampling.max_tokens}")
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        rows = [generation.Row(min(sampling.max_tokens, self.context - length)) for length in lengths]
        stop = tuple(word for word in sampling.stop if word)
        return generation.Observer(rows, inputs["input_ids"].shape[1], self._end_ids, stop, self._decode, self._lock)

    def _generate(self, prompts: list[_Prompt], sampling: Sampling) -> list[Reply]:
        from eosin.models import generation

        inputs = self._inputs(prompts)
        observer = self._observer(inputs, sampling)
        with self._lock:
            logits = generation.run(self.model, inputs, observer, sampling)
        used = inputs["attention_mask"].sum(dim=1).tolist()
        replies = []
        for number, row in enumerate(observer.rows):
            logprobs: tuple[TokenLogprob, ...] | None = None
            if sampling.logprobs:
                written = [token for token in row.ids if token not in self._end_ids]
                logprobs = tuple(generation.token_logprobs(logits, number, written, sampling.logprobs, self._token))
            replies.append(Reply(self._text(row, observer.stop), row.finish or "length", Usage(used[number], len(row.ids)), logprobs))
        return replies

    def _token(self, token: int) -> str:
        """A token's text; its name in the vocabulary where it is no whole character, so that two tokens never look alike."""
        text = str(self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
        return str(self._tokenizer.convert_ids_to_tokens(token)) if "\ufffd" in text else text

    def _text(self, row: Row, stop: tuple[str, ...]) -> str:
        from eosin.models import generation

        text = self._decode(row.ids)
        return text[: generation.find_stop(text, stop)]

    def _stream(self, inputs: dict[str, Tensor], observer: Observer, sampling: Sampling) -> Iterator[Delta]:
        """Generate in a thread, and hand on what is certain: no half character, nothing that may become a stop text."""
        from eosin.models import generation

        steps: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
        observer.step_done = lambda rows: steps.put(list(rows[0].ids))

        def work() -> None:
            try:
                with self._lock:
                    if not observer.cancelled.is_set():
                        generation.run(self.model, inputs, observer, sampling)
            finally:
                steps.put(None)

        with ThreadPoolExecutor(1, thread_name_prefix="chat-stream") as worker:
            try:
                working = worker.submit(work)
                sent = ""
                while (ids := steps.get()) is not None:
                    certain = _certain(self._decode(ids), observer.stop)
                    if len(certain) > len(sent):
                        yield Delta(certain[len(sent) :])
                        sent = certain
                working.result()
                row = observer.rows[0]
                usage = Usage(int(inputs["attention_mask"].sum()), len(row.ids))
                yield Delta(self._text(row, observer.stop)[len(sent) :], row.finish or "length", usage)
            finally:
                observer.cancelled.set()


def model_fingerprint(folder: Path, dtype: str) -> str:
    """Of every file of a model's folder but the artefact's own, and of the numbers it computes in."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _MODEL_FILES and path.name not in _ARTEFACT_FILES]
    return fingerprint_of(files, implementation="transformers", dtype=dtype)


def _certain(text: str, stop: Sequence[str]) -> str:
    """The part of a growing text that no later token can change."""
    text = text.rstrip("\ufffd")
    for word in stop:
        place = text.find(word)
        if place >= 0:
            text = text[:place]
    held = max((size for word in stop for size in range(1, len(word)) if text.endswith(word[:size])), default=0)
    return text[: len(text) - held]


def _model_folder(model: str) -> Path:
    folder = Path(model)
    if (folder / "plan.json").is_file():
        open_artefact(folder, "llm_model")
    if (folder / "adapter").is_dir():
        raise InputError(f"{folder} holds adapters, not a model; make one by `eosin llm export RECIPE model={folder} --out DIR`")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model of Hugging Face (no config.json); give the folder of an exported assistant")
    return folder


def _plain_generation(model: Any, tokenizer: Any) -> frozenset[int]:
    """Take a model's own sampling habits away, so that a reply is what `Sampling` asks for; the tokens that end a reply.

    Raises:
        InputError: the model names none.
    """
    from transformers import GenerationConfig

    named = model.generation_config.eos_token_id
    ends = {named} if isinstance(named, int) else set(named or ())
    ends |= {tokenizer.eos_token_id} - {None}
    if not ends:
        raise InputError("the model names no end token (eos_token_id in generation_config.json); its replies would never stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    return frozenset(int(token) for token in ends)
