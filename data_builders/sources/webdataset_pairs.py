"""Any WebDataset: tar archives whose members share a name."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.fields import checked_split, text
from eosin.data_builders.sources.reading.json_files import parsed
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.own_samples import GROUPS_UNKNOWN, is_own, restored
from eosin.data_builders.sources.reading.pairs import PairOptions, Row, pair_record
from eosin.data_builders.sources.reading.tar_files import TAR_PATTERNS, Sample, first_samples, section_samples, tar_files, tar_sections
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source
from eosin.records import SPLITS, Record

_LOOKED_AT = 20
IMAGES = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif")


class WebDatasetPairs(Source[PairOptions]):
    """A sample a pair: `.jpg` or `.png`, with `.txt`, or `.json` whose fields the options name. Without `.txt` the caption is a field.

    What `export_webdataset` wrote comes back as it was, under its own id and source; options that are named count before its columns.
    """

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
        splits="A field of .json, where one is named, or the record's own, where `export_webdataset` wrote it; else as the path of the "
        "archive tells.",
        groups="A field of .json, where one is named, or the record's own, where `export_webdataset` wrote it; else each image is its own.",
        problems=(
            "Archives are not unpacked. Members with paths that lead out, links, and samples over 1 GB are refused.",
            "A compressed archive is read from its beginning by one worker; plain .tar is cut into shards.",
        ),
        citation="",
    )

    def sections(self) -> Iterable[Section]:
        for path in tar_files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            # Cut first: that is where a damaged archive is named.
            sections = list(tar_sections(path, name))
            each = bool(self.options.split) or self._first_own(path) is not None
            splits = SPLITS if each else (split_of(name) or "none",)
            yield from (dataclasses.replace(section, splits=splits) for section in sections)

    def facts(self) -> dict[str, str]:
        known = self.options.facts()
        if not known:
            return {}
        own = [self._first_own(path) for path in tar_files(self.folder)]
        if any(fields is None for fields in own):
            return known
        told = next((str(fields[GROUPS_UNKNOWN]) for fields in own if fields and GROUPS_UNKNOWN in fields), "")
        return {GROUPS_UNKNOWN: told} if told else {}

    def _first_own(self, path: Path) -> Mapping[str, Any] | None:
        """The fields of the first sample that is our own; None where an archive begins with others."""
        samples = itertools.islice(first_samples(path), _LOOKED_AT)
        return next((fields for sample in samples if is_own(fields := fields_of(sample))), None)

    def items(self, section: Section) -> Iterator[Item]:
        default = split_of(section.name) or "none"
        each = set(section.splits) == set(SPLITS)
        for _, sample in section_samples(self.folder / section.name, section):
            fields = fields_of(sample)
            if fields is not None and each and is_own(fields) and not self.options.split:
                split = str(fields["split"])
            else:
                split = self.options.split_of(fields if fields is not None else {}, default)
            yield Item(sample_key(section.name, sample), split, functools.partial(self._record, section.name, sample, fields, split))

    def _record(self, archive: str, sample: Sample, fields: Mapping[str, Any] | None, split: str) -> Record:
        sample.check()
        if fields is None:
            raise Refused("broken_record", f"{sample.key}.json is not an object of JSON")
        if is_own(fields):
            return self._own(sample, fields, split)
        caption = text_of(sample)
        if caption:
            fields = {**fields, self.options.caption: caption}
        key = sample_key(archive, sample)
        return pair_record(self, self.options, Row(key, fields, key, split), image_of(sample))

    def _own(self, sample: Sample, fields: Mapping[str, Any], split: str) -> Record:
        record = restored(fields, image_of(sample))
        options = self.options
        caption = text_of(sample)
        if caption and caption != record.captions[0].strip():
            # Someone wrote the caption anew where trainers read it.
            record = dataclasses.replace(record, captions=(caption, *record.captions[1:]))
        return dataclasses.replace(
            record,
            split=checked_split(text(fields, options.split)) if options.split else split,
            group=text(fields, options.group) if options.group else record.group,
            licence=text(fields, options.licence) if options.licence else record.licence,
        )


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
        value = parsed(written.decode("utf-8-sig"))
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None
