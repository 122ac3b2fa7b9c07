"""Greedy and sampled generation with Hugging Face models: one observer decides, step by step, where each reply ends.

Rows of a batch do not know of each other: noise is drawn from a generator of each row, and every row ends by its own rules.
What is left is rounding: another batch shape may round a logit another way, so that two tokens closer than about 1e-5 can swap.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from eosin.models.protocols import FinishReason, Sampling, TokenLogprob


class FairLock:
    """A lock that is handed on in the order of asking; a holder can let the others pass between two steps.

    Replies that are generated at the same time so take turns, one forward pass each.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()

    def __enter__(self) -> None:
        ticket = object()
        with self._condition:
            self._queue.append(ticket)
            try:
                self._condition.wait_for(lambda: self._queue[0] is ticket)
            except BaseException:
                self._queue.remove(ticket)
                self._condition.notify_all()
                raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._condition:
            self._queue.popleft()
            self._condition.notify_all()

    def let_pass(self) -> None:
        """Queue up again behind those who wait."""
        self.__exit__(None, None, None)
        self.__enter__()


@dataclass
class Row:
    """One reply of a batch as it grows."""

    room: int
    ids: list[int] = field(default_factory=list)
    finish: FinishReason | None = None


@dataclass
class Observer:
    """Sees every step of `generate` as its stopping criterion: ends rows, hands tokens on, obeys a cancellation.

    Attributes:
        rows: in order.
        prompt: length of the padded prompt.
        end_ids: tokens that end a reply.
        stop: texts that end a reply.
        decode: ids to text.
        lock: held by the caller; others may pass between steps.
        cancelled: ends all rows when set.
        step_done: called after each step.
    """

    rows: list[Row]
    prompt: int
    end_ids: frozenset[int]
    stop: tuple[str, ...]
    decode: Callable[[list[int]], str]
    lock: FairLock
    cancelled: threading.Event = field(default_factory=threading.Event)
    step_done: Callable[[list[Row]], None] | None = None

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:
        """bool [rows]: which are finished."""
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.finish is None:
                row.ids.append(token)
                row.finish = self._finish_of(row)
        if self.step_done is not None:
            self.step_done(self.rows)
        done = [row.finish is not None or self.cancelled.is_set() for row in self.rows]
        if not all(done):
            self.lock.let_pass()
        return torch.tensor(done, device=input_ids.device)

    def _finish_of(self, row: Row) -> FinishReason | None:
        if row.ids[-1] in self.end_ids:
            return "stop"
        if self.stop and find_stop(self.decode(row.ids), self.stop) is not None:
            return "stop"
        return "length" if len(row.ids) >= row.room else None


def find_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first stop text begins."""
    places = [place for place in (text.find(word) for word in stop) if place >= 0]
    return min(places, default=None)


class NoisyChoice:
    """Temperature and nucleus sampling as a logits processor: with Gumbel noise added, the greedy choice is a sample.

    The noise of a row comes from a generator of its own, so a seed gives the same reply in any batch.

    Args:
        sampling: temperature above 0.
        rows: of the batch.
    """

    def __init__(self, sampling: Sampling, rows: int) -> None:
        self._sampling = sampling
        self._generators = [torch.Generator() for _ in range(rows)]
        for generator in self._generators:
            if sampling.seed is None:
                generator.seed()
            else:
                generator.manual_seed(sampling.seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """float [rows, vocabulary]: scores whose maximum is the sample."""
        chances = torch.log_softmax(scores.float() / self._sampling.temperature, dim=-1)
        chances = nucleus(chances, self._sampling.top_p)
        noise = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=generator) for generator in self._generators])
        return chances - noise.to(chances.device).log()


def nucleus(chances: Tensor, top_p: float) -> Tensor:
    """Log-probabilities with all but the smallest set of tokens that holds `top_p` at -inf (Holtzman et al. 2020).

    Args:
        chances: log-probabilities [rows, vocabulary].
        top_p: at 1 nothing changes.
    """
    if top_p >= 1.0:
        return chances
    ordered, places = chances.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, places, before >= top_p)
    dropped.scatter_(-1, places[:, :1], False)
    return chances.masked_fill(dropped, -torch.inf)


def run(model: Any, inputs: dict[str, Tensor], observer: Observer, sampling: Sampling) -> tuple[Tensor, ...]:
    """Generate until every row of the observer is finished; the caller holds the observer's lock.

    Args:
        model: of Hugging Face, with a plain generation config.
        inputs: of its processor, padded on the left.
        observer: takes the tokens.
        sampling: how tokens are drawn.

    Returns:
        The raw logits of each step, [rows, vocabulary], where log-probabilities are wanted; else nothing.
    """
    noisy = [NoisyChoice(sampling, len(observer.rows))] if sampling.temperature > 0 else []
    with torch.inference_mode():
        found = model.generate(
            **inputs,
            max_new_tokens=max(row.room for row in observer.rows),
            do_sample=False,
            logits_processor=noisy,
            stopping_criteria=[observer],
            return_dict_in_generate=True,
            output_logits=sampling.logprobs > 0,
        )
    return tuple(found.logits) if sampling.logprobs > 0 else ()


def token_logprobs(logits: Sequence[Tensor], row: int, ids: Sequence[int], count: int, name: Callable[[int], str]) -> list[TokenLogprob]:
    """Log-probabilities of a row's tokens under the model itself, before temperature and nucleus.

    Args:
        logits: of each step [rows, vocabulary].
        row: which.
        ids: its tokens.
        count: alternatives a step.
        name: a token's text.
    """
    found = []
    for step, token in zip(logits, ids, strict=False):
        chances = torch.log_softmax(step[row].float(), dim=-1)
        values, places = chances.topk(min(count, chances.shape[-1]))
        top = {name(place): value for place, value in zip(places.tolist(), values.tolist(), strict=True)}
        found.append(TokenLogprob(name(token), float(chances[token]), top))
    return found


def option_scores(model: Any, inputs: dict[str, Tensor], options: Sequence[Sequence[int]]) -> list[float]:
    """Sum of log-likelihoods of each option's tokens after the prompt.

    Args:
        model: of Hugging Face.
        inputs: the same prompt once for each option, unpadded.
        options: token ids.
    """
    prompt = inputs["input_ids"].shape[1]
    width = max(map(len, options))
    rows = {name: _extended(name, value, inputs["input_ids"].shape, options, width) for name, value in inputs.items()}
    with torch.inference_mode():
        logits = model(**rows, use_cache=False).logits[:, prompt - 1 : -1].float()
    chances = torch.log_softmax(logits, dim=-1)
    return [float(chances[number, torch.arange(len(ids)), torch.tensor(ids)].double().sum()) for number, ids in enumerate(options)]


def _extended(name: str, value: Tensor, shape: torch.Size, options: Sequence[Sequence[int]], width: int) -> Tensor:
    """A per-token input, longer by the options; other inputs (pixels) as they are."""
    if value.shape != shape:
        return value
    more = torch.zeros(len(options), width, dtype=value.dtype)
    for number, ids in enumerate(options):
        if name == "input_ids":
            more[number, : len(ids)] = torch.tensor(ids, dtype=value.dtype)
        elif name == "attention_mask":
            more[number, : len(ids)] = 1
    return torch.cat([value, more.to(value.device)], dim=1)
