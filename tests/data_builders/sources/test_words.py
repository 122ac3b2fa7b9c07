"""A labelled corpus brings the words of its classes, whole or in part."""

import pytest

from eosin.config import load_recipe
from eosin.data_builders.sources.catalogue import SOURCES
from eosin.labels import LabelSet

LABELLED = [name for name, source in SOURCES.items() if source.card.kind == "labelled_images"]
# Their classes are words already, or the user's.
WITHOUT = {"spider"}


@pytest.mark.parametrize("name", LABELLED)
def test_every_labelled_source_names_its_words(name: str) -> None:
    sets = [load_recipe(LabelSet, f"labels/{found}") for found in SOURCES[name].label_sets]
    assert bool(sets) == (name not in WITHOUT)
    classes = getattr(SOURCES[name], "classes", ())
    for label in classes:
        assert any(label in found.classes for found in sets), label
