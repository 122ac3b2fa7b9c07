"""Quilt-1M (Ikezogwo et al., NeurIPS 2023, arXiv:2306.11207): pictures and words of teaching videos, tweets, articles and the web."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import checked_split, planned_split, repr_list
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.names import article_of, video_of
from eosin.data_builders.sources.reading.tables import need_columns, optional, row_sections, section_rows
from eosin.data_builders.sources.source import ITEMS_A_SHARD, Card, ExpectedFile, Item, Refused, Section, Source, refused_item
from eosin.records import ImageText, Record

Row = dict[str, str]
_LISTS = ("pathology", "roi_text", "noisy_text", "corrected_text", "med_umls_ids")
_OF_IMAGE = ("subset", "pathology", "magnification", "height", "width", "single_wsi", "not_histology")
_OF_CAPTION = ("roi_text", "noisy_text", "corrected_text", "med_umls_ids")


@dataclass(frozen=True)
class QuiltOptions:
    """What is taken.

    Attributes:
        subset: `quilt`, `openpath`, `pubmed` or `laion` alone; empty: all.
        histology_only: refuse rows that the release itself marks as not histology.
    """

    subset: str = ""
    histology_only: bool = False


class Quilt1M(Source[QuiltOptions]):
    """Rows of one image that follow each other become one record with several captions."""

    Options = QuiltOptions
    card = Card(
        name="quilt_1m",
        title="Quilt-1M",
        kind="image_text",
        paper="Ikezogwo et al., Quilt-1M: One Million Image-Text Pairs for Histopathology, NeurIPS 2023, arXiv:2306.11207",
        homepage="https://github.com/wisdomikezogwo/quilt1m",
        licence="CC BY-NC family, by request",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                "quilt_1M_lookup.csv | *lookup*.csv",
                "a row a pair: caption, image_path, subset, split and more",
                "Zenodo 8239942, after a request",
            ),
            ExpectedFile(
                "**/*.jpg | **/*.png | *.zip",
                "the images, unpacked or in their archives",
                "Zenodo 8239942 (512 pixels, 36 GB) or the authors' drive (full size, 110 GB)",
            ),
        ),
        counts={
            "pairs": 1_017_712,
            "train": 1_004_153,
            "val": 13_559,
            "quilt": 802_148,
            "openpath": 133_511,
            "pubmed": 59_371,
            "laion": 22_682,
        },
        splits="train and val, by row: the split column.",
        groups="The YouTube video, from the first 11 characters of the file name; for pubmed the article where its name tells "
        "it; else the image.",
        problems=(
            "The table is many-to-many and its split is by row: the same image, and the same video, are in train and val. Make a split by "
            "group before training on it.",
            "There are about 650,000 image files for the 1,017,712 rows; a row without its file is a reject.",
            "List columns are Python lists written out as text; they are parsed, never evaluated.",
            "Four captions are empty: rejects. About half of the captions fit their image badly by a model's score: clean before training.",
            "Screens, arrows and several panels are in many frames; the columns single_wsi and not_histology are of 26 October "
            "2023 and later.",
        ),
        citation="@inproceedings{ikezogwo2023quilt, title={Quilt-1M: One Million Image-Text Pairs for Histopathology}, "
        "author={Ikezogwo, Wisdom and others}, booktitle={NeurIPS}, year={2023}}",
    )

    def __init__(self, folder: Path, options: QuiltOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        path = self.path("quilt_1M_lookup.csv", "*lookup*.csv")
        need_columns(path, ("image_path",), ("caption",))
        return _image_sections(path)

    def items(self, section: Section) -> Iterator[Item]:
        for _, rows in itertools.groupby(section_rows(self.folder / section.name, section), lambda found: _image_of(found[1])):
            numbered = list(rows)
            first, row = numbered[0]
            split = optional(row, "split") or ""
            spoken = [(number, row) for number, row in numbered if _caption_of(row)]
            for number, silent in numbered:
                if not _caption_of(silent):
                    why = "the row has more or fewer fields than the header" if not silent else "the row has no caption"
                    yield refused_item(_key(silent, number), planned_split(split), "no_caption" if silent else "wrong_columns", why)
            if spoken:
                rows_only = [row for _, row in spoken]
                yield Item(_key(row, first), planned_split(split), functools.partial(self._record, _key(row, first), rows_only, split))

    def _record(self, key: str, rows: list[Row], split: str) -> Record:
        row = rows[0]
        name, subset = optional(row, "image_path") or "", optional(row, "subset") or ""
        if self.options.subset and subset != self.options.subset:
            raise Refused("other_subset", f"{name}: of {subset or 'no subset'}; options.subset takes {self.options.subset}")
        if self.options.histology_only and (optional(row, "not_histology") or "0") not in ("0", "0.0", "False", "false", ""):
            raise Refused("not_histology", f"{name}: marked as not histology")
        captions = tuple(dict.fromkeys(_caption_of(row) for row in rows))
        # The columns that say how each caption came about, in the order of the captions.
        spoken = [{name: _value(row, name) for name in _OF_CAPTION if optional(row, name)} for row in rows]
        extra: dict[str, Any] = {name: _value(row, name) for name in _OF_IMAGE if optional(row, name)}
        return ImageText(
            **self.base(key, _group(name), checked_split(split)),
            image=self.images.read(name),
            captions=captions,
            extra={**extra, "image": name, "captions": spoken},
        )


def _image_sections(path: Path) -> Iterator[Section]:
    """The table in sections that never part two rows of one image."""
    start, offset, last, stop = 0, 0, None, 0
    rows = section_rows(path, Section(path.name, 0, 1 << 62))
    splits = ("train", "val", "test", "none")
    for place in row_sections(path, path.name, size=1):
        image = _image_of(next(rows)[1])
        if place.start == 0:
            offset = place.offset
        elif place.start - start >= ITEMS_A_SHARD and image != last:
            yield Section(path.name, start, place.start, splits, offset)
            start, offset = place.start, place.offset
        last, stop = image, place.stop
    if stop > start:
        yield Section(path.name, start, stop, splits, offset)


def _image_of(row: Row) -> tuple[str, str]:
    """Rows of an image belong together as long as they are of one split."""
    return optional(row, "image_path") or "", optional(row, "split") or ""


def _caption_of(row: Row) -> str:
    return (optional(row, "caption") or "").strip()


def _key(row: Row, number: int) -> str:
    return f"{optional(row, 'image_path') or ''}#{number}"


def _group(name: str) -> str:
    file = name.replace("\\", "/").rpartition("/")[2]
    return video_of(file) or article_of(file) or file


def _value(row: Row, name: str) -> Any:
    written = optional(row, name) or ""
    return repr_list(written) if name in _LISTS else written
