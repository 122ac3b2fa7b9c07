"""What a model in training knows of held-out records: retrieval between their images and captions, and zero-shot over their labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.clip.config import MonitorConfig
from eosin.clip.joined import Joined
from eosin.clip.tokens import tokenise
from eosin.errors import ConfigError, ImageError
from eosin.images import decode_image
from eosin.models.open_clip import OpenClipModel, preprocessing_of
from eosin.progress import say
from eosin.records import ImageText

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

_BATCH = 64
_COLUMNS = ("id", "source", "licence", "group", "split", "image", "captions", "extra")


class Monitor:
    """Held-out records, ready to be measured again and again.

    Args:
        config: what is measured.
        data: image_text artefacts; those that have the split.
        folder: of the model: its tokenizer.
        context: longest text in tokens.

    Raises:
        ConfigError: there are no such records, or no labels where zero-shot decides.
    """

    def __init__(self, config: MonitorConfig, data: Sequence[Artefact], folder: Path, context: int) -> None:
        self.config, self._folder, self._context = config, folder, context
        self._records, self.refused = self._read(data)
        labels = [record.extra.get("label") for record in self._records]
        self._names = sorted({str(label) for label in labels if label is not None})
        self._labels = np.array([self._names.index(str(label)) if label is not None else -1 for label in labels])
        if config.metric == "zero_shot" and len(self._names) < 2:
            raise ConfigError(
                f"monitor.metric is zero_shot, but the records of {config.split} have {len(self._names)} labels; use retrieval"
            )
        texts = dict.fromkeys(caption for record in self._records for caption in record.captions if caption.strip())
        numbers = {text: number for number, text in enumerate(texts)}
        self._texts = list(texts)
        self._belongs = np.zeros((len(self._records), len(texts)), dtype=bool)
        for row, record in enumerate(self._records):
            self._belongs[row, [numbers[caption] for caption in record.captions if caption in numbers]] = True

    def _read(self, data: Sequence[Artefact]) -> tuple[list[ImageText], int]:
        """The records that can be measured, and how many cannot."""
        config = self.config
        having = tuple(artefact for artefact in data if config.split in artefact.manifest["splits"])
        if not having:
            splits = ", ".join(dict.fromkeys(split for artefact in data for split in artefact.manifest["splits"]))
            raise ConfigError(f"monitor: {Joined(tuple(data), '').name} has no split {config.split}; it has {splits}")
        kept, refused = [], 0
        for record in islice(Joined(having, config.split).records(_COLUMNS), config.records):
            try:
                decode_image(record.image)
            except ImageError:
                refused += 1
                continue
            if any(caption.strip() for caption in record.captions):
                kept.append(record)
            else:
                refused += 1
        if refused:
            say(f"clip train: {refused} records of {config.split} have no readable image or no caption and are not measured")
        if len(kept) < 2:
            raise ConfigError(f"monitor: {len(kept)} records of {config.split} can be measured; at least 2 are needed")
        return kept, refused

    def __len__(self) -> int:
        return len(self._records)

    def measure(self, model: OpenClipModel, device: torch.device) -> dict[str, float]:
        """Recall at 1 of both directions, their mean, and balanced zero-shot accuracy where there are labels."""
        import torch

        model.eval()
        with torch.inference_mode():
            images = self._images(model, device)
            texts = self._encode(model, self._texts, device)
            found = recall_at_1(images @ texts.T, self._belongs)
            if len(self._names) > 1:
                names = self._encode(model, [self.config.prompt.replace("{name}", name) for name in self._names], device)
                found["zero_shot"] = balanced_accuracy((images @ names.T).argmax(axis=1), self._labels)
        model.train()
        return found

    def deciding(self, found: dict[str, float]) -> float:
        """The value by which the best epoch is chosen."""
        return found[self.config.metric]

    def _images(self, model: OpenClipModel, device: torch.device) -> Floats:
        import torch
        from PIL import Image

        transform = preprocessing_of(model)
        parts = []
        for start in range(0, len(self._records), _BATCH):
            part = self._records[start : start + _BATCH]
            pixels = torch.stack([transform(Image.fromarray(decode_image(record.image))) for record in part]).to(device)
            parts.append(_unit(model.encode_image(pixels)))
        return np.concatenate(parts)

    def _encode(self, model: OpenClipModel, texts: Sequence[str], device: torch.device) -> Floats:
        import torch

        ids = tokenise(self._folder, texts, self._context)[0]
        return np.concatenate(
            [_unit(model.encode_text(torch.from_numpy(part).to(device))) for part in np.array_split(ids, -(-len(ids) // _BATCH))]
        )


def _unit(features: torch.Tensor) -> Floats:
    from torch.nn import functional as F

    return np.asarray(F.normalize(features.float(), dim=-1).cpu().numpy())


def recall_at_1(scores: Floats, belongs: NDArray[np.bool_]) -> dict[str, float]:
    """Share of images whose nearest text is one of theirs, of texts likewise, and the mean of both.

    Args:
        scores: [images, texts].
        belongs: bool likewise; an image may have several texts, and a text several images.
    """
    forth = float(belongs[np.arange(len(scores)), scores.argmax(axis=1)].mean())
    back = float(belongs[scores.argmax(axis=0), np.arange(scores.shape[1])].mean())
    return {"image_to_text": forth, "text_to_image": back, "retrieval": (forth + back) / 2}


def balanced_accuracy(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Mean over classes of the share that is right; records without a label (-1) do not count."""
    return float(np.mean([(answers[labels == label] == label).mean() for label in np.unique(labels[labels >= 0])]))
