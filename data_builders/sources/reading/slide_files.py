"""Slides that records name: found once in a folder, opened one after another."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from eosin.data_builders.slides.listing import override_of, read_overrides
from eosin.data_builders.sources.source import Refused
from eosin.slides.reader import SlideReader

SLIDE_SUFFIXES = (".svs", ".tiff", ".tif", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm", ".czi")


class SlideFiles:
    """Slides below a folder by their names, with or without suffix, at any depth (gdc-client makes a folder for every file).

    Args:
        root: the folder; links to other disks are followed.
        overrides: a CSV of the microns per pixel of slides, as `tile_slides` reads it: by path below `root`, or by name; or None.

    Raises:
        InputError: see `read_overrides`.
    """

    def __init__(self, root: Path, overrides: Path | None = None) -> None:
        self.root = root
        self._table = overrides
        self._given = {} if overrides is None else read_overrides(overrides)
        self._reader: tuple[str, SlideReader] | None = None

    @functools.cached_property
    def paths(self) -> dict[str, Path]:
        """Name without suffix, in lower case -> file; where several are called so, the first by path. Unfinished downloads do not count."""
        found: dict[str, Path] = {}
        for folder, folders, names in os.walk(self.root, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "logs")
            for name in sorted(names):
                stem, suffix = os.path.splitext(name.lower())
                if suffix in SLIDE_SUFFIXES and not name.startswith("."):
                    found.setdefault(stem, Path(folder, name))
        return found

    def facts(self) -> dict[str, Any]:
        """Which slides there are, for the plan: slides that lie outside the release are no input of their own, yet more of them make
        other records.

        Raises:
            InputError: two rows of the overrides name one slide.
        """
        for path in self.paths.values():
            self.mpp(path)
        listed: list[Any] = [[self.relative(path), path.stat().st_size] for _, path in sorted(self.paths.items())]
        if self._given:
            listed.append(sorted(self._given.items()))
        return {"slides": {"files": len(self.paths), "digest": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}}

    def mpp(self, path: Path) -> float | None:
        """What the overrides say of a found slide, or None."""
        return override_of(self._given, self.relative(path), path.stem, self._table) if self._table else None

    def find(self, name: str) -> Path | None:
        """The slide of that name, or None."""
        stem, suffix = os.path.splitext(name.strip().replace("\\", "/").rpartition("/")[2].lower())
        return self.paths.get(stem if suffix in SLIDE_SUFFIXES else stem + suffix)

    def need(self, name: str) -> Path:
        """The slide of that name.

        Raises:
            Refused: `slide_missing`.
        """
        found = self.find(name)
        if found is None:
            raise Refused("slide_missing", f"{name}: no slide of that name below {self.root}")
        return found

    def relative(self, path: Path) -> str:
        """A found slide's path below the folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def open(self, name: str) -> SlideReader:
        """The slide, opened; the last one stays open, as records of one slide follow each other.

        Raises:
            Refused: `slide_missing`.
            ImageError: it cannot be opened.
        """
        if self._reader is not None and self._reader[0] == name:
            return self._reader[1]
        path = self.need(name)
        if self._reader is not None:
            self._reader[1].close()
            self._reader = None
        self._reader = (name, SlideReader(path, self.mpp(path)))
        return self._reader[1]
