"""CRC-VAL-HE-7K: the test set of NCT-CRC-HE-100K, of other patients (Kather et al. 2018)."""

from __future__ import annotations

from eosin.data_builders.sources.crc_tiles import CITATION, PAPER, PROBLEMS, CrcTiles, expected
from eosin.data_builders.sources.source import Card


class CrcValHe7k(CrcTiles):
    """The test release."""

    releases = ("CRC-VAL-HE-7K",)
    split = "test"
    card = Card(
        name="crc_val_he_7k",
        title="CRC-VAL-HE-7K colorectal tissue",
        kind="labelled_images",
        paper=PAPER,
        homepage="https://zenodo.org/records/1214456",
        licence="CC-BY-4.0",
        gated=False,
        commercial="yes",
        files=expected("CRC-VAL-HE-7K"),
        counts={"images": 7180, "patients": 50, "classes": 9},
        splits="All of it is test: none of its patients is in NCT-CRC-HE-100K. Some protocols choose models on it: then it is no test set.",
        groups="Unknown: names do not tell the patient; each tile is its own group.",
        problems=PROBLEMS,
        citation=CITATION,
    )
