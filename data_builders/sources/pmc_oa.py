"""PMC-OA (Lin et al., MICCAI 2023, arXiv:2303.07240): panels of figures of PubMed Central with their part of the caption."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import field, mapping, needed, rest, texts
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_records import JsonRecords
from eosin.data_builders.sources.reading.names import article_of
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.records import ImageText, Record

_IMAGE, _CAPTION = ("image", "image_path", "media_name"), ("caption", "sub_caption", "text")


class PmcOa(Source[NoOptions]):
    """A line a panel, named `PMC<article>_<figure>_<panel>.jpg`."""

    card = Card(
        name="pmc_oa",
        title="PMC-OA",
        kind="image_text",
        paper="Lin et al., PMC-CLIP: Contrastive Language-Image Pre-training using Biomedical Documents, MICCAI 2023, arXiv:2303.07240",
        homepage="https://huggingface.co/datasets/axiong/pmc_oa",
        licence="unclear: open access articles of several licences; the release does not tell them by image",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile("pmc_oa.jsonl | pmc_oa*.jsonl | *.jsonl", "image and caption of a panel", "the homepage"),
            ExpectedFile("*.zip | **/*.jpg | **/*.png", "the panels, packed or not", "images.zip of the homepage"),
        ),
        counts={"pairs": 1_650_000},
        splits="None in pmc_oa.jsonl.",
        groups="The article: the PMC number in the image's name.",
        problems=(
            "All of medicine, without the type of the image: pathology must be chosen afterwards, by captions or by an embedding.",
            "The licence of the article is not told by image.",
            "Panels were cut and captions split by models; some are matched wrongly.",
        ),
        citation="@inproceedings{lin2023pmcclip, title={PMC-CLIP: Contrastive Language-Image Pre-training using Biomedical Documents}, "
        "author={Lin, Weixiong and others}, booktitle={MICCAI}, year={2023}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _file(self) -> JsonRecords:
        path = self.path("pmc_oa.jsonl", "pmc_oa*.jsonl", "*.jsonl")
        return JsonRecords(path, path.name)

    def sections(self) -> Iterable[Section]:
        return self._file.sections()

    def items(self, section: Section) -> Iterator[Item]:
        for key, element in self._file.items(section):
            yield Item(key, "none", functools.partial(self._record, key, element))

    def _record(self, key: str, element: Any) -> Record:
        found = mapping(element)
        name = needed(found, "no_image", *_IMAGE)
        captions = texts(field(found, *_CAPTION))
        if not captions:
            raise Refused("no_caption", f"{name} has no caption")
        article = article_of(name)
        if article is None:
            raise Refused("no_group", f"{name}: no PMC number in the name, so its article is not known")
        extra = {**rest(found, *_IMAGE, *_CAPTION), "image": name}
        return ImageText(**self.base(f"{name}{key}", article), image=self.images.read(name), captions=captions, extra=extra)
