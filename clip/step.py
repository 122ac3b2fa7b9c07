"""One step's gradient: the whole share at once, by gradient caching, or by plain accumulation. Imports torch.

Gradient caching (Gao et al. 2021): every micro-batch goes through the towers without keeping anything, the loss over all features gives
each feature's gradient, and every micro-batch goes through again to carry its features' gradients on. The gradient is that of the whole
batch, the memory that of a micro-batch, the time about a third more. Pixels wait as bytes; what is random in a tower is drawn alike twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from eosin.clip.augment import normalise, recolour
from eosin.clip.batches import Batch
from eosin.clip.config import ClipTrainConfig
from eosin.clip.distributed import World
from eosin.clip.objective import OBJECTIVES, Features, caption_loss
from eosin.clip.relations import Keys, Rules, has_negative
from eosin.clip.towers import encode_texts
from eosin.errors import ConfigError
from eosin.models.open_clip import OpenClipModel


@dataclass(frozen=True)
class Encoded:
    """Unit features of a micro-batch, float32, and its captioning loss (0 without a captioner)."""

    images: torch.Tensor
    texts: torch.Tensor
    captioning: torch.Tensor


class Stepper:
    """Computes losses and gradients of a model.

    Args:
        config: the recipe.
        model: in training mode, on `device`.
        device: where it is.
        world: the processes that share a batch.
    """

    def __init__(self, config: ClipTrainConfig, model: OpenClipModel, device: torch.device, world: World) -> None:
        self.config, self.model, self._device, self._world = config, model, device, world
        self._objective = OBJECTIVES[config.objective.name](config.objective)
        self._rules = Rules(config.positives, config.objective.spare)
        self._captions = config.objective.name == "coca"
        self._convolves = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
        one_by_one = config.micro_batches == "independent" and config.micro_batch == 1 and world.size == 1
        if one_by_one and not self._captions and not config.objective.hard_captions:
            raise ConfigError(
                "micro_batch is 1 and micro_batches independent: each image is a batch of its own without a negative, and nothing can be "
                "learnt; take micro_batches=cached, or a larger micro_batch"
            )
        if self._convolves and config.micro_batch and config.micro_batches == "cached":
            raise ConfigError(
                "micro_batch: batch normalisation takes the statistics of a micro-batch, so that cached micro-batches are not the "
                "gradient of the whole batch; take micro_batches=independent, a smaller batch_size, or a tower without it"
            )

    def counts(self, batch: Batch) -> dict[str, float]:
        """For `metrics.jsonl`: whether no image of the batch had a negative, and how many reworded captions were cut in all processes."""
        found = {} if self._negatives(batch) else {"without_negatives": 1.0}
        if batch.cut is not None:
            cut = torch.tensor([float(batch.cut)], device=self._device)
            self._world.sum_([cut])
            found["reworded_truncated"] = cut.item()
        return found

    def _negatives(self, batch: Batch) -> bool:
        """Whether any image of the batch has a negative, in its own micro-batch where they are independent."""
        if self.config.micro_batches != "independent":
            return has_negative(batch.keys, self._rules)
        places = (self._places(part, len(batch.numbers)) for part in self._parts(batch))
        return any(has_negative(batch.keys.part(part), self._rules) for part in places)

    def _parts(self, batch: Batch) -> list[slice]:
        records = len(batch.numbers)
        micro = self.config.micro_batch or records
        return [slice(start, min(start + micro, records)) for start in range(0, records, micro)]

    def _places(self, part: slice, records: int) -> torch.Tensor:
        """A part's places in the whole batch, those of all processes together."""
        return torch.cat([torch.arange(part.start, part.stop) + rank * records for rank in range(self._world.size)])

    def backward(self, batch: Batch, step: int) -> dict[str, float]:
        """Add the batch's gradient to the weights' `grad`, summed over all processes; the mean loss and its parts."""
        parts = self._parts(batch)
        if len(parts) == 1:
            losses = self._whole(batch, step)
        else:
            summed = self._cached if self.config.micro_batches == "cached" else self._independent
            with self._gradients_first():
                losses = summed(batch, parts, step)
        self._share_touched()
        gradients = [parameter.grad for parameter in self._learning()]
        self._world.sum_(gradient for gradient in gradients if gradient is not None)
        self._world.sum_([losses])
        total, captioning = losses.tolist()
        return {"loss": total, **({"loss_caption": captioning} if self._captions else {})}

    def _learning(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _share_touched(self) -> None:
        """Give a gradient of 0 to weights that only other processes' parts touched, so that all sum alike.

        What none touched keeps none, as in one process: AdamW would let a weight with a gradient of 0 decay.
        """
        if self._world.size == 1:
            return
        learning = self._learning()
        touched = torch.tensor([float(parameter.grad is not None) for parameter in learning], device=self._device)
        self._world.sum_([touched])
        for parameter, count in zip(learning, touched.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    @contextmanager
    def _gradients_first(self) -> Iterator[None]:
        """Make room for the weights' gradients before the first part; a weight that no part touches ends without one.

        Made by the first part's backward pass they would lie between its activations, and the heap, cut up so, grows by a fifth.
        """
        touched: set[torch.Tensor] = set()
        made = [parameter for parameter in self._learning() if parameter.grad is None]
        for parameter in made:
            parameter.grad = torch.zeros_like(parameter)
        hooks = [parameter.register_post_accumulate_grad_hook(touched.add) for parameter in made]  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        for parameter in made:
            if parameter not in touched:
                parameter.grad = None

    def _whole(self, batch: Batch, step: int) -> torch.Tensor:
        keys = batch.keys.to(self._device)
        encoded = self._encode(batch, slice(0, len(batch.numbers)), step, 0, self._tokens_in_all(batch))
        contrast = self._contrast(encoded.images, encoded.texts, keys)
        loss = contrast + encoded.captioning if self._captions else contrast
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.stack([loss.detach(), encoded.captioning.detach()])

    def _cached(self, batch: Batch, parts: Sequence[slice], step: int) -> torch.Tensor:
        tokens = self._tokens_in_all(batch)
        with torch.no_grad():
            first = [self._encode(batch, part, step, number, tokens, captions=False) for number, part in enumerate(parts)]
        images = torch.cat([encoded.images for encoded in first]).requires_grad_()
        texts = torch.cat([encoded.texts for encoded in first]).requires_grad_()
        loss = self._contrast(images, texts, batch.keys.to(self._device))
        loss.backward()  # type: ignore[no-untyped-call]
        captioning = torch.zeros((), device=self._device)
        for number, part in enumerate(parts):
            of_texts = slice(part.start * batch.keys.each, part.stop * batch.keys.each)
            gradients = images.grad[part], texts.grad[of_texts]  # type: ignore[index]
            if self._captions:
                captioning += self._carry_captioning(batch, part, step, number, tokens, gradients)
                continue
            # One tower after the other: never do the activations of both live beside the gradients of the weights.
            for features, gradient in zip(self._towers(batch, part, step, number), gradients, strict=True):
                if features.requires_grad:
                    features.backward(gradient)  # type: ignore[no-untyped-call]
        return torch.stack([loss.detach() + captioning, captioning])

    def _carry_captioning(
        self, batch: Batch, part: slice, step: int, number: int, tokens_in_all: int, gradients: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """The decoder needs both towers at once; the captioning loss of the part."""
        encoded = self._encode(batch, part, step, number, tokens_in_all)
        carried = [
            (features * gradient).sum()
            for features, gradient in zip((encoded.images, encoded.texts), gradients, strict=True)
            if features.requires_grad
        ]
        torch.stack([*carried, encoded.captioning]).sum().backward()  # type: ignore[no-untyped-call]
        return encoded.captioning.detach()

    def _independent(self, batch: Batch, parts: Sequence[slice], step: int) -> torch.Tensor:
        """Each micro-batch is a batch of its own, of all processes together."""
        tokens, records = self._tokens_in_all(batch), len(batch.numbers)
        totals = torch.zeros(2, device=self._device)
        for number, part in enumerate(parts):
            places = self._places(part, records)
            encoded = self._encode(batch, part, step, number, tokens)
            share = (part.stop - part.start) / records
            loss = share * self._contrast(encoded.images, encoded.texts, batch.keys.part(places).to(self._device)) + encoded.captioning
            loss.backward()
            totals += torch.stack([loss.detach(), encoded.captioning.detach()])
        return totals

    def _contrast(self, images: torch.Tensor, texts: torch.Tensor, keys: Keys) -> torch.Tensor:
        bias = getattr(self.model, "logit_bias", None)
        features = Features(images, texts, keys, self.model.logit_scale.exp(), bias, self._world)
        loss = self._objective(features, self._rules)
        return self.config.objective.contrastive_weight * loss if self._captions else loss

    def _tokens_in_all(self, batch: Batch) -> int:
        """Tokens that captioning predicts in the whole batch; 0 without a captioner."""
        if not self._captions:
            return 0
        count = (self._own_texts(batch, slice(0, len(batch.numbers)))[:, 1:] != self.model.pad_id).sum().to(self._device).reshape(1)
        self._world.sum_([count])
        return int(count)

    def _own_texts(self, batch: Batch, part: slice) -> torch.Tensor:
        """The tokens of a part's own captions, without the hard ones."""
        each, own = batch.keys.each, self.config.objective.captions
        tokens = batch.tokens.view(len(batch.numbers), each, -1)[part, :own]
        return tokens.flatten(0, 1)

    def _encode(self, batch: Batch, part: slice, step: int, number: int, tokens_in_all: int, *, captions: bool = True) -> Encoded:
        """Recolour and encode a part of the batch."""
        if not self._captions:
            images, texts = self._towers(batch, part, step, number)
            return Encoded(images, texts, torch.zeros((), device=self._device))
        self._seed(step, number)
        with self._autocast():
            return self._encode_captioning(batch, part, tokens_in_all if captions else 0)

    def _towers(self, batch: Batch, part: slice, step: int, number: int) -> Iterator[torch.Tensor]:
        """A part's images, then its texts, as unit features; a tower is at work when its features are asked for."""
        self._seed(step, number)
        with self._autocast():
            images = self.model.encode_image(self._pixels(batch, part))
        yield F.normalize(images.float(), dim=-1)
        with self._autocast():
            texts = encode_texts(self.model, self._texts(batch, part), batch.length)
        yield F.normalize(texts.float(), dim=-1)

    def _seed(self, step: int, number: int) -> None:
        """Patch dropout, where an architecture has it, draws from torch's global generator."""
        torch.manual_seed((self.config.seed * 1_000_003 + step + ((self._world.rank << 16) + number) * (1 << 40)) % (1 << 63))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bf16")

    def _pixels(self, batch: Batch, part: slice) -> torch.Tensor:
        images = torch.from_numpy(batch.images[part]).to(self._device, non_blocking=True)
        pixels = normalise(recolour(batch.draws.part(part), images, self.config.augment), self.config.image)
        # Convolutions take a third less time when an image's channels lie side by side.
        return pixels.contiguous(memory_format=torch.channels_last) if self._convolves else pixels

    def _texts(self, batch: Batch, part: slice) -> torch.Tensor:
        each = batch.keys.each
        return batch.tokens[part.start * each : part.stop * each].to(self._device, non_blocking=True)

    def _encode_captioning(self, batch: Batch, part: slice, tokens_in_all: int) -> Encoded:
        """CoCa's towers, and where `tokens_in_all` is not 0 its decoder over the own captions."""
        model, own = self.model, self.config.objective.captions
        image_features, image_tokens = model._encode_image(self._pixels(batch, part))
        text_features, text_tokens = model._encode_text(self._texts(batch, part))
        unit = F.normalize(image_features.float(), dim=-1), F.normalize(text_features.float(), dim=-1)
        if not tokens_in_all:
            return Encoded(*unit, torch.zeros((), device=self._device))
        said = text_tokens.view(len(image_tokens), batch.keys.each, *text_tokens.shape[1:])[:, :own].flatten(0, 1)
        logits = model.text_decoder(image_tokens.repeat_interleave(own, dim=0), said[:, :-1])
        labels = self._own_texts(batch, part).to(self._device)[:, 1:]
        loss = caption_loss(logits, labels[:, : logits.shape[1]], model.pad_id, tokens_in_all)
        return Encoded(*unit, self.config.objective.caption_weight * loss)
