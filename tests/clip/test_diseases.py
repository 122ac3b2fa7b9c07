from typing import Any

import numpy as np
import pytest

from eosin.clip.config import DiseaseConfig
from eosin.clip.diseases import Diseases, count_diseases, node_finder, reword
from eosin.clip.ontology import Node, build_ontology
from eosin.errors import ConfigError

LUNG = build_ontology(
    (Node("LUNG", "lung cancer"), Node("LUAD", "lung adenocarcinoma", ("LUNG",), ("ADC of lung",)), Node("SKIN", "melanoma")), "test"
)


def test_a_record_is_about_what_it_says_else_about_what_its_captions_name(squares: Any) -> None:
    import dataclasses

    told = dataclasses.replace(squares.pair(0), extra={"disease": "adc of LUNG"}, captions=("a melanoma",))
    silent = dataclasses.replace(told, extra={})
    assert node_finder(LUNG, DiseaseConfig())(told) == 1
    assert node_finder(LUNG, DiseaseConfig())(silent) == -1
    assert node_finder(LUNG, DiseaseConfig(from_captions=True))(silent) == 2
    assert node_finder(LUNG, DiseaseConfig(from_captions=True))(told) == 1


def test_a_disease_is_related_to_its_kinds_in_both_directions_and_nobody_to_none() -> None:
    related = Diseases(LUNG).related(np.array([-1, 0, 1, 2]))
    assert related.tolist() == [
        [False, False, False, False],
        [False, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def test_diseases_of_one_record_are_counted_and_none_at_all_is_an_error() -> None:
    assert count_diseases(np.array([1, 1, 2, -1])) == {"records": 3, "diseases": 2, "diseases_of_one_record": 1}
    with pytest.raises(ConfigError, match=r"disease\.key"):
        count_diseases(np.array([-1, -1]))


def test_captions_are_varied_as_often_as_asked() -> None:
    caption = "acinar growth of atypical glands in a fibrous stroma with lymphocytes"
    config = DiseaseConfig(word_drop=0.4, label_captions=0.5)
    said = [reword(caption, 1, Diseases(LUNG), config, np.random.default_rng(seed)) for seed in range(2000)]
    named = [text for text in said if "lung adenocarcinoma, a kind of lung cancer" in text]
    whole = [text for text in said if text == caption]
    cut = [text for text in said if text not in named and text != caption]
    assert len(named) == pytest.approx(1000, abs=100)
    assert len(whole) == pytest.approx(500, abs=80)
    assert np.mean([len(text.split()) for text in cut]) == pytest.approx(0.6 * 11, abs=0.4)
    words = caption.split()
    assert all(set(text.split()) <= set(words) for text in cut)
    untouched = DiseaseConfig(word_drop=0.4, label_captions=1.0)
    assert all("kind of" not in reword(caption, -1, Diseases(LUNG), untouched, np.random.default_rng(seed)) for seed in range(20))
