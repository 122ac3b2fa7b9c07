"""NCT-CRC-HE-100K: tiles of colorectal cancer and healthy tissue (Kather et al. 2018)."""

from __future__ import annotations

from eosin.data_builders.sources.crc_tiles import CITATION, PAPER, PROBLEMS, CrcTiles, expected
from eosin.data_builders.sources.source import Card


class NctCrcHe100k(CrcTiles):
    """The training release; its variant without colour normalisation, NONORM, is read the same way from its own folder."""

    releases = ("NCT-CRC-HE-100K", "NCT-CRC-HE-100K-NONORM")
    split = "train"
    card = Card(
        name="nct_crc_he_100k",
        title="NCT-CRC-HE-100K colorectal tissue",
        kind="labelled_images",
        paper=PAPER,
        homepage="https://zenodo.org/records/1214456",
        licence="CC-BY-4.0",
        gated=False,
        commercial="yes",
        files=expected("NCT-CRC-HE-100K"),
        counts={"images": 100000, "patients": 86, "classes": 9},
        splits="All of it is train; CRC-VAL-HE-7K, a release of its own with other patients, is the official test set.",
        groups="Unknown: names do not tell the patient; each tile is its own group.",
        problems=(
            *PROBLEMS,
            "224 px at 0.5 microns per pixel, Macenko-normalised; NCT-CRC-HE-100K-NONORM holds the same tiles as they were: give one of "
            "the two folders, not their parent, or every tile comes twice.",
        ),
        citation=CITATION,
    )
