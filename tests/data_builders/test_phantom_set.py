import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest

from eosin.artefacts import open_artefact, verify
from eosin.config import load_recipe
from eosin.data_builders.phantom_set import Cohort, PhantomsConfig, tile_count, tile_spec
from eosin.data_builders.phantoms import TISSUES, render_tile
from eosin.data_builders.teaching import vocabulary_of
from eosin.errors import ConfigError
from eosin.images import decode_image
from eosin.labels import load_label_set
from eosin.records import Conversation, ImageText, LabelledImage, Slide

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set, built once."""
    from eosin.data_builders.cli import main

    out = tmp_path_factory.mktemp("phantoms")
    overrides = [
        "size=64",
        "mpp=1.75",
        "encoding=png",
        "slides.count=0",
        "splits.train.tiles=3",
        "splits.val.tiles=1",
        "splits.test.tiles=1",
    ]
    main(["demo/phantoms-small", *overrides, "--out", str(out / "data"), "--workers", "1"])
    return out / "data"


def test_every_record_carries_what_was_drawn(built: Path) -> None:
    config = load_recipe(PhantomsConfig, "demo/phantoms-small", ["size=64", "mpp=1.75", "splits.train.tiles=3"])
    images = open_artefact(built / "labelled_images")
    assert images.classes == tuple(TISSUES)
    records = {record.id: record for record in images.records(LabelledImage, "train")}
    assert len(records) == tile_count(config, "train") == 6 * 3 * 9
    for number in (0, 13, 100):
        name, spec = tile_spec(config, "train", number)
        record, tile = records[f"phantoms/{name}"], render_tile(spec)
        assert (record.label, record.group, record.slide, record.mpp) == (spec.tissue, spec.patient, spec.slide, 1.75)
        assert np.array_equal(decode_image(record.image), tile.image)
        assert record.mask is not None
        assert np.array_equal(decode_image(record.mask)[:, :, 0], tile.mask)
        assert [(box.x0, box.y1, box.label) for box in record.boxes] == [(box.x0, box.y1, box.label) for box in tile.truth.boxes]
        assert record.extra["attributes"] == dict(tile.truth.attributes)
        assert record.extra["counts"] == {key: count for key, count in tile.truth.counts.items() if count}


def test_yes_and_no_are_balanced_over_each_split_of_the_built_set(built: Path) -> None:
    texts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    classes: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for talk in open_artefact(built / "conversations").records(Conversation):
        if talk.task == "closed":
            assert talk.answer == talk.messages[-1].text
            texts[talk.split, talk.messages[0].text][talk.answer] += 1
            classes[talk.split, talk.extra["label"], talk.extra["form"]][talk.answer] += 1
    assert {key[0] for key in texts} == {"train", "val", "test"}
    for counts in (*texts.values(), *classes.values()):
        assert counts["yes"] == counts["no"]


def test_patients_and_scanners_are_in_one_split_only(built: Path) -> None:
    for field in (lambda record: record.group, lambda record: record.extra["scanner"]):
        splits: dict[str, set[str]] = defaultdict(set)
        for record in open_artefact(built / "labelled_images").records(LabelledImage):
            splits[field(record)].add(record.split)
        assert all(len(found) == 1 for found in splits.values())
        assert {split for found in splits.values() for split in found} == {"train", "val", "test"}


def test_captions_tell_the_truth(built: Path) -> None:
    images = {record.id: record for record in open_artefact(built / "labelled_images").records(LabelledImage)}
    labels = load_label_set("phantoms", list(TISSUES))
    for pair in open_artefact(built / "image_text").records(ImageText):
        image = images[pair.id]
        names = labels.classes[str(image.label)].names
        assert pair.stain == "H&E"
        assert len(pair.captions) == len(set(pair.captions)) == 4
        assert all(any(name.lower() in caption.lower() for name in names) for caption in pair.captions)
        told = " ".join(pair.captions)
        if "fibres run" in told:
            assert f"run {image.extra['attributes']['fibre_direction']}" in told.replace("ly.", ".").replace("ly ", " ")
        if "fat cells are" in told:
            assert f"fat cells are {image.extra['attributes']['fat_cell_size']}" in told


def test_every_kind_of_task_is_there_and_dialogues_are_for_training(built: Path) -> None:
    talks = open_artefact(built / "conversations")
    assert {talk.task for talk in talks.records(Conversation)} == {"open", "closed", "mcq", "caption", "report", "grounding"}
    turns = {split: {len(talk.messages) for talk in talks.records(Conversation, split)} for split in ("train", "test")}
    assert turns["train"] > {2}
    assert turns["test"] == {2}
    first = next(talks.records(Conversation, "train"))
    assert [part.type for part in first.messages[0].content] == ["image", "text"]


def test_a_slide_opens_and_carries_report_and_regions(build: Build, small_phantoms: dict[str, Any]) -> None:
    out = build({**small_phantoms, "slides": {"count": 1, "width": 1024, "height": 1024, "mpp": 1.0}})
    artefact = open_artefact(out / "slides", "slides")
    assert verify(artefact) == []
    (slide,) = artefact.records(Slide)
    with openslide.OpenSlide(out / "slides" / slide.path) as opened:
        assert opened.dimensions == (slide.width, slide.height) == (1024, 1024)
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(1.0, rel=1e-3)
    cell = slide.extra["region_cell_px"]
    assert len(slide.extra["regions"]) == len(slide.extra["regions"][0]) == 1024 // cell
    assert slide.report is not None
    assert "smooth muscle" in slide.report
    assert slide.group not in {record.group for record in open_artefact(out / "labelled_images").records(LabelledImage)}


def test_workers_do_not_change_a_byte(build: Build, small_phantoms: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eosin.data_builders.phantom_set.TILES_A_SHARD", 20)
    monkeypatch.setattr("eosin.data_builders.teaching.IMAGES_A_BLOCK", 30)
    one = build(small_phantoms, out="one", workers=1)
    two = build(small_phantoms, out="two", workers=2)
    for name in ("labelled_images", "image_text", "conversations"):
        assert open_artefact(one / name).digest == open_artefact(two / name).digest


@pytest.mark.parametrize("recipe", ["demo/phantoms", "demo/phantoms-small"])
def test_the_shipped_recipes_keep_patients_and_scanners_apart(recipe: str) -> None:
    config = load_recipe(PhantomsConfig, recipe)
    scanners = [name for cohort in config.splits.values() for name in set(cohort.scanners)]
    assert len(scanners) == len(set(scanners)) >= 3
    patients = {split: {tile_spec(config, split, n)[1].patient for n in range(tile_count(config, split))} for split in config.splits}
    assert (
        sum(map(len, patients.values()))
        == len(set().union(*patients.values()))
        == sum(cohort.patients for cohort in config.splits.values())
    )
    seeds = {tile_spec(config, split, n)[1].seed for split in config.splits for n in range(tile_count(config, split))}
    assert len(seeds) == sum(tile_count(config, split) for split in config.splits)


@pytest.mark.parametrize("recipe", ["demo/phantoms", "demo/phantoms-small"])
def test_the_phrasing_has_words_for_every_attribute(recipe: str) -> None:
    from eosin.data_builders.phantoms import ATTRIBUTES

    words = vocabulary_of(load_recipe(PhantomsConfig, recipe).teaching, load_label_set("phantoms", list(TISSUES))).phrasing
    assert set(ATTRIBUTES) <= set(words.topics)
    for name, values in ATTRIBUTES.items():
        assert set(words.topics[name].clauses) <= set(values)
        assert set(words.topics[name].values) <= set(values)
        assert words.topics[name].positive in ("", *values)


def test_what_cannot_be_drawn_is_refused(build: Build, small_phantoms: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no tissue XYZ; there are ADI"):
        build({**small_phantoms, "classes": ["TUM", "XYZ"]})
    with pytest.raises(ConfigError, match="no scanner foo"):
        Cohort(1, 1, ("foo",))
    with pytest.raises(ConfigError, match="splits names training"):
        build({**small_phantoms, "splits": {"training": {"patients": 1, "tiles": 1}}})


def test_the_plan_holds_no_paths_and_no_workers(built: Path) -> None:
    plan = (built / "labelled_images" / "plan.json").read_text()
    assert str(built) not in plan
    assert set(json.loads(plan)["settings"]) == {"seed", "size", "mpp", "encoding", "splits", "classes"}
