"""Every source by name."""

from __future__ import annotations

import difflib
from typing import Any

from eosin.data_builders.sources.arch import Arch
from eosin.data_builders.sources.bach import Bach
from eosin.data_builders.sources.bccd import Bccd
from eosin.data_builders.sources.biomedica import Biomedica
from eosin.data_builders.sources.bracs import Bracs
from eosin.data_builders.sources.breakhis import BreakHis
from eosin.data_builders.sources.crc_val_he_7k import CrcValHe7k
from eosin.data_builders.sources.csv_pairs import CsvPairs
from eosin.data_builders.sources.digestpath import DigestPath
from eosin.data_builders.sources.dragon import Dragon
from eosin.data_builders.sources.histai import Histai
from eosin.data_builders.sources.hugging_face import HuggingFace
from eosin.data_builders.sources.json_pairs import JsonPairs
from eosin.data_builders.sources.kather_2016 import Kather2016
from eosin.data_builders.sources.kvasir_vqa import KvasirVQA
from eosin.data_builders.sources.lc25000 import LC25000
from eosin.data_builders.sources.llava import Llava
from eosin.data_builders.sources.llava_med import LlavaMed
from eosin.data_builders.sources.medmnist import MedMnist
from eosin.data_builders.sources.medtrinity import MedTrinity
from eosin.data_builders.sources.mhist import Mhist
from eosin.data_builders.sources.mm_skin import MMSkin
from eosin.data_builders.sources.nct_crc_he_100k import NctCrcHe100k
from eosin.data_builders.sources.oncotree import OncoTree
from eosin.data_builders.sources.open_pmc import OpenPmc
from eosin.data_builders.sources.openpath import OpenPath
from eosin.data_builders.sources.osteosarcoma import Osteosarcoma
from eosin.data_builders.sources.pannuke import PanNuke
from eosin.data_builders.sources.pathcap import PathCap
from eosin.data_builders.sources.pathgen import PathGen
from eosin.data_builders.sources.pathgen_instruct import PathGenInstruct
from eosin.data_builders.sources.pathmmu import PathMMU
from eosin.data_builders.sources.pathvqa import PathVQA
from eosin.data_builders.sources.pcam import PCam
from eosin.data_builders.sources.pmc_oa import PmcOa
from eosin.data_builders.sources.pmc_vqa import PmcVQA
from eosin.data_builders.sources.quilt_1m import Quilt1M
from eosin.data_builders.sources.quilt_instruct import QuiltInstruct
from eosin.data_builders.sources.quilt_vqa import QuiltVQA
from eosin.data_builders.sources.refpath import RefPath
from eosin.data_builders.sources.reg2025 import Reg2025
from eosin.data_builders.sources.renalcell import RenalCell
from eosin.data_builders.sources.sicapv2 import SicapV2
from eosin.data_builders.sources.skincancer import SkinCancer
from eosin.data_builders.sources.slide_instruct import SlideInstruct
from eosin.data_builders.sources.slides_csv import SlidesCsv
from eosin.data_builders.sources.source import Source
from eosin.data_builders.sources.spider import Spider
from eosin.data_builders.sources.tcga_reports import TcgaReports
from eosin.data_builders.sources.webdataset_pairs import WebDatasetPairs
from eosin.data_builders.sources.wsi_vqa import WsiVQA
from eosin.data_builders.sources.wsss4luad import Wsss4Luad
from eosin.errors import ConfigError

SOURCES: dict[str, type[Source[Any]]] = {
    # image-text
    "pathgen": PathGen,
    "quilt_1m": Quilt1M,
    "openpath": OpenPath,
    "pathcap": PathCap,
    "arch": Arch,
    "pmc_oa": PmcOa,
    "open_pmc": OpenPmc,
    "biomedica": Biomedica,
    "medtrinity": MedTrinity,
    "csv": CsvPairs,
    "jsonl": JsonPairs,
    "webdataset": WebDatasetPairs,
    "hugging_face": HuggingFace,
    # conversations
    "llava": Llava,
    "llava_med": LlavaMed,
    "pathgen_instruct": PathGenInstruct,
    "quilt_instruct": QuiltInstruct,
    "kvasir_vqa": KvasirVQA,
    "mm_skin": MMSkin,
    "pathmmu": PathMMU,
    "pathvqa": PathVQA,
    "pmc_vqa": PmcVQA,
    "quilt_vqa": QuiltVQA,
    "refpath": RefPath,
    "slide_instruct": SlideInstruct,
    "wsi_vqa": WsiVQA,
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
    "mhist": Mhist,
    "sicapv2": SicapV2,
    "skincancer": SkinCancer,
    "spider": Spider,
    "bccd": Bccd,
    "pcam": PCam,
    "pannuke": PanNuke,
    "medmnist": MedMnist,
    # slides and reports
    "tcga_reports": TcgaReports,
    "reg2025": Reg2025,
    "dragon": Dragon,
    "histai": Histai,
    "slides_csv": SlidesCsv,
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
