"""Any CSV of images and captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.tables import need_columns, optional, row_sections, section_rows, value
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.records import SPLITS, ImageText, Record


@dataclass(frozen=True)
class CsvOptions:
    """How the table is read.

    Attributes:
        image: column of the image's path, relative to the folder.
        caption: column of the caption.
        group: column of the patient, slide, video or article; empty: each image is its own group.
        split: column of train, val, test or none; empty: none.
        licence: column of the licence; empty: unknown.
    """

    image: str = "image"
    caption: str = "caption"
    group: str = ""
    split: str = ""
    licence: str = ""


class CsvPairs(Source[CsvOptions]):
    """One row a pair; all other columns go to `extra`."""

    Options = CsvOptions
    card = Card(
        name="csv",
        title="Your own CSV of images and captions",
        kind="image_text",
        paper="none: your own data",
        homepage="this machine",
        licence="unknown",
        gated=False,
        commercial="by record",
        files=(ExpectedFile("*.csv | *.tsv", "one row a pair: image path and caption", "you"),),
        counts={},
        splits="A column, where one is named.",
        groups="A column, where one is named; else each image is its own group.",
        problems=("Without a group column no split can keep a patient's images together.",),
        citation="",
    )

    def __init__(self, folder: Path, options: CsvOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder, tail=2)

    def sections(self) -> Iterable[Section]:
        path = self.path("*.csv", "*.tsv")
        options = self.options
        need_columns(path, *((name,) for name in (options.image, options.caption, options.group, options.split, options.licence) if name))
        return row_sections(path, path.name, SPLITS if options.split else ("none",))

    def facts(self) -> dict[str, str]:
        if self.options.group:
            return {}
        return {"groups_unknown": "the CSV names no group column (options.group): images of one patient may be in several splits"}

    def items(self, section: Section) -> Iterator[Item]:
        for number, row in section_rows(self.folder / section.name, section):
            split = (optional(row, self.options.split) or "none").lower() if self.options.split else "none"
            split = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}.get(split, split)
            key = f"{section.name}#{number}"
            yield Item(key, split if split in SPLITS else "none", lambda row=row, key=key, split=split: self._record(row, key, split))  # type: ignore[misc]

    def _record(self, row: dict[str, str], key: str, split: str) -> Record:
        if split not in SPLITS:
            raise Refused("unknown_split", f"its split is {split!r}; allowed: {', '.join(SPLITS)}")
        options = self.options
        name, caption = value(row, options.image), value(row, options.caption)
        if not caption:
            raise Refused("no_caption", f"{name} has no caption")
        group = value(row, options.group) if options.group else name
        licence = (optional(row, options.licence) or "") if options.licence else ""
        used = {options.image, options.caption, options.group, options.split, options.licence}
        rest = {column: content for column, content in row.items() if column not in used and content}
        return ImageText(
            **self.base(key, group or name, split, licence=licence),
            image=self.images.read(name),
            captions=(caption,),
            extra={**rest, "image": name},
        )
