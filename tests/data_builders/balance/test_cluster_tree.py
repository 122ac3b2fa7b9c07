import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.data_builders.cluster_tree import ClusterTree, fill, grow_tree, nearest, quotas, spread
from eosin.errors import ConfigError
from eosin.numerics import Floats, unit_rows

SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=12)


def blobs(sizes: list[int], seed: int = 0) -> tuple[Floats, np.ndarray]:
    """Unit vectors around directions of their own, and which."""
    random = np.random.default_rng(seed)
    centres = unit_rows(random.standard_normal((len(sizes), 16)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return unit_rows(centres[labels] + 0.01 * random.standard_normal((len(labels), 16))), labels


@given(SIZES, st.floats(0, 1), st.integers(0, 3))
def test_water_reaches_what_is_wanted_and_stands_level(sizes: list[int], share: float, seed: int) -> None:
    held = np.asarray(sizes, dtype=np.int64)
    wanted = int(share * held.sum())
    given = fill(held, wanted, np.random.default_rng(seed))
    assert given.sum() == wanted
    assert (given <= held).all()
    # Who gives less than another by more than one has no more to give.
    assert all(given[a] == held[a] for a in range(len(held)) for b in range(len(held)) if given[a] + 1 < given[b])


def test_quotas_are_shared_at_the_top_first() -> None:
    one = np.zeros((1, 2), dtype=np.float32)
    tree = ClusterTree((np.repeat(one, 4, 0), np.repeat(one, 2, 0)), (np.array([0, 0, 0, 1]),))
    assert quotas(tree, np.array([100, 100, 100, 100]), 60, seed=0).tolist() == [10, 10, 10, 30]
    assert quotas(tree, np.array([100, 2, 100, 5]), 45, seed=0).tolist() == [19, 2, 19, 5]


def test_clusters_do_not_mix_what_lies_apart_and_a_rare_blob_has_its_own() -> None:
    vectors, labels = blobs([400, 40, 40, 5])
    tree = grow_tree(vectors, (12, 4), 20, seed=0)
    found = nearest(vectors, tree.centroids[0])[0]
    inside = {cluster: set(labels[found == cluster]) for cluster in set(found)}
    assert all(len(names) == 1 for names in inside.values())
    assert {3} in inside.values()
    assert tree.parents[0].shape == (12,)
    # Blobs are far apart, so the level above puts each one's clusters together.
    assert len({(tree.parents[0][cluster], *names) for cluster, names in inside.items()}) == 4
    assert np.array_equal(grow_tree(vectors, (12, 4), 20, seed=0).centroids[0], tree.centroids[0])


def test_first_centroids_lie_apart_and_equal_points_do_not_hang() -> None:
    vectors, labels = blobs([1000, 5, 5])
    ours = [len({int(labels[(vectors == row).all(axis=1)][0]) for row in spread(vectors, 6, seed)}) for seed in range(10)]
    assert np.mean(ours) > 2.7
    same = np.repeat(vectors[:1], 30, axis=0)
    assert spread(same, 5, 0).shape == (5, 16)


def test_more_clusters_than_vectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="asks for 50 at level 0; there are 20"):
        grow_tree(blobs([20])[0], (50,), 5, seed=0)
