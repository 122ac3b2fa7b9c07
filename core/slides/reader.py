"""One reader for all slides that OpenSlide opens (all of its vendors, DICOM too).

What cannot be read is an `ImageError` with a stable reason:

    unreadable_slide     the file is missing, or damaged where it is opened
    unsupported_format   no format that OpenSlide knows
    no_levels            a slide without pixels
    too_small            a side of one pixel
    no_mpp               neither the slide nor an override says how large a pixel is
    uneven_mpp           pixels that are not square
    unreadable_region    tiles that do not decode
    missing_pixels       pixels that were never scanned or are not in the file

Associated images (label, macro) can show a patient's name: nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.errors import ImageError, MissingDependency
from eosin.images import Pixels
from eosin.slides.sampling import Level, sampling_of

Mask = npt.NDArray[np.bool_]

# A pixel of tissue is between 0.02 and 20 microns wide. Office software writes 72 or 300 dots an inch into any TIFF: 353 and 85 microns.
PLAUSIBLE_MPP = (0.02, 20.0)
MOST_UNEVEN = 0.02
_UNITS = {"inch": 25_400.0, "centimeter": 10_000.0}


def library() -> ModuleType:
    """openslide-python.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import openslide
    except ImportError as error:
        raise MissingDependency("openslide-python", "slides") from error
    return openslide


class SlideReader:
    """A slide, opened; a context manager. One thread at a time; each thread opens its own.

    Args:
        path: the slide: a file that OpenSlide opens.
        mpp: microns per pixel of level 0, where it is known better than the slide says.

    Attributes:
        path: of the file.
        mpp_override: what was given.
        vendor: OpenSlide's name of the format.
        levels: the largest first.

    Raises:
        ImageError: see above; never for want of mpp: only what needs it asks for it.
    """

    def __init__(self, path: str | Path, mpp: float | None = None) -> None:
        self.path = Path(path)
        self.mpp_override = mpp
        self._library = library()
        self._handle = self._open()
        try:
            self.vendor = str(self.properties.get("openslide.vendor", ""))
            self.levels = self._levels()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says about itself, under OpenSlide's names."""
        found: Mapping[str, str] = self._handle.properties
        return found

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.levels[0].width, self.levels[0].height

    @property
    def mpp(self) -> float:
        """Microns per pixel of level 0: the override where one was given, else the slide's own.

        Raises:
            ImageError: `no_mpp` or `uneven_mpp`.
        """
        return self.mpp_override if self.mpp_override is not None else slide_mpp(self.properties, self.path.name)

    @property
    def own_mpp(self) -> float | None:
        """What the slide itself says, or None."""
        try:
            return slide_mpp(self.properties, self.path.name)
        except ImageError:
            return None

    @property
    def known_mpp(self) -> float | None:
        """The override where one was given, else what the slide says, else None."""
        return self.mpp_override if self.mpp_override is not None else self.own_mpp

    def read_level(self, level: int, box: tuple[int, int, int, int]) -> tuple[Pixels, Mask | None]:
        """A part of a level.

        Args:
            level: its number.
            box: left, top, width and height in that level's pixels, inside of it.

        Returns:
            uint8 [height, width, 3], half-transparent pixels laid on white; and bool [height, width], true where the file has no
            pixels (they are white there), or None where it has all.

        Raises:
            ImageError: `unreadable_region`.
        """
        left, top, width, height = box
        downsample = self.levels[level].downsample
        try:
            image = self._handle.read_region((round(left * downsample), round(top * downsample)), level, (width, height))
        except self._library.OpenSlideError as error:
            # After an error OpenSlide refuses every further read of the handle.
            self.close()
            self._handle = self._open()
            raise ImageError(
                "unreadable_region", f"{self.path.name}: level {level} at {left}, {top} does not decode ({error}); fetch the file again"
            ) from error
        return _on_white(np.asarray(image))

    def read_region(self, x: int, y: int, size: int, mpp: float) -> Pixels:
        """A square of the slide at any resolution.

        Args:
            x: left edge in pixels of level 0.
            y: top edge in pixels of level 0.
            size: side in pixels of the result.
            mpp: microns per pixel of the result.

        Returns:
            uint8 [size, size, 3].

        Raises:
            ConfigError: the slide is coarser than wanted.
            ImageError: `no_mpp`, `unreadable_region`, or `missing_pixels` where any pixel of the square is not in the file.
        """
        sampling = sampling_of(self.levels, self.mpp, size, mpp)
        box = sampling.cover(x, y)
        pixels, missing = self.read_level(sampling.level, box)
        if missing is not None:
            raise missing_pixels(self.path.name, x, y)
        return sampling.fit(pixels, x, y, box)

    def _open(self) -> Any:
        if not self.path.exists():
            raise ImageError("unreadable_slide", f"there is no slide at {self.path}; check the path")
        try:
            return self._library.OpenSlide(str(self.path))
        except self._library.OpenSlideUnsupportedFormatError as error:
            raise ImageError("unsupported_format", f"{self.path.name}: no format that OpenSlide reads, or damaged ({error})") from error
        except (self._library.OpenSlideError, OSError) as error:
            raise ImageError("unreadable_slide", f"{self.path.name}: cannot be opened ({error}); fetch the file again") from error

    def _levels(self) -> tuple[Level, ...]:
        levels = tuple(
            Level(width, height, float(downsample))
            for (width, height), downsample in zip(self._handle.level_dimensions, self._handle.level_downsamples, strict=True)
        )
        if not levels:
            raise ImageError("no_levels", f"{self.path.name}: the slide has no levels, so no pixels")
        if min(levels[0].width, levels[0].height) < 2:
            raise ImageError("too_small", f"{self.path.name}: the slide is {levels[0].width} x {levels[0].height} pixels")
        return levels


def missing_pixels(name: str, x: int, y: int) -> ImageError:
    """The error for a tile that the file holds in part only."""
    return ImageError("missing_pixels", f"{name}: pixels of the tile at {x}, {y} are not in the file (not scanned, or lost)")


def slide_mpp(properties: Mapping[str, str], name: str) -> float:
    """Microns per pixel, as the slide's own metadata state them.

    The vendor's value counts; else the TIFF resolution, where its unit is given. The objective's power is no measure: a scanner's
    20x is 0.46 to 0.55 microns.

    Raises:
        ImageError: `no_mpp` or `uneven_mpp`.
    """
    sides = [_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
    unit = _UNITS.get(properties.get("tiff.ResolutionUnit", ""))
    for place, axis in enumerate("XY"):
        dots = _number(properties.get(f"tiff.{axis}Resolution"))
        if not sides[place] and unit and dots:
            sides[place] = unit / dots
    least, most = PLAUSIBLE_MPP
    found = [side for side in sides if side is not None and least <= side <= most]
    if len(found) < 2:
        said = ", ".join(f"{side:g}" for side in sides if side) or "nothing"
        raise ImageError(
            "no_mpp",
            f"{name}: the slide says {said} of its microns per pixel (a number from {least} to {most} is wanted). There are two ways: "
            "a file that carries its resolution, or a CSV with the columns slide and mpp, named by mpp_overrides (of a source: "
            "options.mpp_overrides)",
        )
    if abs(found[0] - found[1]) > MOST_UNEVEN * max(found):
        raise ImageError(
            "uneven_mpp", f"{name}: pixels are {found[0]:g} by {found[1]:g} microns, not square; give its mpp in mpp_overrides"
        )
    return (found[0] + found[1]) / 2


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) and value > 0 else None


def _on_white(rgba: Pixels) -> tuple[Pixels, Mask | None]:
    """RGB of straight RGBA, and where alpha is 0."""
    alpha = rgba[..., 3]
    rgb = np.empty((*alpha.shape, 3), np.uint8)
    for channel in range(3):
        rgb[..., channel] = rgba[..., channel]
    if alpha.min() == 255:
        return rgb, None
    share = alpha[..., None].astype(np.float32) / 255
    rgb = (rgb * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    missing: Mask = alpha == 0
    return rgb, missing if missing.any() else None
