"""Splits by group: a patient, slide or file is in one split only.

`split_groups` cuts each class at its shares: exact, for all groups are known, and new ones move those near a cut. `hashed_split` asks
a hash of the group alone: stable whatever is added, the same for every data set that holds the group, and each class at its shares but
for chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from eosin.data_builders.subjects import stable_number
from eosin.errors import ConfigError, InputError

NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Shares:
    """How groups are shared out; the three add up to 1."""

    train: float = 0.7
    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        shares = astuple(self)
        # So written that no comparison with "not a number" lets it through.
        if not (all(share >= 0 for share in shares) and self.train > 0 and abs(sum(shares) - 1) <= 1e-6):
            raise ConfigError(f"the shares of the splits must add up to 1, with some for train; got {astuple(self)}")


def hashed_split(group: str, shares: Shares, seed: int) -> str:
    """The split of a group, by a hash of seed and name alone."""
    place = stable_number(seed, group) / 2**63
    return "test" if place < shares.test else "val" if place < shares.test + shares.val else "train"


def hashed_fold(group: str, folds: int, seed: int) -> int:
    """The fold of a group, 0 to folds - 1, by a hash that is independent of `hashed_split`'s."""
    return stable_number(seed, "fold", group) % folds


def split_groups(members: Iterable[tuple[str, str]], shares: Shares, seed: int, settled: Mapping[str, str] | None = None) -> dict[str, str]:
    """A split for every group.

    A group belongs to the class it has most images of. Within each class, groups are ordered by a hash of seed and name and cut
    at the shares: new data moves only groups near a cut. Every class keeps a training group; with two or more, one is
    tested (where test has a share).

    Args:
        members: (group, label) of every image.
        shares: of the groups.
        seed: of the hash.
        settled: groups that keep the split they have; they count for the shares of their class.

    Returns:
        group -> split.
    """
    kept = settled or {}
    labels = _labels(members)
    found: dict[str, str] = {}
    for groups in _by_class(labels, seed):
        old = {group: kept[group] for group in groups if group in kept}
        found |= old | _cut([group for group in groups if group not in kept], shares, Counter(old.values()))
    if not kept:
        _train_every_class(labels, found, seed)
    return found


def fold_groups(members: Iterable[tuple[str, str]], folds: int, seed: int) -> dict[str, int]:
    """Group -> fold, 0 to folds - 1: each class is dealt out over the folds in the order of a hash.

    Args:
        members: (group, label) of every image.
        folds: how many.
        seed: of the hash.
    """
    found: dict[str, int] = {}
    dealt = 0
    for groups in _by_class(_labels(members), seed):
        for group in groups:
            # Dealing goes on from class to class: small classes do not all begin with the first fold.
            found[group] = dealt % folds
            dealt += 1
    return found


def _labels(members: Iterable[tuple[str, str]]) -> dict[str, Counter[str]]:
    """Images of each label of each group."""
    labels: dict[str, Counter[str]] = {}
    for group, label in members:
        labels.setdefault(group, Counter())[label] += 1
    return labels


def _by_class(labels: Mapping[str, Counter[str]], seed: int) -> list[list[str]]:
    """The groups of each class, by a hash of seed and name; a group is of the class that it has most images of."""
    found: dict[str, list[str]] = {}
    for group, counts in labels.items():
        found.setdefault(min(counts, key=lambda label: (-counts[label], label)), []).append(group)
    return [sorted(found[label], key=lambda group: (stable_number(seed, group), group)) for label in sorted(found)]


def _cut(groups: list[str], shares: Shares, settled: Counter[str]) -> dict[str, str]:
    """Cut an ordered list of groups: test first, then val, then train; what `settled` has already is taken off."""
    count = len(groups) + settled.total()
    test = round(count * shares.test)
    if shares.test and count > 1:
        test = max(test, 1)
    val = round(count * shares.val)
    test = min(test, count - 1)
    val = min(val, count - 1 - test)
    test, val = max(test - settled["test"], 0), max(val - settled["val"], 0)
    return {group: "test" if place < test else "val" if place < test + val else "train" for place, group in enumerate(groups)}


def _train_every_class(labels: dict[str, Counter[str]], found: dict[str, str], seed: int) -> None:
    """Classes that only come as a minority within groups may miss train: move one of their groups there."""
    trained = {label for group, counts in labels.items() if found[group] == "train" for label in counts}
    for label in sorted({label for counts in labels.values() for label in counts} - trained):
        groups = [group for group, counts in labels.items() if label in counts]
        found[min(groups, key=lambda group: (stable_number(seed, group), group))] = "train"


def check_splits(path: Path, groups: Iterable[tuple[str, str]]) -> None:
    """A group in two splits is a leak, and a table that says so is its author's to mend.

    Args:
        path: of the table.
        groups: group (a patient, an original image) and split of each row.

    Raises:
        InputError: a group is in two of train, val and test.
    """
    splits: dict[str, str] = {}
    for group, split in groups:
        other = splits.setdefault(group, split) if split != "none" else split
        if other != split:
            raise InputError(f"{path}: {group!r} is in {other} and in {split}; a patient, or a group, must stay in one split")
