"""Texts that say nearly the same are found, others not; pairs join into the components of their graph."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.data_builders.duplicates.neighbours import embedding_pairs
from eosin.data_builders.duplicates.texts import minhashes, normalised, sketch, text_pairs
from eosin.data_builders.duplicates.union import components, equal_pairs

WORDS = ("gland", "nucleus", "stroma", "mitosis", "necrosis", "lumen", "keratin", "mucin", "septum", "vessel", "papilla", "crypt")


def sentence(draw: np.random.Generator, length: int = 24) -> list[str]:
    return [WORDS[number] + str(draw.integers(100)) for number in draw.integers(0, len(WORDS), length)]


def test_one_changed_word_in_twenty_four_is_found_and_other_texts_are_not() -> None:
    draw = np.random.default_rng(0)
    texts = [sentence(draw) for _ in range(200)]
    changed = [[*text[:11], "otherwise", *text[12:]] for text in texts]
    sketches = [sketch(" ".join(text)) for text in texts + changed]
    pairs = text_pairs(minhashes([one for one in sketches if one is not None]))
    found = set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert found == {(row, row + 200) for row in range(200)}
    assert 0 < pairs.distance.max() <= 0.3


def test_spelling_and_marks_make_no_difference() -> None:
    assert normalised("Grade  II–III, HER2+!") == normalised("grade ii iii her2")
    one, other = sketch("Sheets of ATYPICAL glands, with necrosis; and mucin."), sketch("sheets of atypical glands with necrosis and mucin")
    assert one == other


def test_short_texts_have_no_sketch() -> None:
    assert sketch("Colon adenocarcinoma.") is None
    assert sketch("") is None


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60))
@settings(max_examples=100)
def test_components_are_those_of_a_plain_search(count: int, edges: list[tuple[int, int]]) -> None:
    edges = [(one % count, other % count) for one, other in edges]
    expected = list(range(count))
    for _ in range(count):
        for one, other in edges:
            expected[one] = expected[other] = min(expected[one], expected[other])
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    assert components(count, left, right).tolist() == expected


def test_a_chain_of_a_hundred_thousand_is_one_component() -> None:
    order = np.random.default_rng(0).permutation(100_000)
    assert not components(100_000, order[:-1], order[1:]).any()


def test_equal_keys_pair_with_the_first_of_them() -> None:
    keys = np.array([b"ab", b"cd", b"ab", b"", b"ab", b""])
    left, right = equal_pairs(keys, keys != b"")
    assert (left.tolist(), right.tolist()) == ([0, 0], [2, 4])


def test_embedding_pairs_are_the_nearest_above_the_likeness() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    expected = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(300)
        for other in np.argsort(-cosines[row], kind="stable")[:3]
        if cosines[row, other] >= 0.5
    }
    pairs = embedding_pairs(vectors, 0.5, 3)
    assert set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == expected
    assert np.allclose(pairs.distance, 1 - cosines[pairs.left, pairs.right], atol=1e-5)
