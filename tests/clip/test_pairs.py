from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact
from eosin.clip.pairs import check_labels, fit, load_pairs
from eosin.errors import ConfigError, InputError


def test_records_that_cannot_be_used_are_named_and_the_others_kept(tmp_path: Path, squares: Any) -> None:
    records = [
        squares.pair(0),
        squares.spoiled(squares.pair(1)),
        squares.pair(2),
        replace(squares.pair(3), captions=("  ", "")),
        squares.pair(4),
    ]
    pairs = load_pairs(squares.write(tmp_path / "data", records), 40, "squash", 1 << 20, 2)
    assert [(reject.key, reject.reason) for reject in pairs.rejects] == [
        ("squares/train-1", "truncated"),
        ("squares/train-3", "no_caption"),
    ]
    assert (pairs.seen, len(pairs), len(pairs.images)) == (5, 3, 3)
    captions = pairs.captions
    assert [captions.texts[captions.held[row, 0]] for row in range(3)] == ["a red square", "a blue square", "a red square"]


def test_memory_for_images_changes_no_batch(pairs_artefact: Artefact) -> None:
    numbers = np.array([30, 2, 17, 3])
    batches = [load_pairs(pairs_artefact, 40, "squash", budget, 1).images for budget in (1 << 20, 20 * 3 * 40 * 40, 0)]
    assert [store.kept for store in batches] == [36, 20, 0]
    for store in batches[1:]:
        np.testing.assert_array_equal(store.batch(numbers), batches[0].batch(numbers))


def test_each_caption_is_drawn(pairs_artefact: Artefact) -> None:
    captions = load_pairs(pairs_artefact, 40, "squash", 0, 1).captions
    records = np.zeros(3, dtype=np.int64)
    drawn = captions.drawn(records, np.array([0.0, 0.4, 0.999]))
    assert [captions.texts[number] for number in drawn] == ["a red square", "this tile is red", "red"]


def test_one_usable_record_is_not_enough(tmp_path: Path, squares: Any) -> None:
    data = squares.write(tmp_path / "data", [squares.pair(0), squares.spoiled(squares.pair(1))])
    with pytest.raises(InputError, match=r"1 of 2 train records can be used \(truncated\)"):
        load_pairs(data, 40, "squash", 0, 1)


def test_positives_by_label_need_labels(tmp_path: Path, squares: Any) -> None:
    pairs = load_pairs(
        squares.write(tmp_path / "data", [replace(squares.pair(number), extra={}) for number in range(3)]), 40, "squash", 0, 1
    )
    with pytest.raises(ConfigError, match="no record has a label"):
        check_labels(pairs.captions)


def test_shortest_keeps_the_middle_square() -> None:
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200
    assert fit(pixels, 20, "shortest").min() == 200
    assert fit(pixels, 20, "squash").min() == 0
