"""Every source by name."""

from __future__ import annotations

import difflib
from typing import Any

from eosin.data_builders.sources.bach import Bach
from eosin.data_builders.sources.bracs import Bracs
from eosin.data_builders.sources.breakhis import BreakHis
from eosin.data_builders.sources.crc_val_he_7k import CrcValHe7k
from eosin.data_builders.sources.csv_pairs import CsvPairs
from eosin.data_builders.sources.digestpath import DigestPath
from eosin.data_builders.sources.kather_2016 import Kather2016
from eosin.data_builders.sources.lc25000 import LC25000
from eosin.data_builders.sources.nct_crc_he_100k import NctCrcHe100k
from eosin.data_builders.sources.oncotree import OncoTree
from eosin.data_builders.sources.osteosarcoma import Osteosarcoma
from eosin.data_builders.sources.pathgen import PathGen
from eosin.data_builders.sources.renalcell import RenalCell
from eosin.data_builders.sources.llava import Llava
from eosin.data_builders.sources.llava_med import LlavaMed
from eosin.data_builders.sources.pathgen_instruct import PathGenInstruct
from eosin.data_builders.sources.quilt_instruct import QuiltInstruct
from eosin.data_builders.sources.source import Source
from eosin.data_builders.sources.wsss4luad import Wsss4Luad
from eosin.errors import ConfigError

SOURCES: dict[str, type[Source[Any]]] = {
    # image-text
    "pathgen": PathGen,
    "csv": CsvPairs,
    # conversations
    "llava": Llava,
    "llava_med": LlavaMed,
    "pathgen_instruct": PathGenInstruct,
    "quilt_instruct": QuiltInstruct,
    "oncotree": OncoTree,
    # labelled images
    "lc25000": LC25000,
    "nct_crc_he_100k": NctCrcHe100k,
    "crc_val_he_7k": CrcValHe7k,
    "kather_2016": Kather2016,
    "bracs": Bracs,
    "breakhis": BreakHis,
    "renalcell": RenalCell,
    "wsss4luad": Wsss4Luad,
    "bach": Bach,
    "digestpath": DigestPath,
    "osteosarcoma": Osteosarcoma,
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
