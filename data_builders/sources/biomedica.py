"""BIOMEDICA (Lozano et al., CVPR 2025, arXiv:2501.07171): 24 million figures of PubMed Central, of which the pathology is taken."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eosin.data_builders.sources.reading.fields import field, rest, text, texts
from eosin.data_builders.sources.reading.names import article_of
from eosin.data_builders.sources.reading.tar_files import Sample, section_samples, tar_files, tar_sections
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.data_builders.sources.webdataset_pairs import fields_of, image_of, sample_key, text_of
from eosin.records import ImageText, Record

Partition = Literal["commercial", "non-commercial", "other"]
_FREE = re.compile(r"^(cc0|public domain|cc[ -]?by(?:[ -](?:sa|nd))?)(?:[ -]?[1-4]\.\d)?$")
_NOT_FREE = re.compile(r"^cc[ -]?by[ -]nc")
_LABELS = ("image_primary_label", "image_secondary_label", "primary_label", "secondary_label")
_CAPTION = ("image_caption", "caption", "figure_caption")
_CONTEXT = ("image_context", "context")


@dataclass(frozen=True)
class BiomedicaOptions:
    """What is taken.

    Attributes:
        labels: words, of which one must be in one of an image's labels; empty: every image. The labels are of clusters, named by experts.
        partition: images of articles with this licence; `any` takes all and says the licence in each record.
    """

    labels: tuple[str, ...] = ("light microscopy", "histopathology", "immunohistochemistry", "ihc")
    partition: Literal["any", "commercial", "non-commercial", "other"] = "any"


class Biomedica(Source[BiomedicaOptions]):
    """A figure a record; what the article says of it elsewhere is in `extra.references`."""

    Options = BiomedicaOptions
    card = Card(
        name="biomedica",
        title="BIOMEDICA",
        kind="image_text",
        paper="Lozano et al., BIOMEDICA: An Open Biomedical Image-Caption Archive, Dataset, and Vision-Language Models Derived "
        "from Scientific "
        "Literature, CVPR 2025, arXiv:2501.07171",
        homepage="https://huggingface.co/datasets/BIOMEDICA/biomedica_webdataset_24M",
        licence="by record: that of the article",
        gated=True,
        commercial="by record",
        files=(
            ExpectedFile("**/*.tar", "WebDataset shards: .jpg, .txt and .json of a figure", "the homepage, or its histopathology subset"),
        ),
        counts={"images": 24_000_000, "articles": 6_000_000},
        splits="None official.",
        groups="The article: its accession id, else its PMID.",
        problems=(
            "Most figures are no pathology: options.labels filters by the image-type annotations, and what is left out is a reject "
            "(not_pathology). The annotations are of unsupervised clusters, so some of either kind are wrong.",
            "The image_context of a figure holds that of its article's other figures in parts: only its own is kept.",
            "Licences differ by article: commercial (CC0, BY, BY-SA, BY-ND), non-commercial (BY-NC and its kin), other.",
        ),
        citation="@inproceedings{lozano2025biomedica, title={BIOMEDICA: An Open Biomedical Image-Caption Archive, Dataset, and "
        "Vision-Language "
        "Models Derived from Scientific Literature}, author={Lozano, Alejandro and others}, booktitle={CVPR}, year={2025}}",
    )

    def sections(self) -> Iterable[Section]:
        for path in tar_files(self.folder):
            yield from tar_sections(path, path.relative_to(self.folder).as_posix())

    def items(self, section: Section) -> Iterator[Item]:
        for _, sample in section_samples(self.folder / section.name, section):
            fields = fields_of(sample)
            key = sample_key(section.name, sample)
            yield Item(key, "none", functools.partial(self._record, key, section.name, sample, fields))

    def _record(self, key: str, archive: str, sample: Sample, fields: Mapping[str, Any] | None) -> Record:
        sample.check()
        if not fields:
            raise Refused("broken_record", f"{sample.key}: its .json is missing or damaged, so its licence and type are not known")
        labels = tuple(label for name in _LABELS for label in texts(field(fields, name)))
        if self.options.labels and not any(word.lower() in label.lower() for word in self.options.labels for label in labels):
            raise Refused(
                "not_pathology",
                f"{key}: labelled {', '.join(labels) or 'nothing'}; options.labels wants one of: {', '.join(self.options.labels)}",
            )
        licence = text(fields, "article_license", "article_licence", "license")
        partition = partition_of(licence, archive)
        if self.options.partition not in ("any", partition):
            raise Refused(
                "other_licence", f"{key}: {licence or 'no licence told'} is {partition}; options.partition is {self.options.partition}"
            )
        caption = text_of(sample) or text(fields, *_CAPTION)
        if not caption:
            raise Refused("no_caption", f"{key}: neither .txt nor a caption in .json")
        accession, pmid = text(fields, "article_accession_id", "article_pmcid", "pmcid"), text(fields, "article_pmid", "pmid")
        group = article_of(accession) or accession or (f"PMID{pmid}" if pmid else "")
        if not group:
            raise Refused("no_group", f"{key}: its article is not named")
        extra = {**rest(fields, *_CAPTION, *_CONTEXT), "partition": partition, "references": references_of(fields)}
        return ImageText(**self.base(key, group, licence=licence or partition), image=image_of(sample), captions=(caption,), extra=extra)


def partition_of(licence: str, archive: str = "") -> Partition:
    """Which of the publisher's three parts a licence belongs to; where none is told, the archive's folder says it."""
    written = " ".join(licence.lower().replace("_", "-").split())
    if _NOT_FREE.match(written):
        return "non-commercial"
    if _FREE.match(written):
        return "commercial"
    folders = archive.lower().replace("_", "-").split("/")[:-1] if not written else []
    if any(folder.startswith("non") and "commercial" in folder for folder in folders):
        return "non-commercial"
    return "commercial" if any(folder.startswith("commercial") for folder in folders) else "other"


def references_of(fields: Mapping[str, Any]) -> list[str]:
    """What the article's text says of this figure: a text, a list, or an object by figure, of which only this one's is taken."""
    value = field(fields, *_CONTEXT)
    if isinstance(value, Mapping):
        names = {text(fields, "image_id"), text(fields, "image_cluster_id"), text(fields, "image_file_name")}
        value = [entry for name, entries in value.items() if name in names for entry in texts(entries)]
    return list(texts(value))
