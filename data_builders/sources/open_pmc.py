"""Open-PMC (Baghbanzadeh et al. 2025, arXiv:2503.14377): panels of PubMed Central with captions, and what the text says of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import field, mapping, rest, text, texts
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.names import article_of, split_of
from eosin.data_builders.sources.reading.parquet_files import image_bytes, parquet_sections, section_records
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.records import ImageText, Record

_NAME = ("image_path", "image_name", "media_name", "subfig_path", "id")
_CAPTION = ("sub_caption", "subcaption", "caption", "full_caption")
_REFERENCES = ("intext_refs", "intext_references", "references")
_SUMMARY = ("intext_refs_summary", "summary")
_ARTICLE = ("pmc_id", "pmcid", "article")
_TYPE = ("modality", "image_modality", "class_label", "label", "image_type")


@dataclass(frozen=True)
class OpenPmcOptions:
    """What is taken.

    Attributes:
        labels: words, of which one must be in the type that the release gives the image; empty: every image.
    """

    labels: tuple[str, ...] = ("microscop", "histo", "pathology")


class OpenPmc(Source[OpenPmcOptions]):
    """A row a panel; what the text says of it is in `extra.references`, its summary in `extra.references_summary`."""

    Options = OpenPmcOptions
    card = Card(
        name="open_pmc",
        title="Open-PMC",
        kind="image_text",
        paper="Baghbanzadeh et al., Advancing Medical Representation Learning Through High-Quality Data, 2025, arXiv:2503.14377",
        homepage="https://huggingface.co/datasets/vector-institute/open-pmc",
        licence="by record where it is told: that of the article; else unclear",
        gated=False,
        commercial="by record",
        files=(
            ExpectedFile(
                "**/*.parquet | **/*.jsonl",
                "a row a panel: image, caption or sub_caption, intext_refs, intext_refs_summary",
                "the homepage",
            ),
            ExpectedFile("**/*.jpg | **/*.png | *.zip", "the panels, where the rows only name them", "the homepage", required=False),
        ),
        counts={"pairs": 2_200_000},
        splits="As the files' names tell (train, val, test); else none.",
        groups="The article: the PMC number of a column, else of the image's name.",
        problems=(
            "All of medicine: options.labels filters by the type of image that the release gives; what is left out, and what "
            "has no type, is "
            "a reject (`options.labels=[]` takes all).",
            "Captions and references are null in parts: a row without a caption is a reject, one without references is not.",
            "Column names differ between the releases and the authors' scripts: several are understood.",
        ),
        citation="@article{baghbanzadeh2025openpmc, title={Advancing Medical Representation Learning Through High-Quality Data}, "
        "author={Baghbanzadeh, Negin and others}, journal={arXiv:2503.14377}, year={2025}}",
    )

    def __init__(self, folder: Path, options: OpenPmcOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        for path in sorted({*self.folder.glob("**/*.parquet"), *self.folder.glob("**/*.jsonl")}):
            name = path.relative_to(self.folder).as_posix()
            splits = (split_of(name) or "none",)
            yield from parquet_sections(path, name, splits) if path.suffix == ".parquet" else JsonRecords(path, name).sections(splits)

    def items(self, section: Section) -> Iterator[Item]:
        path, split = self.folder / section.name, split_of(section.name) or "none"
        if path.suffix == ".parquet":
            rows: Iterator[tuple[str, Any]] = ((f"#{number}", row) for number, row in section_records(path, section))
        else:
            rows = JsonRecords(path, section.name).items(section)
        for key, element in rows:
            whole = f"{section.name}{key}"
            yield Item(whole, split, functools.partial(self._record, whole, element, split))

    def _record(self, key: str, element: Any, split: str) -> Record:
        found = mapping(element)
        cell = field(found, "image")
        name = cell if isinstance(cell, str) else text(cell, "path") if isinstance(cell, dict) else ""
        name = name or text(found, *_NAME)
        self._check_type(name or key, text(found, *_TYPE) or ", ".join(texts(field(found, *_TYPE))))
        captions = next(filter(None, (texts(field(found, column)) for column in _CAPTION)), ())
        if not captions:
            raise Refused("no_caption", f"{name or key} has no caption")
        article = article_of(f"PMC{text(found, *_ARTICLE)}" if text(found, *_ARTICLE).isdecimal() else text(found, *_ARTICLE), name)
        if article is None:
            raise Refused("no_group", f"{name or key}: no PMC number in its columns or its name, so its article is not known")
        used = ("image", *_CAPTION, *_REFERENCES, *_SUMMARY)
        extra: dict[str, Any] = {**rest(found, *used), "image": name, "references": list(texts(field(found, *_REFERENCES)))}
        for column, names in (("references_summary", _SUMMARY), ("full_caption", ("full_caption",))):
            if text(found, *names):
                extra[column] = text(found, *names)
        licence = text(found, "license", "licence", "article_license")
        return ImageText(
            **self.base(key, article, split, licence=licence),
            image=image_bytes(cell if cell is not None else name, self.images),
            captions=captions,
            extra=extra,
        )

    def _check_type(self, name: str, kind: str) -> None:
        if self.options.labels and not any(word.lower() in kind.lower() for word in self.options.labels):
            raise Refused(
                "not_pathology", f"{name}: of type {kind or 'unknown'}; options.labels wants one of: {', '.join(self.options.labels)}"
            )
