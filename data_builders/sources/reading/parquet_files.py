"""Parquet as Hugging Face ships it: shards with images inside, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import parsed
from eosin.data_builders.sources.source import ITEMS_A_SHARD, Refused, Section
from eosin.errors import InputError

# Rows hold images of a megabyte or more, and a publisher's row group may hold thousands of them.
_ROWS_AT_ONCE = 32


def parquet_sections(path: Path, name: str, splits: tuple[str, ...] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """A file cut into sections of about `size` rows, at the borders of row groups where those are smaller. No row is read.

    Raises:
        InputError: not a Parquet file.
    """
    start = stop = 0
    for rows in _group_sizes(path):
        if stop > start and stop + rows - start > size:
            yield Section(name, start, stop, splits)
            start = stop
        stop += rows
        while stop - start > size:
            yield Section(name, start, start + size, splits)
            start += size
    if stop > start:
        yield Section(name, start, stop, splits)


def section_records(path: Path, section: Section, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, row) of a section; only the row groups it lies in are read, `_ROWS_AT_ONCE` rows at a time.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            first = 0
            for group in range(file.metadata.num_row_groups):
                after = first + file.metadata.row_group(group).num_rows
                if after > section.start and first < section.stop:
                    yield from _group_rows(file, group, columns, first, section)
                first = after
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def columns_of(path: Path) -> list[str]:
    """The column names.

    Raises:
        InputError: not a Parquet file.
    """
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def class_names(path: Path) -> dict[str, list[str]]:
    """Column -> the names of its numbers, of columns that Hugging Face's metadata calls class labels, or lists of them.

    Raises:
        InputError: not a Parquet file.
    """
    try:
        told = parsed((pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"].items()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    except (ValueError, LookupError, TypeError, AttributeError):
        # Metadata of another form tells nothing.
        return {}
    found = {}
    for column, feature in features:
        # Other columns hold lists of features, or have a form of their own: these have no class names, and take none from the rest.
        inner = feature.get("feature", feature) if isinstance(feature, Mapping) else None
        if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[column] = list(inner["names"])
    return found


def need_fields(path: Path, *wanted: str) -> None:
    """Each of `wanted` is a column.

    Raises:
        InputError: one is missing.
    """
    there = columns_of(path)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(f"{path}: the column {', '.join(missing)} is missing; there are: {', '.join(there)}")


def image_bytes(value: Any, images: ImageFiles) -> bytes:
    """The image in a cell: bytes, Hugging Face's `{bytes, path}`, or the path of a file.

    Raises:
        Refused: see `ImageFiles.read`; `image_missing`: the cell is empty.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value:
        return images.read(value)
    raise Refused("image_missing", "the row holds no image")


def _group_rows(
    file: pq.ParquetFile, group: int, columns: Sequence[str] | None, first: int, section: Section
) -> Iterator[tuple[int, dict[str, Any]]]:
    number = first
    for batch in file.iter_batches(
        _ROWS_AT_ONCE, row_groups=[group], columns=None if columns is None else list(columns), use_threads=False
    ):
        low, high = max(section.start - number, 0), min(section.stop - number, batch.num_rows)
        if low < high:
            yield from enumerate(batch.slice(low, high - low).to_pylist(), number + low)
        number += batch.num_rows
        if number >= section.stop:
            return


def _group_sizes(path: Path) -> list[int]:
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _damaged(path: Path, error: Exception) -> InputError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path}: not readable as Parquet ({said}); fetch it again")
