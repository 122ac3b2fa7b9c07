"""MedTrinity-25M (Xie et al., ICLR 2025, arXiv:2408.02900): images of some 90 medical sets with captions that models wrote."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import field, text, texts
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.parquet_files import columns_of, image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.errors import InputError
from eosin.records import ImageText, Record


@dataclass(frozen=True)
class MedTrinityOptions:
    """What is taken.

    Attributes:
        config: folder of one configuration, such as `25M_demo`; empty: the only one there is.
        sources: names of the sets to take, such as those of pathology; empty: all. Needs the column `source`.
    """

    config: str = ""
    sources: tuple[str, ...] = ()


class MedTrinity(Source[MedTrinityOptions]):
    """A row an image."""

    Options = MedTrinityOptions
    card = Card(
        name="medtrinity",
        title="MedTrinity-25M",
        kind="image_text",
        paper="Xie et al., MedTrinity-25M: A Large-scale Multimodal Dataset with Multigranular Annotations for Medicine, ICLR 2025, "
        "arXiv:2408.02900",
        homepage="https://huggingface.co/datasets/UCSC-VLAA/MedTrinity-25M",
        licence="unclear: that of the set each image came from",
        gated=True,
        commercial="unclear",
        files=(
            ExpectedFile("**/*.parquet", "rows of image, id, caption and, in some configurations, source", "the homepage, after a request"),
            ExpectedFile(
                "*.zip | **/*.jpg | **/*.png", "images of the configurations without pixels", "the sets they came from", required=False
            ),
        ),
        counts={"captions": 24_900_000},
        splits="None: train only.",
        groups="None is told: the id of the image, below its source.",
        problems=(
            "25M_full has captions whose images are not shipped: each is a reject unless you have the image.",
            "25M_demo has no column `source`: options.sources cannot be used on it.",
            "Boxes are burnt into some pixels without coordinates, and some captions are wrong.",
            "Test images of VQA-RAD were found in it: audit it against every benchmark.",
        ),
        citation="@inproceedings{xie2025medtrinity, title={MedTrinity-25M: A Large-scale Multimodal Dataset with Multigranular "
        "Annotations for "
        "Medicine}, author={Xie, Yunfei and others}, booktitle={ICLR}, year={2025}}",
    )

    def __init__(self, folder: Path, options: MedTrinityOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        paths = self._paths()
        for path in paths:
            need_fields(path, "id", "caption", *(("source",) if self.options.sources else ()))
        for path in paths:
            yield from parquet_sections(path, path.relative_to(self.folder).as_posix())

    def facts(self) -> dict[str, str]:
        return {"groups_unknown": "the release names no patient, slide or study: images of one may be in several splits"}

    def items(self, section: Section) -> Iterator[Item]:
        path = self.folder / section.name
        # Where the source alone refuses a row, its pixels are read all the same: they lie in the same row group.
        for number, row in section_records(path, section):
            # Nothing bars an id from coming twice, in one file or in several.
            key = f"{section.name}#{number}"
            yield Item(key, "none", functools.partial(self._record, key, row))

    def _record(self, key: str, row: dict[str, Any]) -> Record:
        source = text(row, "source")
        if self.options.sources and source.lower() not in {name.lower() for name in self.options.sources}:
            raise Refused("other_source", f"{key}: of {source or 'no source'}; options.sources takes {', '.join(self.options.sources)}")
        captions = texts(field(row, "caption"))
        if not captions:
            raise Refused("no_caption", f"{key} has no caption")
        cell = field(row, "image")
        image = image_bytes(cell if cell is not None else text(row, "file_name", "image_path"), self.images)
        extra = {name: value for name, value in row.items() if name not in ("image", "caption") and isinstance(value, (str, int, float))}
        return ImageText(
            **self.base(key, "/".join(filter(None, (source, text(row, "id") or key)))), image=image, captions=captions, extra=extra
        )

    def _paths(self) -> list[Path]:
        root = self.folder / self.options.config
        found = sorted(root.glob("**/*.parquet")) if root.is_dir() else []
        if not found:
            raise InputError(f"options.config: {self.options.config}: no such folder in {self.folder}, or no .parquet in it")
        configs = sorted({path.relative_to(root).parts[0] for path in found if path.parent != root} - {"data", "train"})
        if len(configs) > 1:
            raise InputError(f"{root} holds several configurations ({', '.join(configs)}); name one by options.config")
        columns = {tuple(columns_of(path)) for path in found}
        if len(columns) > 1:
            raise InputError(f"{root}: its files differ in their columns ({columns}); keep one configuration in it")
        return found
