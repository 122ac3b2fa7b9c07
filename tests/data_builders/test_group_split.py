from collections import defaultdict

import pytest

from eosin.data_builders.group_split import Shares, split_groups
from eosin.errors import ConfigError


def members(**classes: int) -> list[tuple[str, str]]:
    return [(f"{label}{number}", label) for label, count in classes.items() for number in range(count)]


def test_each_class_is_shared_out_alike() -> None:
    found = split_groups(members(a=100, b=20), Shares(0.7, 0.1, 0.2), seed=0)
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    for group, split in found.items():
        sizes[group[0], split] += 1
    assert sizes == {("a", "train"): 70, ("a", "val"): 10, ("a", "test"): 20, ("b", "train"): 14, ("b", "val"): 2, ("b", "test"): 4}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_groups_train_first_and_then_are_tested(count: int) -> None:
    found = split_groups(members(a=count), Shares(0.1, 0.4, 0.5), seed=0)
    assert "train" in found.values()
    assert ("test" in found.values()) == (count > 1)


def test_a_class_that_is_a_minority_everywhere_is_still_trained_on() -> None:
    rows = [(f"g{number}", "common") for number in range(40) for _ in range(3)]
    for seed in range(20):
        found = split_groups([*rows, ("g7", "rare")], Shares(0.5, 0.0, 0.5), seed)
        assert found["g7"] == "train"


def test_the_draw_depends_on_seed_and_names_and_not_on_the_order() -> None:
    rows = members(a=30, b=30)
    assert split_groups(rows, Shares(), 0) == split_groups(rows[::-1], Shares(), 0)
    assert split_groups(rows, Shares(), 0) != split_groups(rows, Shares(), 1)


@pytest.mark.parametrize("shares", [(0.5, 0.1, 0.1), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        Shares(*shares)
