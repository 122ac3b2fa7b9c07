from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact
from eosin.clip.augment import draw
from eosin.clip.config import AugmentConfig
from eosin.clip.image_store import ImageStore, Reading, fit
from eosin.clip.pairs import Holders, Pairs, Wanted, check_labels, load_pairs
from eosin.errors import ArtefactError, ConfigError, InputError


def load(data: Artefact, folder: Path, budget: int = 0, threads: int = 1, **wanted: Any) -> Pairs:
    folder.mkdir(exist_ok=True)
    return load_pairs(data, Reading(40, "squash", budget, threads), folder, Wanted(**wanted))


def crops(store: ImageStore, numbers: np.ndarray) -> np.ndarray:
    return store.batch(numbers, draw(AugmentConfig(), 0, 0, numbers).affine, 32)


def test_records_that_cannot_be_used_are_named_and_the_others_kept(tmp_path: Path, squares: Any) -> None:
    records = [
        squares.pair(0),
        squares.spoiled(squares.pair(1)),
        squares.pair(2),
        replace(squares.pair(3), captions=("  ", "")),
        squares.pair(4),
    ]
    pairs = load(squares.write(tmp_path / "data", records), tmp_path / "scratch", 1 << 20, 2)
    assert [(reject.key, reject.reason) for reject in pairs.rejects] == [
        ("squares/train-1", "truncated"),
        ("squares/train-3", "no_caption"),
    ]
    assert (pairs.seen, len(pairs), len(pairs.images)) == (5, 3, 3)
    held = pairs.index.held_by(np.arange(3))
    assert [pairs.texts[int(number)] for number in held[:, 0]] == ["a red square", "a blue square", "a red square"]
    assert len(pairs.texts) == 6, "equal captions have one number"


def test_memory_for_images_changes_no_batch(pairs_artefact: Artefact, tmp_path: Path) -> None:
    numbers = np.array([30, 2, 17, 3])
    budgets = {"all": 1 << 20, "some": 20 * 3 * 40 * 40, "none": 0}
    batches = [load(pairs_artefact, tmp_path / name, budget).images for name, budget in budgets.items()]
    assert [store.kept for store in batches] == [36, 20, 0]
    for store in batches[1:]:
        np.testing.assert_array_equal(crops(store, numbers), crops(batches[0], numbers))


def test_what_was_found_once_is_not_looked_for_again(pairs_artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import eosin.clip.pairs as module

    first = load(pairs_artefact, tmp_path, 1 << 20)
    monkeypatch.setattr(module, "_look", lambda *_: pytest.fail("looked again"))
    again = load(pairs_artefact, tmp_path, 1 << 20)
    assert list(again.texts) == list(first.texts)
    for name, values in vars(first.index).items():
        np.testing.assert_array_equal(getattr(again.index, name), values)
    numbers = np.array([30, 2, 17, 3])
    assert again.images.kept == 0
    np.testing.assert_array_equal(crops(again.images, numbers), crops(first.images, numbers))
    assert again.images.kept == 4


def test_each_caption_is_drawn(pairs_artefact: Artefact, tmp_path: Path) -> None:
    pairs = load(pairs_artefact, tmp_path)
    records = np.zeros(3, dtype=np.int64)
    drawn = pairs.index.drawn(records, np.array([0.0, 0.4, 0.999]), 2)
    said = ["a red square", "this tile is red", "red"]
    assert [[pairs.texts[int(number)] for number in row] for row in drawn] == [said[:2], said[1:], [said[2], said[0]]]


def test_a_record_without_a_scale_is_rejected_where_a_scale_is_wanted(tmp_path: Path, squares: Any) -> None:
    records = [replace(squares.pair(number), mpp=mpp) for number, mpp in enumerate((0.5, None, 0.25))]
    pairs = load(squares.write(tmp_path / "data", records), tmp_path / "scratch", scale=True)
    assert [(reject.key, reject.reason) for reject in pairs.rejects] == [("squares/train-1", "no_scale")]
    np.testing.assert_array_equal(pairs.index.microns, [[20.0, 20.0], [10.0, 10.0]])


def test_hard_captions_are_kept_apart(tmp_path: Path, squares: Any) -> None:
    first = replace(squares.pair(0), extra={"hard_captions": ["a green square", "no square"]})
    second = replace(squares.pair(1), extra={"hard_captions": "a red square"})
    pairs = load(squares.write(tmp_path / "data", [first, second, squares.pair(2)]), tmp_path / "scratch")
    hard = pairs.index.hard_of(np.arange(3), 2)
    assert [[pairs.texts[int(number)] if number >= 0 else None for number in row] for row in hard] == [
        ["a green square", "no square"],
        ["a red square", None],
        [None, None],
    ]


def test_hard_captions_are_known_with_all_labels_that_truly_say_them(tmp_path: Path, squares: Any) -> None:
    first = replace(squares.pair(0), extra={"label": "red", "hard_captions": ["a green square", "no square"]})
    other = replace(squares.pair(5), extra={"label": "verdant"})
    nameless = replace(squares.pair(9), extra={})
    pairs = load(squares.write(tmp_path / "data", [first, squares.pair(1), other, nameless]), tmp_path / "scratch")
    holders = Holders(pairs.index, pairs.index.labels)
    green, none = pairs.index.hard_of(np.array([0]), 2)[0]
    red = int(pairs.index.held[0])
    np.testing.assert_array_equal(holders.of(np.array([none, green, red, -1])), [[-1, -1], [1, 2], [-1, -1], [-1, -1]])


def test_a_shard_that_is_gone_is_named(tmp_path: Path, squares: Any) -> None:
    data = squares.write(tmp_path / "data", [squares.pair(number) for number in range(4)])
    pairs = load(data, tmp_path / "scratch")
    (shard,) = data.shards("train")
    shard.unlink()
    with pytest.raises(ArtefactError, match=shard.name):
        crops(pairs.images, np.array([2]))


def test_one_usable_record_is_not_enough(tmp_path: Path, squares: Any) -> None:
    data = squares.write(tmp_path / "data", [squares.pair(0), squares.spoiled(squares.pair(1))])
    with pytest.raises(InputError, match=r"1 of 2 train records can be used \(truncated\)"):
        load(data, tmp_path / "scratch")


def test_two_records_are_needed_though_none_was_refused(tmp_path: Path, squares: Any) -> None:
    with pytest.raises(InputError, match=r"1 of 1 train records can be used; at least 2"):
        load(squares.write(tmp_path / "data", [squares.pair(0)]), tmp_path / "scratch")


def test_hard_captions_that_are_no_texts_are_a_reject_and_blank_ones_nothing(tmp_path: Path, squares: Any) -> None:
    given: list[Any] = [7, ["ok", 5], {"a": "b"}, ["", None, "ok"], None]
    records = [replace(squares.pair(number), extra={"hard_captions": hard}) for number, hard in enumerate(given)]
    data = squares.write(tmp_path / "data", records)
    pairs = load(data, tmp_path / "scratch", hard=True)
    assert [(reject.key, reject.reason) for reject in pairs.rejects] == [(f"squares/train-{n}", "bad_hard_captions") for n in range(3)]
    assert [pairs.texts[int(number)] for number in pairs.index.hard] == ["ok"]
    assert load(data, tmp_path / "unread").rejects == (), "a column that the recipe does not use costs no record"


def test_positives_by_label_need_labels(tmp_path: Path, squares: Any) -> None:
    data = squares.write(tmp_path / "data", [replace(squares.pair(number), extra={}) for number in range(3)])
    pairs = load(data, tmp_path / "scratch")
    with pytest.raises(ConfigError, match="no record has a label"):
        check_labels(pairs.index)


def test_shortest_keeps_the_middle_square() -> None:
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200
    assert fit(pixels, 20, "shortest").min() == 200
    assert fit(pixels, 20, "squash").min() == 0


def test_an_image_is_kept_as_it_is_unless_it_is_large() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 27, 3), dtype=np.uint8)
    assert fit(pixels, 20, "squash") is pixels
    assert fit(pixels, 19, "squash").shape == (19, 19, 3)
    assert fit(np.zeros((8, 400, 3), dtype=np.uint8), 20, "squash").shape == (20, 20, 3)
