"""Any WebDataset: tar archives whose members share a name."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.pairs import PairOptions, Row, pair_record
from eosin.data_builders.sources.reading.tar_files import TAR_PATTERNS, Sample, section_samples, tar_files, tar_sections
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.records import SPLITS, Record

IMAGES = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif")


class WebDatasetPairs(Source[PairOptions]):
    """A sample a pair: `.jpg` or `.png`, with `.txt`, or `.json` whose fields the options name. Without `.txt` the caption is a field."""

    Options = PairOptions
    card = Card(
        name="webdataset",
        title="Your own WebDataset",
        kind="image_text",
        paper="none: your own data",
        homepage="this machine",
        licence="unknown",
        gated=False,
        commercial="by record",
        files=(ExpectedFile(" | ".join(TAR_PATTERNS), "samples: an image with .txt or .json", "you"),),
        counts={},
        splits="A field of .json, where one is named; else as the path of the archive tells.",
        groups="A field of .json, where one is named; else each image is its own group.",
        problems=(
            "Archives are not unpacked. Members with paths that lead out, links, and samples over 1 GB are refused.",
            "A compressed archive is read from its beginning by one worker; plain .tar is cut into shards.",
        ),
        citation="",
    )

    def sections(self) -> Iterable[Section]:
        for path in tar_files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            yield from tar_sections(path, name, SPLITS if self.options.split else (split_of(name) or "none",))

    def facts(self) -> dict[str, str]:
        return self.options.facts()

    def items(self, section: Section) -> Iterator[Item]:
        default = split_of(section.name) or "none"
        for _, sample in section_samples(self.folder / section.name, section):
            fields = fields_of(sample)
            split = self.options.split_of(fields if fields is not None else {}, default)
            yield Item(sample_key(section.name, sample), split, functools.partial(self._record, section.name, sample, fields, split))

    def _record(self, archive: str, sample: Sample, fields: Mapping[str, Any] | None, split: str) -> Record:
        sample.check()
        if fields is None:
            raise Refused("broken_record", f"{sample.key}.json is not an object of JSON")
        text = text_of(sample)
        if text:
            fields = {**fields, self.options.caption: text}
        key = sample_key(archive, sample)
        return pair_record(self, self.options, Row(key, fields, key, split), image_of(sample))


def sample_key(archive: str, sample: Sample) -> str:
    """The archive's name without its suffix, and the sample's: keys start anew in every archive."""
    return f"{archive.removesuffix('.gz').removesuffix('.tgz').removesuffix('.tar')}/{sample.key}"


def image_of(sample: Sample) -> bytes:
    """The sample's image.

    Raises:
        Refused: `image_missing`.
    """
    for suffix in (*IMAGES, *sorted(suffix for suffix in sample.members if suffix.rpartition(".")[2] in IMAGES)):
        if suffix in sample.members:
            return sample.members[suffix]
    raise Refused("image_missing", f"{sample.key}: no image; its members are {', '.join(sorted(sample.members)) or 'none'}")


def text_of(sample: Sample) -> str:
    """The `.txt` or `.caption` of a sample; empty where there is none."""
    found = sample.members.get("txt") or sample.members.get("caption") or b""
    return found.decode("utf-8-sig", "replace").strip()


def fields_of(sample: Sample) -> Mapping[str, Any] | None:
    """The `.json` of a sample; empty where there is none, None where it is damaged."""
    written = sample.members.get("json")
    if written is None:
        return {}
    try:
        value = json.loads(written.decode("utf-8-sig"))
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None
