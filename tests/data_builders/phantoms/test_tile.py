"""A tile is a function of its spec alone, and its truth says what is drawn."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from eosin.data_builders.phantoms import (
    ATTRIBUTES,
    BOX_LABELS,
    COUNTS,
    MASK_LABELS,
    SCANNERS,
    TISSUE_ATTRIBUTES,
    TISSUES,
    Tile,
    TileSpec,
    render_tile,
)
from eosin.errors import InputError

# attribute -> the box and the count that must be there exactly when it is "present"
SHOWN_BY = {
    "air_bubble": ("air bubble", "foreign_objects"),
    "blood_vessel": ("blood vessel", "blood_vessels"),
    "fibrous_septum": ("fibrous septum", None),
    "floating_cells": ("cell cluster", "cell_clusters"),
    "germinal_centre": ("germinal centre", None),
    "lymphocytic_infiltrate": ("lymphocyte cluster", None),
    "mitoses": ("mitosis", "mitoses"),
    "necrosis": ("necrosis", None),
    "red_cells": ("red cells", "red_cells"),
}


def fingerprint(tile: Tile) -> str:
    digest = hashlib.sha256(tile.image.tobytes() + tile.mask.tobytes())
    digest.update(json.dumps(tile.truth.to_json(), sort_keys=True).encode())
    return digest.hexdigest()


def tiles_of(tissue: str, count: int, **fixed: str) -> list[Tile]:
    attributes = tuple(fixed.items())
    return [render_tile(TileSpec(seed, tissue, f"P{seed}", attributes=attributes)) for seed in range(count)]


def test_equal_specs_give_equal_tiles_in_any_order_and_in_another_process() -> None:
    specs = [TileSpec(5, tissue, "P1", "S1", "cedar") for tissue in TISSUES]
    here = [fingerprint(render_tile(spec)) for spec in specs]
    backwards = [fingerprint(render_tile(spec)) for spec in reversed(specs)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = [fingerprint(tile) for tile in pool.map(render_tile, specs)]
    assert here == backwards[::-1] == there
    assert len(set(here)) == len(specs)


def test_another_seed_moves_the_structure_and_another_slide_only_the_colours_and_sizes() -> None:
    first = render_tile(TileSpec(1, "NORM", "P1", "S1"))
    assert not np.array_equal(first.mask, render_tile(TileSpec(2, "NORM", "P1", "S1")).mask)
    scanned_again = render_tile(TileSpec(1, "NORM", "P1", "S1", scanner="ember"))
    assert np.array_equal(first.mask, scanned_again.mask)
    assert not np.array_equal(first.image, scanned_again.image)
    other_slide = render_tile(TileSpec(1, "NORM", "P1", "S2"))
    assert other_slide.truth.attributes == first.truth.attributes
    assert not np.array_equal(first.image, other_slide.image)


@pytest.mark.parametrize("tissue", TISSUES)
def test_every_tile_has_the_promised_shape_and_vocabulary(tissue: str) -> None:
    for tile in tiles_of(tissue, 4):
        truth = tile.truth
        assert tile.image.shape == (224, 224, 3)
        assert tile.image.dtype == np.uint8
        assert tile.mask.shape == (224, 224)
        assert set(np.unique(tile.mask)) <= set(MASK_LABELS.values())
        assert tuple(truth.counts) == COUNTS
        assert min(truth.counts.values()) >= 0
        assert set(truth.attributes) <= set(TISSUE_ATTRIBUTES[tissue])
        assert all(value in ATTRIBUTES[name] for name, value in truth.attributes.items())
        for box in truth.boxes:
            assert box.label in BOX_LABELS
            assert 0 <= box.x0 < box.x1 <= 1
            assert 0 <= box.y0 < box.y1 <= 1
        assert json.loads(json.dumps(truth.to_json()))["tissue"] == tissue


@pytest.mark.parametrize("tissue", TISSUES)
def test_what_is_called_present_has_a_box_and_what_is_called_absent_has_none(tissue: str) -> None:
    for tile in tiles_of(tissue, 12):
        boxes = [box.label for box in tile.truth.boxes]
        for name in SHOWN_BY.keys() & tile.truth.attributes.keys():
            label, count = SHOWN_BY[name]
            present = tile.truth.attributes[name] == "present"
            assert (label in boxes) == present, (tile.truth.seed, name)
            if count is not None and count != "foreign_objects":
                assert (tile.truth.counts[count] > 0) == present, (tile.truth.seed, name)


@pytest.mark.parametrize(("label", "mask_label"), [("mitosis", "mitosis"), ("red cells", "red cell"), ("necrosis", "debris")])
def test_a_box_lies_on_what_the_mask_shows(label: str, mask_label: str) -> None:
    tiles = tiles_of("TUM", 6, mitoses="present", red_cells="present", necrosis="present")
    for tile in tiles:
        for box in (box for box in tile.truth.boxes if box.label == label):
            top, bottom, left, right = (round(edge * 224) for edge in (box.y0, box.y1, box.x0, box.x1))
            assert (tile.mask[top:bottom, left:right] == MASK_LABELS[mask_label]).any(), tile.truth.seed


@pytest.mark.parametrize("tissue", ["STR", "MUS"])
@pytest.mark.parametrize(("direction", "expected"), [("horizontal", 0.0), ("vertical", 90.0), ("diagonal", 45.0)])
def test_fibres_run_in_the_direction_the_truth_names(tissue: str, direction: str, expected: float) -> None:
    for tile in tiles_of(tissue, 4, fibre_direction=direction, red_cells="absent", lymphocytic_infiltrate="absent"):
        grey = tile.image.astype(np.float64).mean(axis=2)
        down, right = np.gradient(grey)
        doubled = np.arctan2(2 * (down * right).sum(), (right**2 - down**2).sum())  # structure tensor, gradient direction
        along = (np.degrees(doubled) / 2 + 90) % 180
        along = min(along, 180 - along) if direction != "vertical" else along
        assert abs(along - expected) < 20, (tile.truth.seed, along)


def test_words_for_amounts_follow_the_counts() -> None:
    def mean_count(count: str, tissue: str, **fixed: str) -> float:
        return float(np.mean([tile.truth.counts[count] for tile in tiles_of(tissue, 6, **fixed)]))

    assert mean_count("glands", "NORM", gland_number="few") < 4.5 < mean_count("glands", "NORM", gland_number="many")
    assert mean_count("fat_cells", "ADI", fat_cell_size="large") * 2 < mean_count("fat_cells", "ADI", fat_cell_size="small")
    assert mean_count("goblet_cells", "NORM", goblet_cells="few") * 3 < mean_count("goblet_cells", "NORM", goblet_cells="many")
    assert mean_count("nuclear_fragments", "DEB", nuclear_dust="sparse") * 3 < mean_count("nuclear_fragments", "DEB", nuclear_dust="dense")
    for tissue, count in (("STR", "spindle_nuclei"), ("MUS", "muscle_nuclei")):
        low, moderate, high = (mean_count(count, tissue, cellularity=word) for word in ATTRIBUTES["cellularity"])
        assert low * 1.5 < moderate
        assert moderate * 1.5 < high


def test_fixing_one_attribute_leaves_the_others_to_the_seed() -> None:
    free = render_tile(TileSpec(3, "STR")).truth.attributes
    for value in ("absent", "present"):
        fixed = render_tile(TileSpec(3, "STR", attributes=(("red_cells", value),))).truth.attributes
        assert fixed == {**free, "red_cells": value}


def test_attributes_are_drawn_evenly_within_each_class() -> None:
    presence = [tile.truth.attributes["red_cells"] == "present" for tile in tiles_of("LYM", 80)]
    assert 0.3 < np.mean(presence) < 0.7


def test_resolution_changes_the_size_of_things_not_their_kind() -> None:
    fine, coarse = (render_tile(TileSpec(4, "LYM", size_px=256, mpp=mpp)) for mpp in (0.25, 1.0))
    assert coarse.truth.counts["lymphocytes"] > 8 * fine.truth.counts["lymphocytes"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (TileSpec(0, "LIVER"), "ADI, BACK"),
        (TileSpec(-1, "ADI"), "from 0"),
        (TileSpec(0, "ADI", scanner="laser"), ", ".join(SCANNERS)),
        (TileSpec(0, "ADI", size_px=8), "64 to 2048"),
        (TileSpec(0, "ADI", mpp=0), "0.2 to 2.0"),
        (TileSpec(0, "ADI", attributes=(("mitoses", "present"),)), "fat_cell_size"),
        (TileSpec(0, "ADI", attributes=(("fat_cell_size", "huge"),)), "small, large"),
    ],
)
def test_a_spec_that_cannot_be_drawn_is_refused_with_what_is_allowed(spec: TileSpec, told: str) -> None:
    with pytest.raises(InputError, match=told):
        render_tile(spec)
