from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.couples import balanced_positions, couple, couple_within


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.integers(0, 9))
def test_couples_differ_and_only_a_surplus_is_left_over(values: list[str], seed: int) -> None:
    pairs = couple(values, np.random.default_rng(seed))
    places = [place for pair in pairs for place in pair]
    assert len(set(places)) == len(places)
    assert all(values[one] != values[other] for one, other in pairs)
    most = max(Counter(values).values(), default=0)
    assert len(pairs) == min(len(values) // 2, len(values) - most)


def test_every_value_meets_every_other() -> None:
    values = [str(number % 9) for number in range(900)]
    met = {(values[one], values[other]) for one, other in couple(values, np.random.default_rng(0))}
    assert len({frozenset(pair) for pair in met}) == 36


def test_couples_never_join_two_groups() -> None:
    groups, values = list("xxyyxy"), list("abababa"[:6])
    pairs = couple_within(groups, values, np.random.default_rng(0))
    assert pairs
    assert all(groups[one] == groups[other] for one, other in pairs)


def test_the_right_option_stands_at_each_place_equally_often() -> None:
    positions = balanced_positions(range(42), 4, np.random.default_rng(0))
    counts = Counter(positions.values())
    assert sorted(positions) == list(range(42))
    assert sorted(counts.values()) == [10, 10, 11, 11]
