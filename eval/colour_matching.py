"""Tiles made alike in colour: what a model still tells apart when brightness, contrast and hue of the whole tile say nothing.

Each channel of a tile is shifted and scaled so that its mean and standard deviation are those of the mean training tile (as Reinhard et al.
2001, but in RGB). The six numbers of the colour baseline are then the same for every tile, but for rounding and what is cut off at 0 and
255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact
from eosin.errors import ConfigError, ImageError, InputError
from eosin.eval.pictures import uncompressed
from eosin.images import decode_image
from eosin.numerics import colour_statistics
from eosin.progress import track
from eosin.records import ImageText, LabelledImage


@dataclass(frozen=True)
class ColourReference:
    """The mean training tile.

    Attributes:
        mean: of R, G, B, averaged over tiles, in 0 to 255.
        deviation: of R, G, B within a tile, averaged over tiles.
        images: how many tiles it is the mean of.
        undecodable: tiles that were left out.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    images: int
    undecodable: int

    def facts(self) -> dict[str, Any]:
        """For a manifest, rounded."""
        numbers = {"mean": self.mean, "deviation": self.deviation}
        rounded = {name: [round(value, 4) for value in values] for name, values in numbers.items()}
        return {**rounded, "images": self.images, "undecodable": self.undecodable}


def colour_reference(artefact: Artefact, split: str) -> ColourReference:
    """The mean tile of a split; every image is decoded once, one at a time.

    Raises:
        ArtefactError: no records of that split.
        InputError: none of its images can be decoded.
    """
    kind: type[LabelledImage] | type[ImageText] = LabelledImage if artefact.kind == LabelledImage.kind else ImageText
    total, images, undecodable = np.zeros(6), 0, 0
    for record in track(artefact.records(kind, split), f"colours of split {split}"):
        try:
            total += colour_statistics(decode_image(record.image))
            images += 1
        except ImageError:
            undecodable += 1
    if not images:
        raise InputError(f"{artefact.path}: none of {undecodable} images of split {split!r} can be decoded: there are no colours to match")
    found = (total / images).tolist()
    return ColourReference(tuple(found[:3]), tuple(found[3:]), images, undecodable)


def check_reference(data: Artefact, split: str, reference: Artefact, reference_split: str) -> None:
    """Refuse colours that would be learnt from the images that are asked.

    Raises:
        ConfigError: it is the same split of the same artefact.
    """
    if data.digest == reference.digest and split == reference_split:
        raise ConfigError(
            f"colour_reference is split {split!r} of the images that are asked; its colours come from training: set reference_split"
        )


def match_colours(image: bytes, reference: ColourReference) -> bytes:
    """The image with the reference's mean and deviation in each channel, encoded without loss.

    A channel of one value only becomes the reference's mean.

    Raises:
        ImageError: the image cannot be decoded.
    """
    pixels = decode_image(image)
    found = colour_statistics(pixels)
    levels = np.arange(256)
    for channel in range(3):
        mean, deviation = found[channel], found[3 + channel]
        scale = reference.deviation[channel] / deviation if deviation > 0 else 0.0
        pixels[:, :, channel] = _table((levels - mean) * scale + reference.mean[channel])[pixels[:, :, channel]]
    return uncompressed(pixels)


def _table(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
