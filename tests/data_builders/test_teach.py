"""Labelled images of any builder can be taught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import open_artefact
from eosin.errors import ConfigError, InputError
from eosin.records import Conversation, ImageText


def test_a_sources_images_become_pairs_and_conversations_that_keep_their_groups(image_folder: Callable[..., Path], build: Any) -> None:
    folder = image_folder(colon_aca=6, colon_n=6)
    source = {"builder": "source", "source": "lc25000", "folder": str(folder)}
    images = build(source, out="images") / "labelled_images"
    taught = build({"builder": "teach", "images": str(images), "teaching": {"phrasing": "tiles", "captions": 2}}, out="taught")
    pairs = list(open_artefact(taught / "image_text").records(ImageText))
    assert len(pairs) == 12
    assert {pair.organ for pair in pairs} == {"colon"}
    assert len({caption for pair in pairs for caption in pair.captions}) > 4
    asked = open_artefact(taught / "conversations")
    assert {record.group for record in asked.records(Conversation)} <= {pair.group for pair in pairs}
    assert "random split" in asked.plan.facts["groups_unknown"]


def test_a_label_set_of_other_classes_is_refused(image_folder: Callable[..., Path], build: Any) -> None:
    folder = image_folder(colon_aca=2, colon_n=2)
    images = build({"builder": "source", "source": "lc25000", "folder": str(folder)}, out="images") / "labelled_images"
    with pytest.raises(ConfigError, match="lacks colon_aca"):
        build({"builder": "teach", "images": str(images), "labels": "osteosarcoma"}, out="taught")


def test_images_without_classes_are_refused(build: Any, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_folder(colon_aca=2, colon_n=2)
    images = build({"builder": "source", "source": "lc25000", "folder": str(folder)}, out="images") / "labelled_images"
    monkeypatch.setattr("eosin.artefacts.reader.Artefact.classes", ())
    with pytest.raises(InputError, match="no classes"):
        build({"builder": "teach", "images": str(images)}, out="taught")
