"""What is known about an image, without its pixels: what captions and questions are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eosin.artefacts import Artefact, row_groups
from eosin.artefacts.parquet import open_parquet
from eosin.errors import InputError
from eosin.labels import LabelSet
from eosin.records import Box

_COLUMNS = ["id", "label", "boxes", "extra"]


@dataclass(frozen=True)
class Subject:
    """One labelled image as it can be asked about.

    Attributes:
        id: of the labelled image.
        label: its class.
        facets: what the class implies: facet -> value.
        attributes: what was seen in this picture alone: attribute -> value, from `extra["attributes"]`.
        boxes: labelled boxes in it.
    """

    id: str
    label: str
    facets: Mapping[str, str]
    attributes: Mapping[str, str]
    boxes: tuple[Box, ...] = ()

    def value(self, topic: str) -> str | None:
        """What the topic is here, or None where it cannot be asked for."""
        if topic == "class":
            return self.label
        return self.attributes.get(topic, self.facets.get(topic))


def read_subjects(artefact: Artefact, split: str, start: int, stop: int, labels: LabelSet) -> Iterator[Subject]:
    """Records `start` to `stop` of a split of a `labelled_images` artefact; pixels are not read.

    Raises:
        InputError: a record has no label.
        ConfigError: the label set does not name a label.
    """
    asked = labels.facet_values()
    for row in read_rows(artefact, split, start, stop, _COLUMNS):
        if row["label"] is None:
            raise InputError(f"{artefact.path}: {row['id']} has no label; captions and questions need one")
        facets = labels.select([row["label"]]).classes[row["label"]].facets
        yield Subject(
            row["id"],
            row["label"],
            {name: value for name, value in facets.items() if name in asked},
            {str(name): str(value) for name, value in json.loads(row["extra"]).get("attributes", {}).items()},
            tuple(Box(**box) for box in row["boxes"]),
        )


def read_rows(artefact: Artefact, split: str, start: int, stop: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Some columns of the rows `start` to `stop` of a split, reading only the row groups that hold them."""
    groups = row_groups(artefact, split)
    for group in range(groups.of_row(start), len(groups.places)):
        first = groups.starts[group]
        if first >= stop:
            return
        shard, number = groups.places[group]
        with open_parquet(shard) as file:
            rows = file.read_row_group(number, columns=columns)
            low = max(start - first, 0)
            yield from rows.slice(low, stop - first - low).to_pylist()


def stable_number(*words: str | int) -> int:
    """A number of 63 bits that depends on the words alone: the same in every process, on every machine."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big") >> 1
