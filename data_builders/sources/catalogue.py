"""Every source by name."""

from __future__ import annotations

import difflib
from typing import Any

from eosin.data_builders.sources.csv_pairs import CsvPairs
from eosin.data_builders.sources.lc25000 import LC25000
from eosin.data_builders.sources.pathgen import PathGen
from eosin.data_builders.sources.oncotree import OncoTree
from eosin.data_builders.sources.source import Source
from eosin.errors import ConfigError

SOURCES: dict[str, type[Source[Any]]] = {
    # image-text
    "pathgen": PathGen,
    "csv": CsvPairs,
    # conversations
    "oncotree": OncoTree,
    # labelled images
    "lc25000": LC25000,
    # slides and reports
}


def find_source(name: str) -> type[Source[Any]]:
    """The source of that name.

    Raises:
        ConfigError: there is none.
    """
    if name in SOURCES:
        return SOURCES[name]
    near = difflib.get_close_matches(name, SOURCES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"there is no source {name!r}{hint}; `eosin build --list` shows all {len(SOURCES)}")
