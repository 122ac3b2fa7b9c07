"""ARCH (Gamper and Rajpoot, CVPR 2021): figures of textbooks and articles, where several images may share one caption."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import mapping, needed, text
from eosin.data_builders.sources.reading.image_files import is_file, safe_name
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.images import read_image_file
from eosin.records import ImageText, Record

SETS = ("books_set", "pubmed_set")
_SUFFIXES = (".png", ".jpg", ".jpeg")


class Arch(Source[NoOptions]):
    """An entry an image. `extra.bag` names the images that one caption speaks of."""

    card = Card(
        name="arch",
        title="ARCH",
        kind="image_text",
        paper="Gamper and Rajpoot, Multiple Instance Captioning: Learning Representations from Histopathology Textbooks and "
        "Articles, CVPR 2021, "
        "arXiv:2103.05121",
        homepage="https://warwick.ac.uk/fac/cross_fac/tia/data/arch",
        licence="CC-BY-NC-SA-4.0",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile(
                "**/books_set/captions.json | **/pubmed_set/captions.json", "an object of figure_id, letter, caption, uuid", "the homepage"
            ),
            ExpectedFile("**/images/*.png | **/images/*.jpg", "an image a uuid", "the same archives"),
        ),
        counts={"bags (paper)": 11_816, "images (paper)": 15_164},
        splits="None official; benchmarks take books_set (1,306 pairs) or pubmed_set (1,923 pairs) whole, for retrieval.",
        groups="The bag: the figure in books_set, the caption in pubmed_set. The books and articles themselves are not told.",
        problems=(
            "The release is smaller than the paper says.",
            "Several images share a caption: retrieval has several right answers (extra.bag); figures of one book are not told apart from "
            "those of another, so a split by group may still part a book.",
            "pubmed_set lacks figure_id and letter in parts.",
            "The book images are the Atlas part of PathMMU.",
        ),
        citation="@inproceedings{gamper2021multiple, title={Multiple Instance Captioning: Learning Representations from Histopathology "
        "Textbooks and Articles}, author={Gamper, Jevgenij and Rajpoot, Nasir}, booktitle={CVPR}, year={2021}}",
    )

    @functools.cached_property
    def _files(self) -> dict[str, JsonRecords]:
        found = (path for name in SETS for path in sorted(self.folder.glob(f"**/{name}/captions.json")))
        names = ((path, path.relative_to(self.folder).as_posix()) for path in found)
        return {name: JsonRecords(path, name) for path, name in names}

    def sections(self) -> Iterable[Section]:
        for file in self._files.values():
            yield from file.sections()

    def items(self, section: Section) -> Iterator[Item]:
        for key, element in self._files[section.name].items(section):
            part = Path(section.name).parent.name
            yield Item(f"{part}/{key}", "none", functools.partial(self._record, section.name, f"{part}/{key}", element))

    def _record(self, name: str, key: str, element: Any) -> Record:
        found = mapping(element)
        caption = needed(found, "no_caption", "caption")
        uuid = safe_name(needed(found, "no_image", "uuid"))
        images = (self.folder / name).parent / "images"
        path = next((images / (uuid + suffix) for suffix in _SUFFIXES if is_file(images / (uuid + suffix))), None)
        if path is None:
            raise Refused("image_missing", f"{uuid}: neither .png nor .jpg of that name in {images.relative_to(self.folder)}")
        part, figure = key.partition("/")[0], text(found, "figure_id")
        bag = f"{part}/{figure}" if figure else f"{part}/caption-{hashlib.sha256(caption.encode()).hexdigest()[:16]}"
        letter = text(found, "letter")
        extra = {"set": part, "bag": bag, "uuid": uuid, **({"letter": letter} if letter else {})}
        return ImageText(**self.base(key, bag), image=read_image_file(path), captions=(caption,), extra=extra)
