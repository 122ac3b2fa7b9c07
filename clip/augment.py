"""H&E augmentation, a batch at a time: flips and rotations, random resized crops, stain jitter, colour transfer, brightness.

Every number a record needs comes from one generator of (seed, epoch, index), so that a picture does not depend on the batch it is
in, on the order, or on where a run was resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eosin.clip.config import AugmentConfig, ImageConfig
from eosin.numerics import STAINS
from eosin.seeds import generator

if TYPE_CHECKING:
    import torch

Floats64 = NDArray[np.float64]

# Tellez et al. 2018 add as much as they multiply, in stain units; a tenth of it keeps the white background nearly white.
_OFFSET_SHARE = 0.1
# Mean and standard deviation of R, G and B in [0, 1] over tiles of H&E sections, from dense to pale and from flat to contrasty.
_MEANS = np.array([[0.50, 0.90], [0.30, 0.85], [0.50, 0.92]])
_SPREADS = (0.06, 0.26)
_DRAWS = 20


@dataclass(frozen=True)
class Draws:
    """What a batch drew.

    Attributes:
        caption: float [n] in [0, 1): which caption.
        affine: float [n, 2, 3]: from the output's coordinates in [-1, 1] to the source's; `eosin.clip.crops` cuts by it.
        stain: float [n, 3, 3] and offset float [n, 3, 1]: density' = stain @ density + offset.
        brightness: float [n]: factor.
        colours: float [n, 3, 2]: mean and standard deviation, in [0, 1], that R, G and B are moved to; NaN where an image keeps its own.
    """

    caption: Floats64
    affine: Floats64
    stain: Floats64
    offset: Floats64
    brightness: Floats64
    colours: Floats64

    def part(self, rows: slice) -> Draws:
        """What some images of the batch drew."""
        return Draws(**{name: values[rows] for name, values in vars(self).items()})


def draw(config: AugmentConfig, seed: int, epoch: int, indices: NDArray[np.int64], pixels: Floats64 | None = None) -> Draws:
    """All random numbers of a batch; row i depends on (seed, epoch, indices[i]) alone.

    Args:
        config: the strengths.
        seed: of the run.
        epoch: counted from 0.
        indices: [n] the records.
        pixels: [n, 2] microns a pixel of the model's input if it shows all of the image, across and down; `config.mpp` is held against it.
    """
    u = np.stack([generator(seed, epoch, int(index)).random(_DRAWS) for index in indices])
    signed = 2 * u[:, 6:13] - 1
    stain, offset = _stain_jitter(config.stain * signed[:, :3], config.stain * _OFFSET_SHARE * signed[:, 3:6])
    colours = _colours(config.colour_transfer, u[:, 13:])
    return Draws(u[:, 0], _crops(config, u[:, 1:6], pixels), stain, offset, 1 + config.brightness * signed[:, 6], colours)


def _crops(config: AugmentConfig, u: Floats64, pixels: Floats64 | None) -> Floats64:
    """Affine maps of a random resized crop after one of the square's symmetries; u is [n, 5].

    A crop of `m` microns a pixel is m / pixels of the image wide and high, and never more than all of it.
    """
    ratio = config.crop_ratio ** (2 * u[:, 1] - 1)
    if config.mpp and pixels is not None:
        low, high = config.mpp
        scale = low * (high / low) ** u[:, 0]
        size = np.minimum(scale[:, None] / pixels * np.sqrt(np.stack([ratio, 1 / ratio], axis=1)), 1.0)
    else:
        area = config.crop_area + (1 - config.crop_area) * u[:, 0]
        size = np.minimum(np.sqrt(np.stack([area * ratio, area / ratio], axis=1)), 1.0)
    centre = (1 - size) * (2 * u[:, 2:4] - 1)
    choices = _CHOICES[config.symmetries]
    symmetry = _SYMMETRIES[choices[np.floor(len(choices) * u[:, 4]).astype(int)]]
    affine = np.concatenate([size[:, :, None] * symmetry, centre[:, :, None]], axis=2)
    return np.asarray(affine)


_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
_MIRROR = np.array([[-1.0, 0.0], [0.0, 1.0]])
_SYMMETRIES = np.stack([np.linalg.matrix_power(_TURN, turns) @ flip for flip in (np.eye(2), _MIRROR) for turns in range(4)])
_CHOICES = {"none": np.array([0]), "mirrors": np.array([0, 2, 4, 6]), "all": np.arange(8)}


def _stain_jitter(factors: Floats64, offsets: Floats64) -> tuple[Floats64, Floats64]:
    """Into stains, scaled and shifted there, and back, as one map of densities: [n, 3, 3] and [n, 3, 1]."""
    scaled = (1 + factors)[:, :, None] * STAINS
    return np.swapaxes(np.linalg.inv(STAINS) @ scaled, 1, 2), (offsets @ STAINS)[:, :, None]


def _colours(share: float, u: Floats64) -> Floats64:
    """What channels are moved to, for a share of the images; u is [n, 7]."""
    means = _MEANS[:, 0] + (_MEANS[:, 1] - _MEANS[:, 0]) * u[:, 1:4]
    spreads = _SPREADS[0] + (_SPREADS[1] - _SPREADS[0]) * u[:, 4:7]
    drawn = np.stack([means, spreads], axis=2)
    drawn[u[:, 0] >= share] = np.nan
    return drawn


def recolour(draws: Draws, images: torch.Tensor, config: AugmentConfig) -> torch.Tensor:
    """Images with their stains and brightness jittered, and some with the colours of another section.

    Args:
        draws: of the same batch.
        images: [n, 3, height, width] in [0, 255], bytes or floats.
        config: a jitter of 0 is left out altogether.

    Returns:
        float32 of the same shape in [0, 255], memory of its own.
    """
    import torch

    def tensor(values: Floats64) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(images.device)

    pixels = images.to(torch.float32, copy=True)
    if config.stain:
        # Beer-Lambert: density = -log(intensity); the + 1 keeps black finite.
        density = pixels.flatten(2).add_(1.0).div_(256.0).log_().neg_()
        density = torch.baddbmm(tensor(draws.offset), tensor(draws.stain), density)
        pixels = density.neg_().exp_().mul_(256.0).sub_(1.0).view_as(pixels)
    if config.colour_transfer:
        pixels = _moved(pixels, tensor(draws.colours))
    if config.brightness:
        pixels = pixels.mul_(tensor(draws.brightness)[:, None, None, None])
    return pixels.clamp_(0.0, 255.0)


def _moved(pixels: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """Each channel at the mean and standard deviation it is to have, where it is to have one."""
    import torch

    rows = torch.isfinite(colours[:, 0, 0]).nonzero().squeeze(1)
    own = pixels[rows]
    mean, spread = own.mean((2, 3), keepdim=True), own.std((2, 3), keepdim=True, correction=0)
    wanted = 255 * colours[rows, :, :, None]
    # A channel without contrast is given none: its noise is not tissue.
    moved = (own - mean) * (wanted[:, :, 1:] / spread.clamp_min(1.0)) + wanted[:, :, :1]
    return pixels.index_copy_(0, rows, moved)


def normalise(pixels: torch.Tensor, image: ImageConfig) -> torch.Tensor:
    """Pixels in [0, 255] as the model takes them: float32 [n, 3, size, size]; `pixels` is overwritten."""
    import torch

    mean = 255 * torch.tensor(image.mean, device=pixels.device)[:, None, None]
    std = 255 * torch.tensor(image.std, device=pixels.device)[:, None, None]
    return pixels.sub_(mean).div_(std)
