"""The recipe of `tile_slides`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from eosin.config import input_path, settings_of
from eosin.data_builders.slides.grid import Edge, Grid
from eosin.data_builders.slides.quality import QualityConfig
from eosin.data_builders.slides.tissue import TissueConfig
from eosin.errors import ConfigError
from eosin.records import SPLITS
from eosin.slides.sampling import Level, Sampling, sampling_of


@dataclass(frozen=True)
class TileSlidesConfig:
    """Which slides, and which tiles of them.

    Attributes:
        slides: a folder of slides, or a CSV that names them; see `eosin.data_builders.slides.listing`.
        mpp_overrides: CSV of slides whose own microns per pixel are missing or wrong.
        source: the slides' name in ids.
        licence: SPDX name, or the publisher's words; a CSV can give one to each slide.
        split: of slides whose CSV row names none.
        size: side of a tile in pixels.
        mpp: microns per pixel of a tile.
        overlap: of neighbours, as a share of the side.
        edge: `drop` what is left at the right and lower edge, or `shift` a last tile inwards.
        tissue_share: the least share of a tile that is tissue on the overview.
        tissue: how the overview is judged.
        quality: how a tile is judged.
        images: write the kept tiles' pictures too.
        jpeg_quality: of them.
        rows_a_task: rows of the grid that one shard holds; 0 for about 8,192 tiles.
        threads: that decode, in each process; decides no byte.
    """

    builder: Literal["tile_slides"] = "tile_slides"
    slides: str = input_path()
    mpp_overrides: str = input_path(required=False)
    source: str = "slides"
    licence: str = "unknown"
    split: str = "none"
    size: int = 256
    mpp: float = 0.5
    overlap: float = 0.0
    edge: Edge = "drop"
    tissue_share: float = 0.25
    tissue: TissueConfig = field(default_factory=TissueConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    images: bool = False
    jpeg_quality: int = 90
    rows_a_task: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"split is {self.split!r}; allowed: {', '.join(SPLITS)}")
        if not 16 <= self.size <= 8192 or not self.mpp > 0:
            raise ConfigError(f"size is 16 to 8192 pixels and mpp above 0; got {self.size} and {self.mpp}")
        if not 0 <= self.overlap < 1 or not 0 <= self.tissue_share <= 1:
            raise ConfigError(f"overlap is 0 to below 1 and tissue_share 0 to 1; got {self.overlap} and {self.tissue_share}")
        if not 1 <= self.jpeg_quality <= 100 or self.threads < 1 or self.rows_a_task < 0:
            raise ConfigError("jpeg_quality is 1 to 100, threads 1 or more, rows_a_task 0 or more")

    def sampling(self, levels: tuple[Level, ...], mpp: float) -> Sampling:
        """How this recipe's tiles are read off a slide of `mpp` at level 0.

        Raises:
            ConfigError: the slide is coarser than wanted.
        """
        return sampling_of(levels, mpp, self.size, self.mpp)

    def grid(self, bounds: tuple[int, int], side: int) -> Grid:
        """This recipe's tiles on a slide of `bounds` pixels, `side` pixels each at level 0."""
        return Grid.of(bounds, side, self.overlap, self.edge)

    def plan_settings(self, *names: str) -> dict[str, Any]:
        """Those of the settings, as a plan holds them."""
        return {key: value for key, value in settings_of(self).items() if key in names}
