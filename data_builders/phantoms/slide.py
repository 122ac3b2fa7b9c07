"""A phantom slide: regions of several tissues on glass, as a pyramidal TIFF with its truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from eosin.data_builders.phantoms.noise import FloatArray, field
from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.data_builders.phantoms.regions import GLASS, LabelArray, RegionMap, draw_regions
from eosin.data_builders.phantoms.stain import StainProfile, develop, name_seed, stain_profile
from eosin.data_builders.phantoms.tile import TileSpec, check_spec, draw_traits, paint
from eosin.data_builders.phantoms.truth import TISSUES
from eosin.errors import InputError

PATCH_PX = 512
OVERLAP_PX = 64
STRIDE_PX = PATCH_PX - OVERLAP_PX
REGION_CELL_PX = 64
MAP_STEP_PX = 8  # the region map is asked this often and smoothed in between
MAP_MARGIN = 4  # cells around a patch, so that neighbours smooth alike
GLASS_DENSITY = 0.01
SMALLEST_SIDE_PX = 1024


@dataclasses.dataclass(frozen=True)
class SlideSpec:
    """What decides a slide. `tissues` are the classes laid out on it; each gets a region of its own."""

    seed: int
    patient: str = "P000"
    slide: str = "S0"
    scanner: str = "birch"
    width: int = 4096
    height: int = 4096
    mpp: float = 0.5
    tissues: tuple[str, ...] = ("TUM", "STR", "NORM", "MUS", "ADI", "LYM", "MUC", "DEB")


@dataclasses.dataclass(frozen=True)
class SlideTruth:
    """Everything known about one slide.

    Attributes:
        regions: uint8 [rows, columns], the tissue (a position in `TISSUES`) in the middle of each square of
            `region_cell_px` px at level 0.
        attributes: for each tissue on the slide, the attributes with which all of it was drawn.
        facts: what a synoptic report states, words or numbers; `*_percent` are shares of the tissue's area.
        levels: width and height of every level of the file.
    """

    patient: str
    slide: str
    scanner: str
    width: int
    height: int
    mpp: float
    region_cell_px: int
    regions: LabelArray
    attributes: Mapping[str, Mapping[str, str]]
    facts: Mapping[str, str | float]
    levels: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, object]:
        """The record as plain values; `regions` becomes rows of tissue names."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        names = list(TISSUES)
        plain["regions"] = [[names[label] for label in row] for row in self.regions.tolist()]
        plain["attributes"] = {tissue: dict(traits) for tissue, traits in self.attributes.items()}
        plain["facts"] = dict(self.facts)
        plain["levels"] = [list(size) for size in self.levels]
        return plain


def render_slide(spec: SlideSpec, path: Path, on_rows: Callable[[int], None] | None = None) -> SlideTruth:
    """Draw the slide and write it to `path`, band by band: memory grows with the width, not with the area.

    Args:
        on_rows: called with the number of rows finished since the last call.

    Raises:
        InputError: an unknown tissue or scanner, no tissue at all, or a size out of range.
    """
    _check(spec)
    layout, choice = np.random.SeedSequence([spec.seed, *name_seed("layout")]).spawn(2)
    regions = draw_regions(np.random.default_rng(layout), spec.width, spec.height, spec.tissues)
    chooser = np.random.default_rng(choice)
    traits = {name: draw_traits(chooser, name, {}) for name in TISSUES if name in spec.tissues and name != "BACK"}
    bands = _bands(spec, regions, traits, on_rows)
    levels = write_pyramid(path, (spec.width, spec.height), spec.mpp, bands)
    grid = _region_grid(spec, regions)
    return SlideTruth(
        patient=spec.patient,
        slide=spec.slide,
        scanner=spec.scanner,
        width=spec.width,
        height=spec.height,
        mpp=spec.mpp,
        region_cell_px=REGION_CELL_PX,
        regions=grid,
        attributes=traits,
        facts=_facts(spec, grid, traits),
        levels=tuple(levels),
    )


def _check(spec: SlideSpec) -> None:
    if not [name for name in spec.tissues if name != "BACK"]:
        raise InputError(f"tissues is {spec.tissues!r}; name at least one beside BACK")
    for tissue in spec.tissues:
        check_spec(_patch_spec(spec, tissue))
    if min(spec.width, spec.height) < SMALLEST_SIDE_PX:
        raise InputError(f"the slide is {spec.width} x {spec.height} px; give at least {SMALLEST_SIDE_PX} each way")


def _patch_spec(spec: SlideSpec, tissue: str) -> TileSpec:
    return TileSpec(spec.seed, tissue, spec.patient, spec.slide, spec.scanner, PATCH_PX, spec.mpp)


def _region_grid(spec: SlideSpec, regions: RegionMap) -> LabelArray:
    half = REGION_CELL_PX / 2
    x = np.arange(half, spec.width, REGION_CELL_PX, dtype=np.float32)
    y = np.arange(half, spec.height, REGION_CELL_PX, dtype=np.float32)
    return regions.at(x, y)


def _facts(spec: SlideSpec, grid: LabelArray, traits: Mapping[str, Mapping[str, str]]) -> dict[str, str | float]:
    """The entries of a synoptic report that follow from what was drawn."""
    tissue_cells = int((grid != GLASS).sum())
    square_mm = (REGION_CELL_PX * spec.mpp / 1000) ** 2
    facts: dict[str, str | float] = {"tissue_mm2": round(tissue_cells * square_mm, 3)}
    for index, name in enumerate(TISSUES):
        if index != GLASS:
            facts[f"{name.lower()}_percent"] = round(100 * float((grid == index).sum()) / max(tissue_cells, 1), 1)
    tumour = traits.get("TUM")
    facts["tumour"] = "present" if tumour else "absent"
    if tumour:
        wanted = ("growth_pattern", "pleomorphism", "mitoses", "necrosis", "lymphocytic_infiltrate")
        facts.update({name: tumour[name] for name in wanted})
    return facts


def _bands(
    spec: SlideSpec,
    regions: RegionMap,
    traits: Mapping[str, Mapping[str, str]],
    on_rows: Callable[[int], None] | None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Finished rows of the slide, STRIDE_PX at a time.

    A band sums weighted patches; the patches' last OVERLAP_PX rows are carried into the next band.
    """
    profile = stain_profile(spec.patient, spec.slide, spec.scanner)
    columns = -(-spec.width // STRIDE_PX)
    sums: FloatArray = np.zeros((3, PATCH_PX, columns * STRIDE_PX + OVERLAP_PX), dtype=np.float32)
    for row, top in enumerate(range(0, spec.height, STRIDE_PX)):
        for column in range(columns):
            left = column * STRIDE_PX
            sums[:, :, left : left + PATCH_PX] += _patch(spec, regions, traits, row, column)
        rows = min(STRIDE_PX, spec.height - top)
        yield _developed(sums[:, :STRIDE_PX], spec, profile, row)[:rows, : spec.width]
        if on_rows is not None:
            on_rows(rows)
        sums[:, :OVERLAP_PX] = sums[:, STRIDE_PX:]
        sums[:, OVERLAP_PX:] = 0


def _patch(spec: SlideSpec, regions: RegionMap, traits: Mapping[str, Mapping[str, str]], row: int, column: int) -> FloatArray:
    """Weighted hematoxylin, weighted eosin and the weight of one patch: float32 [3, PATCH_PX, PATCH_PX]."""
    cells = np.arange(-MAP_MARGIN, PATCH_PX // MAP_STEP_PX + MAP_MARGIN, dtype=np.float32)
    places = (cells + 0.5) * MAP_STEP_PX
    labels = regions.at(places + column * STRIDE_PX, places + row * STRIDE_PX)
    total: FloatArray = np.zeros((3, PATCH_PX, PATCH_PX), dtype=np.float32)
    for index in np.unique(labels):
        name = list(TISSUES)[index]
        rng = np.random.default_rng(np.random.SeedSequence([spec.seed, *name_seed("patch", name), row, column]))
        share = _window(rng) * _spread(labels == index)
        if index == GLASS:
            stains = np.full((2, PATCH_PX, PATCH_PX), GLASS_DENSITY, dtype=np.float32)
        else:
            canvas = paint(rng, _patch_spec(spec, name), traits[name])
            stains = np.stack([canvas.hematoxylin, canvas.eosin])
        total[:2] += stains * share
        total[2] += share
    return total


def _spread(where: npt.NDArray[np.bool_]) -> FloatArray:
    """A coarse bool map [n, n] as soft weights of a whole patch; never zero, so that every pixel has a sum."""
    coarse = Image.fromarray(where.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1.5))
    inner = (MAP_MARGIN, MAP_MARGIN, where.shape[1] - MAP_MARGIN, where.shape[0] - MAP_MARGIN)
    size = (PATCH_PX, PATCH_PX)
    fine = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC, box=inner), dtype=np.float32) / 255
    weights: FloatArray = np.clip((fine - 0.5) * 4 + 0.5, 1e-6, 1)
    return weights


def _window(rng: np.random.Generator) -> FloatArray:
    """Weights that hand over from patch to patch along a ragged line within the overlap, not by fading."""
    ramp = np.clip((np.arange(PATCH_PX, dtype=np.float32) + 0.5) / OVERLAP_PX, 0, 1)
    rise = np.minimum(ramp, ramp[::-1])
    ragged = rise[:, None] * rise[None, :] * np.exp(0.35 * field(rng, PATCH_PX, 6.0))
    weights: FloatArray = np.clip(ragged, 1e-3, None) ** 6
    return weights


def _developed(sums: FloatArray, spec: SlideSpec, profile: StainProfile, row: int) -> npt.NDArray[np.uint8]:
    """A band's picture, in blocks, so that no more than one is held as floats."""
    blocks = []
    for column, left in enumerate(range(0, sums.shape[2] - OVERLAP_PX, STRIDE_PX)):
        part = sums[:, :, left : left + STRIDE_PX]
        rng = np.random.default_rng(np.random.SeedSequence([spec.seed, *name_seed("camera"), row, column]))
        blocks.append(develop(part[0] / part[2], part[1] / part[2], profile, rng, vignetting=False))
    return np.concatenate(blocks, axis=1)
