"""Where on a slide's overview the tissue is, whatever else lies there: marker, dark edges, dust, shadows.

Tissue is what has a colour. Stains take the three colours unequally, shadows and dirt alike; so the measure is the largest less the
smallest optical density of the three, after the glass's own colour is taken off. It does not need sharpness, and brown DAB has as much
of it as H&E. Pale fat is a net of thin walls: neighbourhoods are judged, and the holes of the net belong to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from eosin.data_builders.slides.ink import Floats, Mask, is_ink, optical_density
from eosin.data_builders.slides.overview import HELD, Overview
from eosin.errors import ConfigError, MissingDependency
from eosin.images import Pixels


@dataclass(frozen=True)
class TissueConfig:
    """How tissue is told from glass.

    Attributes:
        mpp: of the overview, in microns per pixel.
        longest: the overview's longer side at most, in pixels.
        colour: the least difference of optical density between the colours; 0 to find it on each slide.
        smallest: pieces of less square millimetres are dust.
        holes: holes of less square millimetres belong to the tissue around; what reaches the slide's edge is no hole.
        reach: what has tissue within so many microns on both sides is tissue.
    """

    mpp: float = 8.0
    longest: int = 2048
    colour: float = 0.0
    smallest: float = 0.02
    holes: float = 0.1
    reach: float = 48.0

    def __post_init__(self) -> None:
        if self.mpp <= 0 or self.longest < 64 or min(self.colour, self.smallest, self.holes, self.reach) < 0:
            raise ConfigError("tissue: mpp must be above 0, longest 64 or more, and colour, smallest, holes and reach not negative")


def find_tissue(overview: Overview, config: TissueConfig) -> Mask:
    """bool [height, width]: true for tissue. Pixels the file does not hold are not."""
    density = optical_density(overview.pixels, glass_colour(overview.pixels, overview.state == HELD))
    ink = find_ink(density)
    colour = density.max(axis=-1) - density.min(axis=-1)
    held = (overview.state == HELD) & ~ink
    cut = config.colour or threshold(colour[held])
    solid: Mask = (ndimage().uniform_filter(np.where(held, colour, 0), 3) > cut) & held
    solid = ndimage().binary_opening(solid, _disk(1))
    reach = max(1, round(config.reach / overview.mpp))
    found = closed(solid | _net((colour > cut) & held, reach), reach)
    cell = (overview.mpp / 1000) ** 2
    found = _without_small(found, config.smallest / cell)
    found |= _small_holes(~found, config.holes / cell)
    tissue: Mask = found & ~ink & (overview.state == HELD)
    return tissue


def glass_colour(pixels: Pixels, held: Mask) -> tuple[float, float, float]:
    """The light that comes through glass: the most frequent bright value of each channel; white where there is no glass to be seen."""
    bright = held & (pixels.min(axis=-1) > 190)
    if bright.sum() < 0.005 * max(1, held.sum()):
        return (255.0, 255.0, 255.0)
    found = []
    for channel in range(3):
        counts = np.bincount(pixels[..., channel][bright], minlength=256).astype(np.float64)
        found.append(float(np.convolve(counts, np.ones(5), "same").argmax()))
    return found[0], found[1], found[2]


def common_density(overview: Overview, tissue: Mask) -> float:
    """The median over the tissue of the mean optical density of the three colours; 0 where there is none."""
    if not tissue.any():
        return 0.0
    density = optical_density(overview.pixels[tissue], glass_colour(overview.pixels, overview.state == HELD))
    return float(np.median(density.mean(axis=-1)))


def threshold(colour: Floats) -> float:
    """Where glass ends and tissue begins: Otsu's cut, held within what stains and cameras allow.

    Half of Otsu's value: it lies in the middle between glass and the mean tissue, while pale tissue lies well below that.
    """
    if not colour.size:
        return 0.05
    counts, edges = np.histogram(colour, bins=256, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    otsu = float(middles[np.nan_to_num(between).argmax()])
    return float(np.clip(otsu / 2, 0.03, 0.07))


def find_ink(density: Floats) -> Mask:
    """bool [height, width]: strokes of a marker: where most of a neighbourhood has an ink's colour, and their soft rims."""
    coloured = is_ink(density)
    core = ndimage().uniform_filter(coloured.astype(np.float32), 5) > 0.5
    core = ndimage().binary_opening(core & coloured, _disk(1))
    near = ndimage().binary_dilation(core, _disk(3)) & coloured
    # Where a stroke goes on over tissue, blue ink looks like hematoxylin, but darker than a mean over nuclei and what is between them.
    dark = (density[..., 0] > 0.75) & (density[..., 0] > 0.8 * density[..., 1])
    along = ndimage().binary_propagation(core | near, mask=core | near | dark)
    rim: Mask = ndimage().binary_dilation(closed(along, 2), _disk(1))
    return rim


def _net(walls: Mask, reach: int) -> Mask:
    """Fat: thin walls, no more than twice `reach` apart, that cover a tenth of their neighbourhood at least; specks of dust do not."""
    cover: Floats = ndimage().uniform_filter(walls.astype(np.float32), 4 * reach + 1)
    filled = closed(walls & (cover > 0.1), reach)
    opened: Mask = ndimage().binary_opening(filled, _disk(reach // 2 + 1))
    return opened


def closed(mask: Mask, radius: int) -> Mask:
    """`mask` (bool [height, width]) dilated, then eroded, by `radius` pixels; the picture's edge does not eat into what touches it."""
    padded = np.pad(mask, radius, mode="edge")
    # By distance, not by a structuring element: the time does not grow with the radius.
    grown = ndimage().distance_transform_edt(~padded) <= radius if padded.any() else padded
    shrunk = ndimage().distance_transform_edt(grown) > radius if not grown.all() else grown
    inner: Mask = (shrunk | padded)[radius:-radius, radius:-radius]
    return inner


def _without_small(mask: Mask, smallest: float) -> Mask:
    labels, count = ndimage().label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= smallest
    large[0] = False
    kept: Mask = large[labels]
    return kept


def _small_holes(glass: Mask, largest: float) -> Mask:
    """Pieces of `glass` with tissue all around: what reaches the picture's edge is none, however little of it a small field shows."""
    labels, count = ndimage().label(glass)
    small = np.bincount(labels.ravel(), minlength=count + 1) < largest
    small[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[edge] = False
    holes: Mask = small[labels]
    return holes


def _disk(radius: int) -> Mask:
    span = np.arange(-radius, radius + 1)
    found: Mask = span[:, None] ** 2 + span**2 <= radius**2
    return found


def ndimage() -> ModuleType:
    """scipy's image filters.

    Raises:
        MissingDependency: scipy is not installed.
    """
    try:
        from scipy import ndimage as found
    except ImportError as error:
        raise MissingDependency("scipy", "slides") from error
    return found  # type: ignore[no-any-return]
