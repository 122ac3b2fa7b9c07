"""Label sets give builders and zero-shot evaluation the same words."""

from __future__ import annotations

import pytest

from eosin.errors import ConfigError
from eosin.labels import LabelClass, LabelSet, load_label_set


def test_labels_without_a_set_speak_for_themselves() -> None:
    found = load_label_set("auto", ["tumour/high_grade", "other"])
    assert [found.classes[label].answer for label in ("tumour/high_grade", "other")] == ["high grade", "other"]
    assert found.classes["other"].names == ("other",)


def test_auto_takes_the_shipped_set_with_exactly_these_labels() -> None:
    labels = ["lung_scc", "colon_aca", "colon_n", "lung_aca", "lung_n"]
    found = load_label_set("auto", labels)
    assert list(found.classes) == labels
    assert found.classes["colon_aca"].facets["organ"] == "colon"
    assert load_label_set("auto", labels[:3]).classes["colon_aca"].facets == {}


def test_a_set_of_another_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="the label set lacks nonsense"):
        load_label_set("lc25000", ["nonsense"])


def test_a_facet_with_one_value_is_not_asked_for() -> None:
    classes = {"a": LabelClass("a", (), {"stain": "H&E", "organ": "lung"}), "b": LabelClass("b", (), {"stain": "H&E", "organ": "colon"})}
    assert LabelSet(classes).facet_values() == {"organ": ("lung", "colon")}
