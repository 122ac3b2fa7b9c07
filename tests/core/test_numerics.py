"""Array functions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax as scipy_softmax

from eosin.errors import InputError
from eosin.numerics import colour_statistics, ensemble, softmax, top_k, unit_rows

numbers = st.floats(-100, 100, width=32)


@given(arrays(np.float32, (5, 3), elements=st.floats(0.125, 100, width=32)))
def test_unit_rows_have_length_one_and_keep_their_direction(rows: np.ndarray) -> None:
    unit = unit_rows(rows)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(unit * np.linalg.norm(rows, axis=1, keepdims=True), rows, rtol=1e-4)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_an_error(bad: float) -> None:
    with pytest.raises(InputError, match=r"1 of 2 vectors .* row 1"):
        unit_rows(np.array([[1.0, 0.0], [bad, 0.0]]))


@given(arrays(np.float64, (4, 6), elements=st.floats(-1e4, 1e4)))
def test_softmax_agrees_with_scipy(logits: np.ndarray) -> None:
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits, axis=-1), rtol=1e-12, atol=1e-300)


@given(arrays(np.float32, (3, 7), elements=st.sampled_from([0.0, 1.0, 2.0])), st.integers(1, 9))
def test_top_k_is_ordered_and_ties_go_to_the_lower_column(scores: np.ndarray, k: int) -> None:
    for row, columns in zip(scores, top_k(scores, k), strict=True):
        assert columns.tolist() == sorted(range(7), key=lambda column: (-row[column], column))[:k]


def test_an_ensemble_is_the_unit_mean_of_its_prompts() -> None:
    prompts = unit_rows(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(ensemble([prompts, prompts[:1]]), [[0.5**0.5, 0.5**0.5], [1.0, 0.0]], rtol=1e-6)


def test_colour_statistics_are_the_six_numbers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    expected = [image[..., c].mean() for c in range(3)] + [image[..., c].std() for c in range(3)]
    np.testing.assert_allclose(colour_statistics(image), expected)
