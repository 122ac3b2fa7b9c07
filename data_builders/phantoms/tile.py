"""One phantom tile: what to draw, the picture, the mask and the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from eosin.data_builders.phantoms.canvas import Canvas, Habit
from eosin.data_builders.phantoms.fibres import paint_muscle, paint_stroma
from eosin.data_builders.phantoms.glands import paint_mucosa, paint_tumour
from eosin.data_builders.phantoms.plain import paint_debris, paint_fat, paint_glass, paint_lymphoid, paint_mucus
from eosin.data_builders.phantoms.stain import develop, name_seed, stain_profile
from eosin.data_builders.phantoms.truth import ATTRIBUTES, COUNTS, TISSUE_ATTRIBUTES, TISSUES, TileTruth
from eosin.errors import InputError

PAINTERS: dict[str, Callable[[Canvas, Mapping[str, str]], None]] = {
    "ADI": paint_fat,
    "BACK": paint_glass,
    "DEB": paint_debris,
    "LYM": paint_lymphoid,
    "MUC": paint_mucus,
    "MUS": paint_muscle,
    "NORM": paint_mucosa,
    "STR": paint_stroma,
    "TUM": paint_tumour,
}


@dataclasses.dataclass(frozen=True)
class TileSpec:
    """What decides a tile, all of it: equal specs give equal bytes, in any order and any process.

    `seed` and `tissue` decide the structure; `patient`, `slide` and `scanner` the stain, the camera and the slide's habit
    (size and density of nuclei). `attributes` fixes some of `TISSUE_ATTRIBUTES[tissue]`, as (name, value) pairs, and
    leaves the others to the seed. `size_px` is the side in pixels, `mpp` micrometres per pixel.
    """

    seed: int
    tissue: str
    patient: str = "P000"
    slide: str = "S0"
    scanner: str = "birch"
    size_px: int = 224
    mpp: float = 0.5
    attributes: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Tile:
    """A rendered tile: `image` uint8 [size, size, 3] RGB, `mask` uint8 [size, size] with the values of `MASK_LABELS`."""

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    truth: TileTruth


def render_tile(spec: TileSpec) -> Tile:
    """Draw the tile that `spec` describes.

    Raises:
        InputError: an unknown tissue, scanner, attribute or value, or a size out of range.
    """
    check_spec(spec)
    structure, choice, camera = np.random.SeedSequence([spec.seed, *name_seed(spec.tissue)]).spawn(3)
    traits = draw_traits(np.random.default_rng(choice), spec.tissue, dict(spec.attributes))
    canvas = paint(np.random.default_rng(structure), spec, traits)
    profile = stain_profile(spec.patient, spec.slide, spec.scanner)
    image = develop(canvas.hematoxylin, canvas.eosin, profile, np.random.default_rng(camera))
    truth = TileTruth(
        tissue=spec.tissue,
        seed=spec.seed,
        patient=spec.patient,
        slide=spec.slide,
        scanner=spec.scanner,
        size_px=spec.size_px,
        mpp=spec.mpp,
        counts={name: canvas.counts[name] for name in COUNTS},
        attributes=traits,
        boxes=tuple(sorted(canvas.boxes, key=lambda box: (box.label, box.y0, box.x0, box.y1, box.x1))),
    )
    return Tile(image, canvas.mask, truth)


def paint(rng: np.random.Generator, spec: TileSpec, traits: Mapping[str, str]) -> Canvas:
    """The unstained field of `spec` with the given attributes."""
    canvas = Canvas(rng, spec.size_px, spec.mpp, slide_habit(spec.patient, spec.slide))
    PAINTERS[spec.tissue](canvas, traits)
    canvas.settle_nuclei()
    return canvas


def draw_traits(rng: np.random.Generator, tissue: str, fixed: Mapping[str, str]) -> dict[str, str]:
    """A value for each attribute of the tissue, uniform and independent, except those in `fixed`."""
    traits = {}
    for name in TISSUE_ATTRIBUTES[tissue]:
        values = allowed_values(tissue, name)
        drawn = values[int(rng.integers(len(values)))]
        traits[name] = fixed.get(name, drawn)
    if traits.get("growth_pattern", "glandular") != "glandular":
        del traits["lumen"]
    return traits


def allowed_values(tissue: str, attribute: str) -> tuple[str, ...]:
    """The values an attribute takes in a tissue. A sheet of lymphocytes is never of low cellularity."""
    values = ATTRIBUTES[attribute]
    return values[1:] if (tissue, attribute) == ("LYM", "cellularity") else values


def slide_habit(patient: str, slide: str) -> Habit:
    """How this slide's tissue differs from that of other slides."""
    rng = np.random.default_rng(np.random.SeedSequence(name_seed("habit", patient, slide)))
    size, density, darkness, matrix = np.exp(rng.standard_normal(4) * np.array([0.05, 0.08, 0.14, 0.25]))
    return Habit(
        nuclear_size=float(np.clip(size, 0.9, 1.1)),
        nuclear_density=float(np.clip(density, 0.85, 1.15)),
        nuclear_darkness=float(np.clip(darkness, 0.75, 1.3)),
        matrix_density=float(np.clip(matrix, 0.6, 1.6)),
    )


def check_spec(spec: TileSpec) -> None:
    """Raises: InputError, naming what came and what is allowed."""
    if spec.tissue not in TISSUES:
        raise InputError(f"unknown tissue {spec.tissue!r}; choose one of {', '.join(TISSUES)}")
    if spec.seed < 0:
        raise InputError(f"seed is {spec.seed}; give a whole number from 0")
    if not 64 <= spec.size_px <= 2048:
        raise InputError(f"size_px is {spec.size_px}; give 64 to 2048 (render_slide makes larger fields)")
    if not 0.2 <= spec.mpp <= 2.0:
        raise InputError(f"mpp is {spec.mpp}; give 0.2 to 2.0 micrometres per pixel")
    for name, value in spec.attributes:
        if name not in TISSUE_ATTRIBUTES[spec.tissue]:
            known = ", ".join(TISSUE_ATTRIBUTES[spec.tissue])
            raise InputError(f"{spec.tissue} has no attribute {name!r}; it has {known}")
        if value not in allowed_values(spec.tissue, name):
            known = ", ".join(allowed_values(spec.tissue, name))
            raise InputError(f"{name} of {spec.tissue} cannot be {value!r}; choose one of {known}")
