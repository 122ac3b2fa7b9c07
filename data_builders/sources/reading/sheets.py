"""Small tables as Excel sheets or CSV, by the same names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from eosin.data_builders.sources.reading.tables import own_names, row_sections, section_rows
from eosin.errors import InputError, MissingDependency

_LIMIT = 1 << 28


def sheet_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of the first sheet of an .xlsx file, or of a CSV, as text; the first row names the columns.

    Raises:
        InputError: damaged, over 256 MB when unpacked.
        MissingDependency: openpyxl is absent.
    """
    if path.suffix.lower() != ".xlsx":
        for section in row_sections(path, path.name):
            yield from (row for _, row in section_rows(path, section))
        return
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise MissingDependency("openpyxl", "data") from error
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > _LIMIT:
            raise InputError(f"{path}: {size} bytes when unpacked; a sheet may have {_LIMIT}")
        book = load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not readable as an Excel sheet ({error}); fetch it again") from error
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = own_names(path, [_text(name) for name in next(rows, ())])
        for cells in rows:
            values = [_text(cell) for cell in cells]
            if any(values):
                yield {name: value for name, value in zip(names, values, strict=False) if name}
    finally:
        book.close()


def _text(cell: object) -> str:
    if cell is None:
        return ""
    # Excel keeps whole numbers as floats.
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
