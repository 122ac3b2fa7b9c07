"""PathGen-1.6M (Sun et al., ICLR 2025, arXiv:2407.00203): places on TCGA slides and captions; the pixels come from the slides."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from eosin.data_builders.sources.reading.fields import field, mapping, needed, text
from eosin.data_builders.sources.reading.image_files import is_file
from eosin.data_builders.sources.reading.json_files import list_sections, parsed, section_elements
from eosin.data_builders.sources.reading.names import patient_of
from eosin.data_builders.sources.reading.slide_files import SlideFiles
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.errors import InputError
from eosin.images import encode_jpeg, image_size, read_image_file
from eosin.records import ImageText, Record, Region
from eosin.slides.reader import SlideReader, missing_pixels

SIDE_PX = 672
FIELD_MICRONS = 168.0
_WIDEST_PX = 16_384


@dataclass(frozen=True)
class PathGenOptions:
    """Where the pixels come from.

    Attributes:
        slides: folder of the slides, relative to the release or absolute; searched at any depth.
        field: `level0` reads 672 pixels of level 0 as the authors do, which on a 20x slide is twice as wide as on a 40x slide;
            `microns` reads 168 microns (672 pixels at 0.25 microns) around the same centre on every slide.
        size: side in pixels of the images read with `field: microns`.
        mpp_overrides: CSV of slide and mpp, for slides whose own microns per pixel are missing or wrong; relative to the release or
            absolute.
    """

    slides: str = "."
    field: Literal["level0", "microns"] = "level0"
    size: int = 672
    mpp_overrides: str = ""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise InputError(f"options.size: {self.size}; from 16 to 4096 pixels are allowed")


class PathGen(Source[PathGenOptions]):
    """A place a record. Images that were already cut out (`WSI_X_Y.png`, `WSI/X_Y.jpg`) are taken for `level0` before any "
    "slide is opened."""

    Options = PathGenOptions
    card = Card(
        name="pathgen",
        title="PathGen-1.6M",
        kind="image_text",
        paper="Sun et al., PathGen-1.6M: 1.6 Million Pathology Image-text Pairs Generation through Multi-agent Collaboration, ICLR 2025, "
        "arXiv:2407.00203",
        homepage="https://huggingface.co/datasets/jamessyx/PathGen",
        licence="CC-BY-NC-2.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile("PathGen*.json | *.json", "a JSON list of wsi_id, position, caption and file_id", "the homepage, after a request"),
            ExpectedFile(
                "**/*.svs | **/*.png | **/*.jpg",
                "slides, or images already cut from them",
                "the Genomic Data Commons: gdc-client with the file_ids; options.slides names a folder elsewhere",
                required=False,
            ),
        ),
        counts={"pairs": 1_620_876},
        splits="None: everything is training data.",
        groups="The patient: the first 12 characters of the TCGA barcode.",
        problems=(
            "No pixels are shipped, and 672 pixels of level 0 are twice as wide on a 20x slide as on a 40x slide: options.field "
            "chooses, and "
            "every record says its region and microns per pixel.",
            "Positions are strings; the key is wsi_id in the file but WSI_id in the authors' script; the 5,000-record sample "
            "has no file_id: "
            "all are accepted.",
            "The licence is CC BY-NC 2.0 on the data page, CC BY 4.0 with non-commercial terms in the code's README: the "
            "stricter is taken.",
            "All slides are of TCGA: what is tested on TCGA must be audited against it.",
            "The captions were written by models; the authors found 88 to 90 % of a sample right.",
        ),
        citation="@inproceedings{sun2025pathgen, title={PathGen-1.6M: 1.6 Million Pathology Image-text Pairs Generation through "
        "Multi-agent "
        "Collaboration}, author={Sun, Yuxuan and others}, booktitle={ICLR}, year={2025}}",
    )

    def __init__(self, folder: Path, options: PathGenOptions) -> None:
        super().__init__(folder, options)
        self.slides = SlideFiles(folder / options.slides, folder / options.mpp_overrides if options.mpp_overrides else None)

    def sections(self) -> Iterable[Section]:
        path = self.path("PathGen*.json", "*.json")
        return list_sections(path, path.name)

    def problems(self) -> list[str]:
        if self.slides.root.is_dir():
            return []
        return [f"options.slides: {self.slides.root} is not a folder; slides are fetched with gdc-client and the file_ids of the JSON"]

    def facts(self) -> dict[str, Any]:
        return self.slides.facts()

    def items(self, section: Section) -> Iterator[Item]:
        for number, element in section_elements(self.folder / section.name, section):
            key = _key(element, number)
            yield Item(key, "none", functools.partial(self._record, key, element))

    def _record(self, key: str, element: Any) -> Record:
        found = mapping(element)
        slide = needed(found, "no_slide", "wsi_id").removesuffix(".svs")
        caption = needed(found, "no_caption", "caption")
        x, y = _position(field(found, "position"))
        image, region, mpp = self._image(slide, x, y)
        extra: dict[str, Any] = {"position": [x, y], "field": self.options.field}
        if text(found, "file_id"):
            extra["file_id"] = text(found, "file_id")
        return ImageText(
            **self.base(key, patient_of(slide)),
            slide=slide,
            mpp=mpp,
            image=image,
            captions=(caption,),
            stain="H&E",
            region=region,
            extra=extra,
        )

    def _image(self, slide: str, x: int, y: int) -> tuple[bytes, Region, float | None]:
        if self.options.field == "level0":
            ready = self._ready(slide, x, y)
            if ready is not None:
                width, height = image_size(ready)
                if (width, height) != (SIDE_PX, SIDE_PX):
                    raise Refused(
                        "wrong_size",
                        f"{slide} at {x}, {y}: the image cut before has {width} x {height} pixels; the {SIDE_PX} x {SIDE_PX} of the "
                        "authors' script are wanted: what another one shows is not known",
                    )
                return ready, Region(x, y, SIDE_PX, SIDE_PX), None
        reader = self.slides.open(slide)
        if self.options.field == "level0":
            return _cut(reader, Region(x, y, SIDE_PX, SIDE_PX), SIDE_PX), Region(x, y, SIDE_PX, SIDE_PX), reader.known_mpp
        side = round(FIELD_MICRONS / reader.mpp)
        margin = (SIDE_PX - side) // 2
        region = Region(x + margin, y + margin, side, side)
        return _cut(reader, region, self.options.size), region, reader.mpp * side / self.options.size

    def _ready(self, slide: str, x: int, y: int) -> bytes | None:
        if "/" in slide or "\\" in slide or slide.startswith("."):
            raise Refused("path_outside", f"{slide}: no name of a slide")
        for folder in ("", "images"):
            for name in (f"{slide}_{x}_{y}", f"{slide}/{x}_{y}"):
                for suffix in (".png", ".jpg", ".jpeg"):
                    path = self.folder / folder / (name + suffix)
                    if is_file(path):
                        return read_image_file(path)
        return None


def _key(element: Any, number: int) -> str:
    """The place and the number of the record: nothing bars a place from coming twice."""
    try:
        found = mapping(element)
        x, y = _position(field(found, "position"))
        return f"{needed(found, 'no_slide', 'wsi_id').removesuffix('.svs')}/{x}_{y}#{number}"
    except Refused:
        return f"#{number}"


def _position(written: Any) -> tuple[int, int]:
    """Two whole numbers, of a list of numbers or strings, or of a list written out as text.

    Raises:
        Refused: `no_position`.
    """
    try:
        x, y = (float(value) for value in (parsed(written.replace("'", '"')) if isinstance(written, str) else written))
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused("no_position", f"position is {str(written)[:60]!r}; two whole numbers are wanted") from error
    if not (x.is_integer() and y.is_integer() and 0 <= x < 1 << 31 and 0 <= y < 1 << 31):
        raise Refused("no_position", f"position is {str(written)[:60]!r}; two whole numbers are wanted")
    return int(x), int(y)


def _cut(reader: SlideReader, region: Region, size: int) -> bytes:
    """A region of level 0 as a JPEG of `size` pixels a side.

    Raises:
        Refused: `region_outside`.
        ImageError: `unreadable_region`, `missing_pixels`.
    """
    width, height = reader.size
    inside = region.x >= 0 and region.y >= 0 and region.x + region.width <= width and region.y + region.height <= height
    if not inside or region.width > _WIDEST_PX:
        raise Refused(
            "region_outside",
            f"{reader.path.name}: {region.width} x {region.height} pixels at {region.x}, {region.y} are not inside its {width} "
            f"x {height} pixels",
        )
    pixels, missing = reader.read_level(0, (region.x, region.y, region.width, region.height))
    if missing is not None:
        raise missing_pixels(reader.path.name, region.x, region.y)
    if region.width != size:
        # Pillow's Lanczos filter widens with the scale, so that nothing is aliased on the way down.
        pixels = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
    return encode_jpeg(pixels)
