"""Conversations as token ids, with a mark on every token the loss counts: those the assistant writes, its end token too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError
from eosin.models.turns import Render, reply_length, segments, wants_special_tokens
from eosin.records import Message

_REMEMBERED = 50_000


@dataclass(frozen=True)
class Encoded:
    """A tokenised conversation.

    Attributes:
        ids: int32 [n]; each image takes as many image tokens as the tower gives features.
        learn: bool [n]; the tokens the loss counts.
        prefix: length up to and with the last image token: what questions on the same images can share.
    """

    ids: NDArray[np.int32]
    learn: NDArray[np.bool_]
    prefix: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Encoder:
    """Conversations to ids.

    Attributes:
        tokenizer: of Hugging Face.
        render: the chat template.
        image_token: id of the placeholder.
        image_tokens: placeholders an image takes.
        end_ids: tokens that end a reply.
    """

    tokenizer: Any
    render: Render
    image_token: int
    image_tokens: int
    end_ids: frozenset[int]
    _known: dict[tuple[Message, ...], Encoded] = field(default_factory=dict, repr=False, compare=False)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """One conversation. The same words on other images give the same object: questions repeat, and rendering them is slow.

        Raises:
            InputError: the template refuses it; no assistant turn is in it; its text holds an image placeholder.
        """
        key = tuple(messages)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = self._encode(key)
        return self._known[key]

    def _encode(self, messages: tuple[Message, ...]) -> Encoded:
        if not any(message.role == "assistant" for message in messages):
            raise InputError("no turn of the assistant is in the conversation; there is nothing to learn")
        ids: list[int] = []
        learn: list[bool] = []
        for segment in segments(self.render, messages):
            first = not ids and wants_special_tokens(self.tokenizer, segment.text)
            piece = self.tokenizer(segment.text, add_special_tokens=first)["input_ids"]
            counted = reply_length(piece, self.end_ids) if segment.reply else 0
            for number, token in enumerate(piece):
                copies = self.image_tokens if token == self.image_token else 1
                ids += [token] * copies
                learn += [number < counted] * copies
        self._check(ids, messages)
        tokens = np.array(ids, np.int32)
        images = np.flatnonzero(tokens == self.image_token)
        return Encoded(tokens, np.array(learn, np.bool_), int(images[-1]) + 1 if images.size else 0)

    def _check(self, ids: Sequence[int], messages: Sequence[Message]) -> None:
        wanted = sum(part.type == "image" for message in messages for part in message.content) * self.image_tokens
        found = sum(token == self.image_token for token in ids)
        if found != wanted:
            raise InputError(
                f"{found} image tokens for {wanted} image features: the text holds an image placeholder, or the chat template drops images"
            )
