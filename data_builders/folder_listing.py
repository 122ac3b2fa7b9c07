"""What an image folder holds: every image with its class, group and split, from `splits.csv` or from the folders' names."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eosin.data_builders.folder_files import SPLITS_FILE, FoundFiles, class_folder, find_files, printable
from eosin.data_builders.group_split import Shares, split_groups
from eosin.data_builders.subjects import stable_number
from eosin.errors import ConfigError, InputError
from eosin.records import SPLITS, Reject

_ALIASES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}
_COLUMNS = ("path", "label", "split", "group")


@dataclass(frozen=True)
class FolderLayout:
    """How the names in a folder are read where there is no `splits.csv`.

    Attributes:
        label_from: `name`: the folder an image lies in; `path`: that folder's path below the deepest folder that holds all
            images; `auto`: the name, and an error when two folders share one.
        group: what must not cross splits: `file` (each file on its own), `parent` (the folder above the class folder: for
            patient/class/file), or a regular expression with one group in brackets, searched in the path.
        split_from: `hash`: groups are shared out; `folder`: a folder called train, val or test decides, and is no part of the class.
        shares: of the groups, with `hash`.
        split_names: other names of splits -> one of train, val, test, none; also for `splits.csv`.
    """

    label_from: Literal["auto", "name", "path"] = "auto"
    group: str = "file"
    split_from: Literal["hash", "folder"] = "hash"
    shares: Shares = field(default_factory=Shares)
    split_names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [name for name in self.split_names.values() if name not in SPLITS]
        if wrong:
            raise ConfigError(f"split_names leads to {', '.join(wrong)}; allowed: {', '.join(SPLITS)}")
        if self.group in ("file", "parent"):
            return
        try:
            brackets = re.compile(self.group).groups
        except re.error as error:
            raise ConfigError(f"group is neither file nor parent nor a regular expression: {self.group!r} ({error})") from error
        if brackets != 1:
            raise ConfigError(f"group as a regular expression needs one group in brackets; {self.group!r} has {brackets}")

    def split(self, name: str) -> str | None:
        """The split of that name, or None where there is none."""
        name = name.strip()
        name = self.split_names.get(name, _ALIASES.get(name, name))
        return name if name in SPLITS else None


@dataclass(frozen=True)
class Entry:
    """One image: its path below the folder and what is known of it."""

    path: str
    label: str
    group: str
    split: str


@dataclass(frozen=True)
class Listing:
    """A folder's images in the order of the records, and what is not taken."""

    entries: tuple[Entry, ...]
    rejects: tuple[Reject, ...]

    @property
    def classes(self) -> list[str]:
        """The labels, sorted."""
        return sorted({entry.label for entry in self.entries})

    def of_split(self, split: str) -> list[Entry]:
        """The split's images."""
        return [entry for entry in self.entries if entry.split == split]

    def warnings(self) -> list[str]:
        """What a person should know of the splits."""
        groups: dict[str, dict[str, set[str]]] = {}
        for entry in self.entries:
            groups.setdefault(entry.label, {}).setdefault(entry.split, set()).add(entry.group)
        found = []
        for label, by_split in sorted(groups.items()):
            if sum(map(len, by_split.values())) == 1:
                found.append(f"class {label} has one group: it is in {next(iter(by_split))} only; to train and to test it takes two")
            elif "train" not in by_split and "test" in by_split:
                found.append(f"class {label} is tested but never trained on")
        return found


def list_folder(folder: Path, layout: FolderLayout, seed: int) -> Listing:
    """Read a folder's names and its `splits.csv`, where there is one; no image is opened.

    Images are put in an order that a hash decides, so that every block of them is a fair sample of the classes.

    Raises:
        InputError: no image in it, no class folders, names that say nothing clear, or a damaged `splits.csv`.
    """
    found = find_files(folder)
    listed = folder / SPLITS_FILE
    if listed.is_file():
        entries, rejects = _from_table(listed, found, layout)
    else:
        entries, rejects = _from_names(folder, found, layout, seed)
    rejects += found.rejects()
    if not entries:
        reasons = Counter(reject.reason for reject in rejects)
        raise InputError(f"{folder}: no image to take ({', '.join(f'{n} {reason}' for reason, n in reasons.items()) or 'it is empty'})")
    entries.sort(key=lambda entry: (stable_number(seed, entry.path), entry.path))
    return Listing(tuple(entries), tuple(sorted(rejects, key=lambda reject: (reject.reason, reject.key))))


def _from_table(path: Path, found: FoundFiles, layout: FolderLayout) -> tuple[list[Entry], list[Reject]]:
    known = {name: name for name in (*found.others, *found.images)}
    # macOS writes decomposed names, tables mostly hold composed ones.
    composed = {unicodedata.normalize("NFC", name): name for name in known}
    entries: list[Entry] = []
    rejects: list[Reject] = []
    taken: set[str] = set()
    for number, row in enumerate(_rows(path), 2):
        name = row["path"].replace("\\", "/").removeprefix("./")
        actual = known.get(name) or composed.get(unicodedata.normalize("NFC", name))
        split = layout.split(row["split"])
        if split is None:
            hint = f"add layout.split_names.{row['split']}=train (or another) to the command"
            raise InputError(f"{path}, line {number}: split is {row['split']!r}; allowed: {', '.join(SPLITS)}; {hint}")
        empty = [column for column in _COLUMNS if not row[column].strip()]
        if actual is None:
            rejects.append(Reject(printable(name), "missing_file", f"{SPLITS_FILE}, line {number}: no such file"))
        elif actual in taken:
            rejects.append(Reject(printable(name), "listed_twice", f"{SPLITS_FILE}, line {number}: the first line that names it counts"))
        elif empty:
            rejects.append(Reject(printable(name), "empty_cell", f"{SPLITS_FILE}, line {number}: {', '.join(empty)} is empty"))
        else:
            entries.append(Entry(actual, row["label"].strip(), row["group"].strip(), split))
        taken.update([actual] if actual else [])
    _check_groups(path, entries)
    rejects += [Reject(printable(name), "not_listed", f"not in {SPLITS_FILE}") for name in found.images if name not in taken]
    return entries, rejects


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, restval="")
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {', '.join(missing)} are missing; it needs {', '.join(_COLUMNS)}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a table in UTF-8: {error}") from error


def _check_groups(path: Path, entries: list[Entry]) -> None:
    """A group in two splits is a leak, and the table says it is none: only its author can tell."""
    splits: dict[str, str] = {}
    for entry in entries:
        other = splits.setdefault(entry.group, entry.split)
        if other != entry.split:
            raise InputError(f"{path}: group {entry.group!r} is in {other} and in {entry.split}; a group must stay in one split")


def _from_names(folder: Path, found: FoundFiles, layout: FolderLayout, seed: int) -> tuple[list[Entry], list[Reject]]:
    homeless = [name for name in found.images if not class_folder(name)]
    images = [name for name in found.images if class_folder(name)]
    if homeless and not images:
        raise InputError(
            f"{folder}: its images lie in no class folder; put each class in a folder of its own, or add {SPLITS_FILE} "
            f"with the columns {', '.join(_COLUMNS)}"
        )
    rejects = [Reject(printable(name), "no_class_folder", "lies in no class folder") for name in homeless]
    rows: list[tuple[str, str, str]] = []
    labels = _labels(folder, images, layout)
    for name in images:
        group = _group(name, layout)
        if group is None:
            rejects.append(Reject(printable(name), "no_group", f"the path does not match {layout.group}"))
        else:
            rows.append((name, labels[class_folder(name)], group))
    if layout.split_from == "folder":
        return _split_by_folder(folder, rows, layout, rejects)
    splits = split_groups(((group, label) for _, label, group in rows), layout.shares, seed)
    return [Entry(name, label, group, splits[group]) for name, label, group in rows], rejects


def _labels(folder: Path, images: list[str], layout: FolderLayout) -> dict[str, str]:
    """Each folder with images -> its class."""
    folders = sorted({class_folder(name) for name in images})
    if not folders:
        return {}
    plain = {name: _without_split(name, layout) for name in folders}
    if layout.label_from == "path":
        parts = list(plain.values())
        root = os.path.commonpath(parts) if len(set(parts)) > 1 else class_folder(parts[0])
        return {name: printable(path.removeprefix(root).strip("/")) for name, path in plain.items()}
    names = {name: printable(path.rsplit("/", 1)[-1]) for name, path in plain.items()}
    twice = [name for name, count in Counter(names[key] for key in {plain[key]: key for key in folders}.values()).items() if count > 1]
    if twice and layout.label_from == "auto":
        places = ", ".join(name for name in folders if names[name] == twice[0])
        raise InputError(
            f"{folder}: several folders are called {twice[0]!r} ({places}); add layout.label_from=name to make them one class, "
            "layout.label_from=path to keep them apart, or layout.split_from=folder where they are the splits of one class"
        )
    return names


def _without_split(name: str, layout: FolderLayout) -> str:
    if layout.split_from != "folder":
        return name
    return "/".join(part for part in name.split("/") if layout.split(part) is None)


def _group(name: str, layout: FolderLayout) -> str | None:
    if layout.group == "file":
        return printable(name.rpartition(".")[0])
    if layout.group == "parent":
        return printable(class_folder(class_folder(name))) or None
    match = re.search(layout.group, name)
    return printable(match.group(1)) if match and match.group(1) else None


def _split_by_folder(
    folder: Path, rows: list[tuple[str, str, str]], layout: FolderLayout, rejects: list[Reject]
) -> tuple[list[Entry], list[Reject]]:
    entries = []
    for name, label, group in rows:
        named = [split for split in map(layout.split, class_folder(name).split("/")) if split is not None]
        if not named or not label:
            rejects.append(Reject(printable(name), "no_split_folder", "lies in no class folder of a folder called train, val or test"))
        else:
            entries.append(Entry(name, label, group, named[0]))
    _check_groups(folder, entries)
    return entries, rejects
