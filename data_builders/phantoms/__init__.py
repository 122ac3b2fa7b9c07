"""Phantoms: synthetic H&E tiles and slides that are drawn from known structure, with the truth about each."""

if __name__ != "eosin.data_builders.phantoms":
    raise ImportError("import this package as eosin.data_builders.phantoms")

from eosin.data_builders.phantoms.slide import SlideSpec, SlideTruth, render_slide
from eosin.data_builders.phantoms.stain import SCANNERS, StainProfile, stain_profile
from eosin.data_builders.phantoms.tile import Tile, TileSpec, render_tile
from eosin.data_builders.phantoms.truth import (
    ATTRIBUTES,
    BOX_LABELS,
    COUNTS,
    MASK_LABELS,
    TISSUE_ATTRIBUTES,
    TISSUES,
    Box,
    TileTruth,
)

__all__ = [
    "ATTRIBUTES",
    "BOX_LABELS",
    "COUNTS",
    "MASK_LABELS",
    "SCANNERS",
    "TISSUES",
    "TISSUE_ATTRIBUTES",
    "Box",
    "SlideSpec",
    "SlideTruth",
    "StainProfile",
    "Tile",
    "TileSpec",
    "TileTruth",
    "render_slide",
    "render_tile",
    "stain_profile",
]
