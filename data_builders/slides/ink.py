"""Pixels that a marker drew, told by colour.

What a stain takes away from white light is its optical density, -log10(light / glass). Hematoxylin (.65 .70 .29), eosin (.07 .99 .11) and
DAB (.27 .57 .78; Ruifrok and Johnston 2001) all take green at least nearly as much as red, and blue or red the least. Inks do not:

    blue    takes red most, green less
    green   takes green least
    black   takes all alike, and much
    red     takes green and blue alike and much, red hardly

Blue ink over tissue has the colours of dense hematoxylin: there only the stroke's way over glass tells. Stains other than H&E and DAB with
hematoxylin (Papanicolaou's green, trichrome's blue) have these colours themselves: turn the check off for them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eosin.images import Pixels

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Fainter than this, a colour is not sure enough to be called one.
_FAINT = 0.12


def optical_density(pixels: Pixels, glass: tuple[float, float, float] = (255.0, 255.0, 255.0)) -> Floats:
    """float32 [..., 3]: 0 for glass, 1 where a tenth of the light is left; never negative."""
    tables = np.stack([np.log10((level + 1) / (np.arange(256) + 1)).clip(0) for level in glass]).astype(np.float32)
    found = np.empty(pixels.shape, np.float32)
    for channel in range(3):
        found[..., channel] = tables[channel][pixels[..., channel]]
    return found


def is_ink(density: Floats) -> Mask:
    """bool [...]: whether a pixel of this optical density (float32 [..., 3]) has the colour of an ink."""
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    most, least = density.max(axis=-1), density.min(axis=-1)
    # Ink over tissue adds its density to the tissue's: what counts is what stains alone cannot reach.
    blue_ink = (red - 1.1 * green > 0.06) & (red > blue) & (most - least > _FAINT)
    green_ink = (green < 0.85 * red) & (green < 0.85 * blue) & (most - least > _FAINT)
    black_ink = (least > 0.7) | ((least > 0.45) & (most - least < 0.25 * most))
    # Bone and blood take green and blue nearly alike as well, but no stain takes that much blue and leaves the red.
    pure_red = (blue > 0.9 * green) & (blue > 0.4) & (red < 0.25 * green)
    red_ink = (pure_red | ((blue > 0.7) & (red < 0.35 * green))) & (blue < 1.35 * green)
    found: Mask = blue_ink | green_ink | black_ink | red_ink
    return found
