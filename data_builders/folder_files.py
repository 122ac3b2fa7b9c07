"""The files of an image folder: which are images, which are not taken and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eosin.errors import InputError
from eosin.records import Reject

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
SPLITS_FILE = "splits.csv"


@dataclass(frozen=True)
class FoundFiles:
    """What lies in a folder, by path relative to it, in a stable order; hidden files are no part of it."""

    images: tuple[str, ...]
    others: tuple[str, ...]
    linked_folders: tuple[str, ...]

    def rejects(self) -> list[Reject]:
        """What is never taken."""
        links = [
            Reject(printable(name), "linked_folder", "links to folders are not followed: put the folder itself here")
            for name in self.linked_folders
        ]
        suffixes = " ".join(IMAGE_SUFFIXES)
        return links + [Reject(printable(name), "not_an_image", f"the name does not end in one of {suffixes}") for name in self.others]


def find_files(folder: Path) -> FoundFiles:
    """Walk `folder`; links to folders are not followed, so that a loop cannot trap the walk."""
    images, others, links = [], [], []
    for name, is_link in _walk(folder, ""):
        if is_link:
            links.append(name)
        elif name.lower().endswith(IMAGE_SUFFIXES):
            images.append(name)
        elif name != SPLITS_FILE:
            others.append(name)
    return FoundFiles(tuple(images), tuple(others), tuple(links))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """(relative path, whether it is a link to a folder), sorted by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{name}/")
        else:
            yield name, entry.is_symlink() and os.path.isdir(entry.path)


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def class_folder(name: str) -> str:
    """The folder a file lies in, relative to the root; empty for the root itself."""
    return name.rpartition("/")[0]
