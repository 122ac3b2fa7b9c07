"""The audit as one HTML file: counts, and of each finding some pairs side by side; it loads nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from eosin.artefacts import Artefact, RecordTable
from eosin.artefacts.files import replacing
from eosin.artefacts.parquet import open_parquet
from eosin.data_builders.audit.sides import DataSet
from eosin.data_builders.duplicates.fingerprints import Source, images_of, text_of
from eosin.errors import ImageError, MissingDependency
from eosin.images import decode_image, encode_jpeg
from eosin.records import RECORD_TYPES, Finding, from_table

if TYPE_CHECKING:
    from jinja2 import Template

REPORT = "report.html"
TEMPLATE = "templates/audit-report.jinja"
_THUMBNAIL = 192
_LETTERS = 300


def write_report(folder: Path, data: Sequence[DataSet], summary: Mapping[str, Any], shown: int) -> None:
    """Write `report.html` into the artefact's folder, whose findings are written already.

    Args:
        folder: of the audit.
        data: what was audited.
        summary: its counts.
        shown: of each finding, so many are shown; the counts are of all.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    chosen = _some_of_each(folder, shown)
    cards = _cards(data, [finding for findings in chosen.values() for finding in findings])
    sections = [
        {
            "name": name,
            "count": summary["findings"][name],
            "findings": [
                {"finding": one, "left": cards.get((one.data, one.record)), "right": cards.get((one.against, one.other))}
                for one in findings
            ],
        }
        for name, findings in chosen.items()
    ]
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(_template().render(summary=summary, sections=sections), encoding="utf-8")


def _template() -> Template:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency("jinja2", "data") from error
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files("eosin.configs").joinpath(TEMPLATE).read_text(encoding="utf-8"))


def _some_of_each(folder: Path, shown: int) -> dict[str, list[Finding]]:
    """Finding -> the first of them, in the order in which they were written."""
    chosen: dict[str, list[Finding]] = {}
    for shard in sorted((folder / "data").glob("*.parquet")):
        with open_parquet(shard) as file:
            for number in range(file.num_row_groups):
                for finding in from_table(Finding, file.read_row_group(number)):
                    kept = chosen.setdefault(finding.finding, [])
                    if len(kept) < shown:
                        kept.append(finding)
    return chosen


Card = dict[str, str | None]


def _cards(data: Sequence[DataSet], findings: Sequence[Finding]) -> dict[tuple[str | None, str | None], Card]:
    """(data set, record) -> what the report shows of it."""
    wanted: dict[str, set[str]] = {one.name: set() for one in data}
    for finding in findings:
        for name, record in ((finding.data, finding.record), (finding.against, finding.other)):
            if name is not None and record is not None:
                wanted[name].add(record)
    return {(one.name, record.id): _card(record) for one in data for record in _records(one.artefact, wanted[one.name])}


def _records(artefact: Artefact, names: set[str]) -> list[Source]:
    """The records of these ids; only the row groups that hold them are read whole."""
    if not names:
        return []
    record_type: type[Any] = RECORD_TYPES[artefact.kind]
    table = RecordTable(artefact, record_type, cached_groups=2)
    rows, start = [], 0
    for shard in artefact.shards():
        with open_parquet(shard) as file:
            for batch in file.iter_batches(65536, columns=["id"]):
                rows += [start + place for place, name in enumerate(batch.column("id").to_pylist()) if name in names]
                start += len(batch)
    return [table[row] for row in rows]


def _card(record: Source) -> Card:
    text = text_of(record) or getattr(record, "label", None) or ""
    images = images_of(record)
    return {"id": record.id, "group": record.group, "text": text[:_LETTERS], "image": _thumbnail(images[0]) if images else None}


def _thumbnail(image: bytes) -> str | None:
    """A JPEG as a data URL, or None for an image that cannot be decoded."""
    try:
        picture = Image.fromarray(decode_image(image))
    except ImageError:
        return None
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(np.asarray(picture))).decode()
