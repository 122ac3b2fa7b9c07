"""Pascal VOC annotations: one XML a picture, boxes in pixels, lists of names a split."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError
from eosin.records import Box

_LIMIT = 1 << 24


@dataclass(frozen=True)
class Annotation:
    """What an XML file tells.

    Attributes:
        filename: of the picture, as the XML says.
        width: of the picture in pixels, as the XML says.
        height: likewise.
        boxes: in fractions.
        bad: boxes that are none, each with why.
    """

    filename: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    bad: tuple[str, ...]


def read_annotation(path: Path) -> Annotation:
    """One annotation file.

    Raises:
        Refused: `bad_xml`: damaged, over 16 MB, with a document type (so nothing is expanded or read from outside), or without size.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise Refused("bad_xml", f"{path.name} has {path.stat().st_size} bytes; at most {_LIMIT} are read")
        data = path.read_bytes()
        # Without a document type there are no entities: neither bombs nor files read from outside. A zero byte would hide one as UTF-16.
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
            raise Refused("bad_xml", f"{path.name} has a document type or is not UTF-8; plain XML is wanted")
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refused("bad_xml", f"{path.name}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    width, height = _number(root, "size/width"), _number(root, "size/height")
    if width is None or height is None or width < 1 or height < 1:
        raise Refused("bad_xml", f"{path.name} tells no size of the picture")
    boxes, bad = [], []
    for number, found in enumerate(_objects(root, width, height)):
        if isinstance(found, Box):
            boxes.append(found)
        else:
            bad.append(f"object {number}: {found}")
    return Annotation((root.findtext("filename") or "").strip(), int(width), int(height), tuple(boxes), tuple(bad))


def _objects(root: ElementTree.Element, width: float, height: float) -> Iterator[Box | str]:
    for element in root.iter("object"):
        label = (element.findtext("name") or "").strip()
        corners = [_number(element, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = (corner if corner is not None else math.nan for corner in corners)
        if not label:
            yield "it has no name"
        elif not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            yield f"{label} from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) is no box in {width:g} x {height:g} pixels"
        else:
            yield Box(x0 / width, y0 / height, x1 / width, y1 / height, label)


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def split_lists(folder: Path) -> dict[str, set[str]]:
    """train, val, test -> the names that ImageSets/Main lists; empty where there are no lists.

    Raises:
        InputError: a list is not readable as text.
    """
    lists: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for path in sorted(folder.glob(f"**/ImageSets/Main/{split}.txt")):
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path} cannot be read: {error}") from error
            # The lists of single classes have a second column, 1 or -1.
            lists.setdefault(split, set()).update(line.split()[0] for line in lines if line.strip())
    return lists
