import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eosin.clip.order import epoch_order, together
from eosin.seeds import generator


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 200), st.integers(0, 3))
def test_an_epoch_holds_every_record_once(sizes: list[int], window: int, epoch: int) -> None:
    blocks = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    order = np.concatenate(epoch_order(5, epoch, sum(sizes), blocks, window))
    assert sorted(order) == list(range(sum(sizes)))
    again = np.concatenate(epoch_order(5, epoch, sum(sizes), blocks, window))
    np.testing.assert_array_equal(order, again)


def test_what_fits_into_the_window_is_shuffled_as_a_whole() -> None:
    (order,) = epoch_order(3, 2, 500, np.arange(0, 500, 100), 500)
    np.testing.assert_array_equal(order, generator(3, 2).permutation(500))


def test_a_window_needs_few_row_groups() -> None:
    blocks = np.arange(0, 10_000, 100)
    windows = epoch_order(0, 0, 10_000, blocks, 1000)
    assert len(windows) == 10
    for window in windows:
        assert len(np.unique(window // 100)) == 10
        assert len(np.unique(window[:100] // 100)) > 5, "records of several row groups are mixed"
    assert not np.array_equal(windows[0], epoch_order(0, 1, 10_000, blocks, 1000)[0])


@given(st.lists(st.integers(-1, 6), min_size=1, max_size=200), st.integers(1, 5))
def test_handfuls_hold_one_disease_and_lose_nobody(nodes: list[int], each: int) -> None:
    numbers = np.arange(len(nodes))[::-1].copy()
    labels = np.array(nodes)[numbers]
    order = together(numbers, labels, each, np.random.default_rng(0))
    assert sorted(order) == list(range(len(nodes)))
    found = np.array(nodes)[order]
    runs = np.flatnonzero(np.append(True, found[1:] != found[:-1]))
    wanted = sum(-(-nodes.count(node) // each) for node in set(nodes) - {-1}) + nodes.count(-1)
    assert len(runs) <= wanted


def test_a_disease_comes_in_handfuls() -> None:
    nodes = np.repeat(np.arange(50), 8)
    mixed = np.random.default_rng(1).permutation(400)
    order = together(mixed, nodes[mixed], 4, np.random.default_rng(2))
    for start in range(0, 400, 4):
        assert len(set(nodes[order[start : start + 4]])) == 1
    assert len(set(nodes[order[:128]])) > 20
