"""Every corpus of known classes has words for them, and no two sets could be taken for each other."""

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from eosin.config import load_recipe
from eosin.data_builders.sources import bccd, bracs, breakhis, kather_2016, medmnist, osteosarcoma, pannuke, pcam, sicapv2, skincancer
from eosin.data_builders.sources.bach import Bach
from eosin.data_builders.sources.crc_tiles import CLASSES as CRC
from eosin.data_builders.sources.digestpath import DigestPath
from eosin.data_builders.sources.mhist import Mhist
from eosin.data_builders.sources.renalcell import RenalCell
from eosin.data_builders.sources.wsss4luad import Wsss4Luad
from eosin.labels import LabelSet, load_label_set

SETS = {
    "nct_crc_he": CRC,
    "kather_2016": kather_2016.CLASSES,
    "pcam": pcam.CLASSES,
    "bach": Bach.classes,
    "mhist": Mhist.classes,
    "sicapv2": sicapv2.CLASSES,
    "sicapv2_single": sicapv2.GRADES,
    "breakhis": tuple(name for name, _ in breakhis.TYPES.values()),
    "benign_malignant": pannuke.NATURES,
    "digestpath": DigestPath.classes,
    "breakhis by malignancy": tuple({nature for _, nature in breakhis.TYPES.values()}),
    "pannuke": pannuke.TISSUES,
    **medmnist.CLASSES,
    "osteosarcoma": osteosarcoma.CLASSES,
    "osteosarcoma_mixed": (*osteosarcoma.CLASSES, osteosarcoma.MIXED),
    "skincancer": skincancer.CLASSES,
    "skincancer_tumours": skincancer.TUMOURS,
    "renalcell": RenalCell.classes,
    "wsss4luad": Wsss4Luad.classes,
    "bracs": bracs.Bracs.classes,
    "bccd": bccd.CLASSES,
}


@pytest.mark.parametrize("name", SETS)
def test_a_corpus_finds_the_words_of_its_classes(name: str) -> None:
    found = load_label_set("auto", SETS[name])
    # The fallback, which takes the labels for words, has no title.
    assert found.title
    assert "Phantoms" not in found.title
    assert set(found.classes) == set(SETS[name])
    answers = [label_class.answer.lower() for label_class in found.classes.values()]
    assert len(set(answers)) == len(answers)


def test_no_two_sets_have_the_same_labels() -> None:
    folder = Path(str(resources.files("eosin.configs"))) / "labels"
    # The phantoms draw the nine classes of NCT-CRC-HE; their builder asks for their set by name.
    paths = sorted(path for path in folder.glob("*.yaml") if path.stem != "phantoms")
    sets = Counter(frozenset(load_recipe(LabelSet, str(path)).classes) for path in paths)
    assert len(sets) > len(medmnist.CLASSES)
    assert [sorted(labels) for labels, count in sets.items() if count > 1] == []


def test_no_phrase_names_two_classes_of_a_set() -> None:
    folder = Path(str(resources.files("eosin.configs"))) / "labels"
    for path in sorted(folder.glob("*.yaml")):
        phrases = Counter(name.lower() for each in load_recipe(LabelSet, str(path)).classes.values() for name in set(each.names))
        assert [phrase for phrase, count in phrases.items() if count > 1] == [], path.name
