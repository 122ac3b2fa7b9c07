"""Several data sets are trained on as one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import Artefact
from eosin.clip.image_store import Reading
from eosin.clip.joined import Joined
from eosin.clip.pairs import load_pairs
from eosin.errors import ArtefactError, ConfigError

COLUMNS = ("id", "source", "licence", "group", "split", "image", "captions")


@pytest.fixture(scope="module")
def two(squares: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artefact, Artefact]:
    """130 records, and 25 of another source with one that is damaged; the second has a split of its own for measuring."""
    folder = tmp_path_factory.mktemp("two")
    first = squares.write(folder / "first", [squares.pair(number) for number in range(130)])
    second = [dataclasses.replace(squares.pair(number), source="others", id=f"others/{number}") for number in range(25)]
    second[4] = squares.spoiled(second[4])
    held_out = [squares.pair(number, "val") for number in range(12)]
    return first, squares.write(folder / "second", [*second, *held_out])


def test_records_have_one_number_over_all_sets(two: tuple[Artefact, Artefact]) -> None:
    data = Joined(two, "train")
    starts, rows = data.blocks()
    ids = [record.id for record in data.records(COLUMNS)]
    assert rows == len(ids) == 155
    assert starts.tolist() == [0, 100, 130]
    table = data.table(COLUMNS, 40, 1)
    for number in (0, 99, 100, 129, 130, 154, 3):
        assert table[number].id == ids[number]
    for number in (-1, 155):
        with pytest.raises(IndexError):
            table[number]


def test_what_cannot_be_used_of_any_set_is_named_and_sources_have_groups_of_their_own(
    two: tuple[Artefact, Artefact], tmp_path: Path
) -> None:
    pairs = load_pairs(two[0], Reading(40, "squash", 1 << 20), tmp_path, more=two[1:])
    assert (pairs.seen, len(pairs)) == (155, 154)
    assert [(reject.key, reject.reason) for reject in pairs.rejects] == [("others/4", "truncated")]
    assert pairs.blocks.tolist() == [0, 100, 130]
    assert len(set(pairs.index.groups[:8]) | set(pairs.index.groups[130:136])) == 2, "groups of one name, of two sources"
    assert pairs.index.rows[-1] == 154


def test_a_run_takes_them_together_and_measures_where_there_is_something_to_measure(
    two: tuple[Artefact, Artefact], train: Callable[..., Artefact], tmp_path: Path
) -> None:
    first, second = two
    given = ("epochs=1", "batch_size=16", "shuffle_window=64", "monitor.every=1")
    model = train(first, tmp_path / "out", f"more=[{second.path}]", *given)
    results = model.manifest["results"]
    assert results["records"] == {"seen": 155, "used": 154, "rejected": {"truncated": 1}}
    assert results["left_out_an_epoch"] == 154 % 16
    assert results["monitored"] == {"used": 12, "rejected": 0}
    assert [(ref.name, ref.digest) for ref in model.plan.inputs] == [("data", first.digest), ("more[0]", second.digest)]
    with pytest.raises(ConfigError, match=r"first has no split val; it has train"):
        train(first, tmp_path / "alone", *given)


def test_a_set_without_training_records_is_refused(two: tuple[Artefact, Artefact], squares: Any, tmp_path: Path) -> None:
    other = squares.write(tmp_path / "test_only", [squares.pair(number, "test") for number in range(3)])
    with pytest.raises(ArtefactError, match="test_only"):
        Joined((two[0], other), "train").blocks()
