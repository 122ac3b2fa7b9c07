"""Which slides there are: a folder of them, or a CSV that names them; whose they are, and what is known of them.

CSV, one row a slide, `slide` wanted, the rest optional:

    slide    path, relative to the CSV's own folder
    case     the patient; without it the TCGA barcode's first 12 characters, else the slide's name
    label    class of the slide, given to each of its tiles
    split    train, val, test or none
    licence  of the slide
    mpp      as in `mpp_overrides`
    time     a number of 0 or more: how long the patient was observed, in any unit; for survival
    event    1 where the event was seen at that time, 0 where not

Further columns are carried along as text. One that is a letter away from a column above is a slip of the pen, and refused,
unless it is a word that tables do use, such as `side` or `tile`.

`mpp_overrides` is a CSV with the columns slide (its path, or its name without suffix) and mpp (microns per pixel of level 0).
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from eosin.artefacts.files import digest_of_file
from eosin.artefacts.plan import canonical_json
from eosin.data_builders.folder_files import find_files, printable
from eosin.data_builders.group_split import check_splits
from eosin.errors import ImageError, InputError
from eosin.records import SPLITS, Reject
from eosin.slides.reader import PLAUSIBLE_MPP, SlideReader

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm")
_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])")
_COLUMNS = ("slide", "case", "label", "split", "licence", "mpp", "time", "event")
# Columns of the record itself: all others go to its `extra`.
_OWN = _COLUMNS[:6]
# A letter away from a known column, yet words that tables use: to refuse them would turn down a list without a slip. Plurals and
# spellings of a known column are none of them, but for `events`, which may count.
_WORDS = frozenset({"base", "cage", "care", "cast", "cause", "dime", "even", "events", "map", "side", "slice", "tile"})
_EVENTS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


@dataclass(frozen=True)
class SlideEntry:
    """A slide of the list.

    Attributes:
        name: unique, fit for a file name.
        path: relative to the root.
        case: the patient.
        split: one of `SPLITS`.
        label: class, or None.
        licence: or None.
        mpp: the override, or None.
        extra: what else its row says: time and event as numbers, the rest as text.
    """

    name: str
    path: str
    case: str
    split: str
    label: str | None = None
    licence: str | None = None
    mpp: float | None = None
    extra: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class SlideList:
    """All slides below `root`, in a stable order, and what is none."""

    root: Path
    slides: tuple[SlideEntry, ...]
    rejects: tuple[Reject, ...]

    def digest(self) -> str:
        """sha256 over the list and the files, large ones by samples: terabytes are not read twice."""
        digest = hashlib.sha256()
        for entry in self.slides:
            # A list without further columns keeps the digest of the artefacts that were made from it.
            told = {name: value for name, value in vars(entry).items() if name != "extra" or value}
            digest.update(canonical_json([told, digest_of_file(self.root / entry.path)]))
        digest.update(canonical_json([vars(reject) for reject in self.rejects]))
        return digest.hexdigest()


def list_slides(where: Path, overrides: Path | None = None, split: str = "none") -> SlideList:
    """The slides of a folder, or those a CSV names.

    Args:
        where: a folder, searched to any depth, a CSV, or one slide.
        overrides: the CSV of mpp, or None.
        split: of slides whose row names none.

    Raises:
        InputError: there is neither, or not one slide, or a CSV that does not hold together.
    """
    if where.is_dir():
        found = _of_folder(where, split)
    elif where.is_file() and where.name.lower().endswith(SUFFIXES):
        found = SlideList(where.parent, (_entry(where.name, split),), ())
    elif where.is_file():
        found = _of_csv(where, split)
    else:
        raise InputError(f"slides: {where} is no folder, no CSV and no slide")
    if not found.slides:
        raise InputError(f"{where}: there is no slide in it (suffixes {' '.join(SUFFIXES)})")
    return (
        replace(found, slides=_with_overrides(_named(found.slides), overrides))
        if overrides
        else replace(found, slides=_named(found.slides))
    )


def _of_folder(folder: Path, split: str) -> SlideList:
    found = find_files(folder)
    names = sorted((*found.images, *found.others))
    companions = tuple(name.removesuffix(".mrxs") + "/" for name in names if name.endswith(".mrxs"))
    slides, rejects, series = [], [], dict[str, str]()
    for name in names:
        if not name.lower().endswith(SUFFIXES):
            if not name.startswith(companions) or not companions:
                rejects.append(Reject(printable(name), "not_a_slide", f"the name does not end in one of {' '.join(SUFFIXES)}"))
            continue
        first = series.setdefault(key, name) if (key := _series(folder / name)) else name
        if first == name:
            slides.append(_entry(name, split))
        else:
            rejects.append(Reject(printable(name), "same_series", f"another file of the DICOM series that {first} stands for"))
    links = [Reject(printable(name), "linked_folder", "links to folders are not followed") for name in found.linked_folders]
    return SlideList(folder, tuple(slides), tuple(rejects + links))


def _series(path: Path) -> str:
    """A DICOM slide is many files: what they share, with their folder; empty for other formats and for what does not open."""
    if path.suffix.lower() != ".dcm":
        return ""
    try:
        with SlideReader(path) as slide:
            uid = slide.properties.get("dicom.SeriesInstanceUID", "")
            return f"{path.parent}/{uid}" if uid else ""
    except ImageError:
        return ""


def _entry(path: str, split: str) -> SlideEntry:
    name = printable(Path(path).stem)
    return SlideEntry(name, path, case_of(name), split)


def case_of(name: str) -> str:
    """The patient in a slide's name: a TCGA barcode's first 12 characters, else the name."""
    found = _TCGA.match(name)
    return found.group() if found else name


def _of_csv(path: Path, split: str) -> SlideList:
    slides = []
    for number, row in enumerate(read_csv(path, ("slide",), _COLUMNS, further=True), 2):
        entry = _entry(row["slide"], row.get("split") or split)
        if entry.split not in SPLITS:
            raise InputError(f"{path}, line {number}: split is {entry.split!r}; allowed: {', '.join(SPLITS)}")
        mpp = _mpp(row["mpp"], f"{path}, line {number}") if row.get("mpp") else None
        label, licence = row.get("label") or None, row.get("licence") or None
        extra = _extra(row, f"{path}, line {number}")
        slides.append(replace(entry, case=row.get("case") or entry.case, label=label, licence=licence, mpp=mpp, extra=extra))
    check_splits(path, ((slide.case, slide.split) for slide in slides))
    return SlideList(path.parent, tuple(slides), ())


def _extra(row: Mapping[str, str], where: str) -> dict[str, str | float]:
    """What a row says beside the record's own columns; nothing of empty cells.

    Raises:
        InputError: its time or event is none.
    """
    found: dict[str, str | float] = {name: value for name, value in row.items() if value and name not in _OWN}
    if "time" in found:
        found["time"] = _time(row["time"], where)
    if "event" in found:
        if row["event"].lower() not in _EVENTS:
            raise InputError(f"{where}: event is {row['event']!r}; wanted: 1 where it was seen, 0 where not (R's 2 and 1 are 1 and 0 here)")
        found["event"] = _EVENTS[row["event"].lower()]
    return found


def _time(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(
            f"{where}: time is {text!r}; a finite number of 0 or more is wanted; a column of something else needs another name"
        )
    return value


def read_csv(path: Path, wanted: tuple[str, ...], known: tuple[str, ...], *, further: bool = False) -> list[dict[str, str]]:
    """Rows of a CSV with a header; spaces around values are taken off, a byte order mark too.

    Args:
        path: of the CSV.
        wanted: columns that must be there.
        known: columns that may be.
        further: whether others may be, too.

    Raises:
        InputError: the file is missing or no CSV, or lacks a column, or has one that is not known, or but for a letter.
    """
    begun = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows, begun = [], reader.line_num + 1
            for row in reader:
                rows.append({key: (value or "").strip() for key, value in row.items() if key is not None})
                begun = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {begun}: the row that begins there has a quote that is not closed where it should be: {error}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error
    lacking = [name for name in wanted if name not in header]
    unknown = [name for name in header if name not in known and not (further and name)]
    if lacking or unknown:
        raise InputError(f"{path}: its columns are {', '.join(header) or 'none'}; wanted: {', '.join(wanted)}; known: {', '.join(known)}")
    for name in (name for name in header if name not in known and name.casefold() not in _WORDS):
        if meant := next((column for column in known if _nearly(name.casefold(), column)), None):
            raise InputError(f"{path}: is the column {name!r} meant as {meant!r}? Call it so, or by a name that is not so near")
    empty = [number for number, row in enumerate(rows, 2) if not all(row[name] for name in wanted)]
    if empty:
        raise InputError(f"{path}, line {empty[0]}: {' and '.join(wanted)} must not be empty")
    return rows


def _nearly(one: str, other: str) -> bool:
    """Whether one letter more, less or otherwise, or two neighbours swapped, make one word of the other."""
    start = _alike(one, other)
    one, other = one[start:], other[start:]
    end = _alike(one[::-1], other[::-1])
    one, other = one[: len(one) - end], other[: len(other) - end]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _alike(one: str, other: str) -> int:
    """How many letters both begin with."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def _mpp(text: str, where: str) -> float:
    least, most = PLAUSIBLE_MPP
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not least <= value <= most:
        raise InputError(f"{where}: mpp is {text!r}; microns per pixel from {least} to {most} are wanted")
    return value


def _named(slides: tuple[SlideEntry, ...]) -> tuple[SlideEntry, ...]:
    """Slides of one name in several folders are told apart by their paths.

    Raises:
        InputError: a path is there twice.
    """
    twice = [path for path, count in Counter(entry.path for entry in slides).items() if count > 1]
    if twice:
        raise InputError(f"the slide {twice[0]} is in the list {Counter(entry.path for entry in slides)[twice[0]]} times; name it once")
    counts = Counter(entry.name.casefold() for entry in slides)
    return tuple(
        entry if counts[entry.name.casefold()] == 1 else replace(entry, name=printable(entry.path).strip("/").replace("/", "__"))
        for entry in slides
    )


def read_overrides(path: Path) -> dict[str, float]:
    """A slide's path or name -> its microns per pixel, from a CSV.

    Raises:
        InputError: see `read_csv`; a slide is there twice, or its mpp is no number that a slide can have.
    """
    rows = read_csv(path, ("slide", "mpp"), ("slide", "mpp"))
    given: dict[str, float] = {}
    for number, row in enumerate(rows, 2):
        if row["slide"] in given:
            raise InputError(f"{path}, line {number}: the slide {row['slide']} is there twice")
        given[row["slide"]] = _mpp(row["mpp"], f"{path}, line {number}")
    return given


def _with_overrides(slides: tuple[SlideEntry, ...], path: Path) -> tuple[SlideEntry, ...]:
    given = read_overrides(path)
    known = {key for entry in slides for key in (entry.name, entry.path)}
    strange = sorted(given.keys() - known)
    if strange:
        raise InputError(
            f"{path}: there is no slide {strange[0]!r}; name slides by path or by name without suffix, such as {slides[0].name}"
        )
    found = ((entry, override_of(given, entry.path, entry.name, path)) for entry in slides)
    return tuple(entry if mpp is None else replace(entry, mpp=mpp) for entry, mpp in found)


def override_of(given: Mapping[str, float], path: str, name: str, table: Path) -> float | None:
    """What `read_overrides` found for a slide, or None.

    Args:
        given: of all slides.
        path: of the slide, as the table may say it.
        name: likewise, without suffix.
        table: for the message.

    Raises:
        InputError: one row names it by path, another by name.
    """
    if path != name and path in given and name in given:
        raise InputError(
            f"{table}: the rows {path} ({given[path]:g}) and {name} ({given[name]:g}) name one slide, {path}; leave one of them"
        )
    return given.get(path, given.get(name))
