"""Hashes of copies stay near, those of other tiles far; orientations are exact."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eosin.data_builders.duplicates.image_hash import RADIUS, distances, grey_picture, image_print, transposed
from eosin.data_builders.duplicates.neighbours import CANDIDATE_COSINE, hash_pairs
from eosin.data_builders.duplicates.overlay import LEAST_OVERLAP, overlap
from eosin.data_builders.duplicates.overlay import SIDE as GREY_SIDE

Pixels = NDArray[np.uint8]
CHANGES = ("equal", "corner", "border", "resized", "flipped", "turned", "transposed", "stained")


def random_pictures(seed: int, count: int) -> NDArray[np.float32]:
    """Random pictures of sides 64 whose frequencies fade as those of tissue do."""
    frequencies = np.arange(24)
    drawn = np.random.default_rng(seed).normal(size=(count, 24, 24)) / (1 + np.hypot(frequencies[:, None], frequencies))
    basis = np.cos(np.pi * np.outer((np.arange(64) + 0.5) / 64, frequencies))
    return (basis @ drawn @ basis.T * 10 + 128).astype(np.float32)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_all_eight_orientations_of_a_picture_are_at_distance_zero(seed: int) -> None:
    pictures = random_pictures(seed, 1)
    signs = image_print(pictures).signs
    for view in (pictures, pictures.swapaxes(1, 2)):
        for turns in range(4):
            assert distances(signs, image_print(np.rot90(view, turns, (1, 2))).signs) == [0]


def test_transposing_the_hash_is_hashing_the_transposed() -> None:
    pictures = random_pictures(3, 5)
    whole = image_print(pictures).signs[:, :1]
    assert np.array_equal(transposed(whole), image_print(pictures.swapaxes(1, 2)).signs[:, :1])
    assert np.array_equal(transposed(transposed(whole)), whole)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_within_the_radius_and_other_tiles_are_not(
    change: str, phantom_tiles: list[Pixels], changes: Mapping[str, Callable[[Pixels], Pixels]]
) -> None:
    pictures = [grey_picture(tile) for tile in phantom_tiles] + [grey_picture(changes[change](tile)) for tile in phantom_tiles]
    found = image_print(np.stack(pictures))
    assert not found.blank.any()
    pairs = hash_pairs(found.signs, found.spectra)
    count = len(phantom_tiles)
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [(row, row + count) for row in range(count)]
    assert pairs.distance.max() <= RADIUS


@pytest.mark.parametrize("change", CHANGES)
def test_copies_overlap_and_other_tiles_do_not(
    change: str, phantom_tiles: list[Pixels], changes: Mapping[str, Callable[[Pixels], Pixels]]
) -> None:
    tiles = phantom_tiles[:6]
    greys = [grey_picture(tile, GREY_SIDE) for tile in tiles]
    copies = [grey_picture(changes[change](tile), GREY_SIDE) for tile in tiles]
    for row, grey in enumerate(greys):
        assert overlap(grey, copies[row]) >= LEAST_OVERLAP
        assert overlap(grey, copies[row - 1]) < LEAST_OVERLAP


def test_distances_are_those_of_a_plain_count_over_orientations() -> None:
    left, right = (image_print(random_pictures(seed, 4)).signs for seed in (1, 2))

    def grid(signs: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.unpackbits(signs.view(np.uint8)).reshape(2, 2, 8, 8).transpose(2, 0, 3, 1).reshape(16, 16).astype(bool)

    def orientations(signs: NDArray[np.uint64]) -> list[NDArray[np.bool_]]:
        bits = grid(signs)
        odd = np.arange(1, 17) % 2 == 1
        return [
            view ^ (odd & across) ^ (odd & down)[:, None] for view in (bits, bits.T) for across in (False, True) for down in (False, True)
        ]

    for row, found in enumerate(distances(left, right)):
        counts = []
        for one, other in ((left[row], right[row]), (right[row], left[row])):
            windows = [grid(window) for window in other]
            counts += [int((view ^ window).sum()) for view in orientations(one[0]) for window in windows]
        assert found == min(counts)


def test_blank_pictures_are_told_apart_from_faint_tissue() -> None:
    noise = np.random.default_rng(0).normal(size=(64, 64))
    found = image_print(np.stack([np.full((64, 64), 240.0), 240 + noise, 200 + 5 * random_pictures(0, 1)[0] / 10]))
    assert found.blank.tolist() == [True, True, False]


def test_inverted_lists_find_what_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = random_pictures(5, 3000)
    pictures = np.concatenate([pictures, pictures[:300, :, ::-1] + np.random.default_rng(1).normal(size=(300, 64, 64))])
    found = image_print(pictures)
    whole = hash_pairs(found.signs, found.spectra)
    monkeypatch.setattr("eosin.data_builders.duplicates.neighbours.COMPARED_WHOLLY", 100)
    listed = hash_pairs(found.signs, found.spectra)
    assert {(row, row + 3000) for row in range(300)} <= set(zip(whole.left.tolist(), whole.right.tolist(), strict=True))
    kept = set(zip(listed.left.tolist(), listed.right.tolist(), strict=True))
    assert kept <= set(zip(whole.left.tolist(), whole.right.tolist(), strict=True))
    assert len(kept) >= 0.97 * len(whole)
    assert CANDIDATE_COSINE < 1
