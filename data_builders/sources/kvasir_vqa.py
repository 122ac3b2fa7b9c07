"""Kvasir-VQA: questions about endoscopy frames (Gautam et al. 2024, arXiv:2409.01437)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.dialogue import asked
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.parquet_files import image_bytes, need_fields, parquet_sections, section_records
from eosin.data_builders.sources.reading.tables import need_columns, row_sections, section_rows
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.records import Conversation, Record

_COLUMNS = ("question", "answer", "img_id")


class KvasirVQA(Source[NoOptions]):
    """Hugging Face's Parquet with images inside, or metadata.csv beside `images/IMG_ID.jpg`."""

    card = Card(
        name="kvasir_vqa",
        title="Kvasir-VQA",
        kind="conversations",
        paper="Gautam et al., Kvasir-VQA: A Text-Image Pair GI Tract Dataset, 2024, arXiv:2409.01437",
        homepage="https://huggingface.co/datasets/SimulaMet-HOST/Kvasir-VQA",
        licence="CC-BY-NC-4.0",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile(
                "**/*.parquet | **/metadata.csv",
                "columns image, source, question, answer, img_id; or metadata.csv without image",
                "SimulaMet-HOST/Kvasir-VQA, or datasets.simula.no/kvasir-vqa",
            ),
            ExpectedFile("**/*.parquet | images/*.jpg | **/*.jpg | *.zip", "the frames, images/IMG_ID.jpg", "the same"),
        ),
        counts={"questions": 58849, "images": 6500},
        splits="None official: the release calls all of it raw.",
        groups="The image, img_id; which frames are of one patient is not told.",
        problems=(
            "Endoscopy, not microscopy: keep it apart from histology.",
            "Frames of one examination may be alike: look for near duplicates before a split.",
            "Answers to questions with several right choices are lists in one text: they count as open.",
        ),
        citation="@article{gautam2024kvasirvqa, title={Kvasir-VQA: A Text-Image Pair GI Tract Dataset}, author={Gautam, Sushant and "
        "Stor{\\aa}s, Andrea and Midoglu, Cise and Hicks, Steven A. and Thambawita, Vajira and Halvorsen, P{\\aa}l and Riegler, Michael "
        "A.}, journal={arXiv:2409.01437}, year={2024}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        shards = sorted(self.folder.glob("**/*.parquet"))
        for path in shards:
            need_fields(path, "image", *_COLUMNS)
            yield from parquet_sections(path, path.relative_to(self.folder).as_posix())
        if not shards:
            path = self.path("metadata.csv", "**/metadata.csv")
            need_columns(path, *((name,) for name in _COLUMNS))
            yield from row_sections(path, path.relative_to(self.folder).as_posix())

    def items(self, section: Section) -> Iterator[Item]:
        path = self.folder / section.name
        rows: Iterator[tuple[int, dict[str, Any]]]
        rows = section_records(path, section) if path.suffix == ".parquet" else section_rows(path, section)
        for number, row in rows:
            key = f"{section.name}#{number}"
            yield Item(key, "none", functools.partial(self._record, row, key))

    def _record(self, row: dict[str, Any], key: str) -> Record:
        if not row.get("img_id"):
            raise Refused("wrong_columns", "the row has no img_id")
        name = str(row["img_id"])
        fields = asked(str(row.get("question") or ""), str(row.get("answer") or ""))
        cell = row.get("image") or (name if name.lower().endswith((".jpg", ".png")) else f"{name}.jpg")
        extra = {"image_id": name, **({"source": str(row["source"])} if row.get("source") else {})}
        return Conversation(**self.base(key, name), **fields, images=(image_bytes(cell, self.images),), extra=extra)
