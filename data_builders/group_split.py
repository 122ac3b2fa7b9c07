"""Splits by group: a patient, slide or file is in one split only, each class is spread over the splits, and the draw is stable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from eosin.data_builders.subjects import stable_number
from eosin.errors import ConfigError

NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Shares:
    """How groups are shared out; the three add up to 1."""

    train: float = 0.7
    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or self.train == 0 or abs(sum(astuple(self)) - 1) > 1e-6:
            raise ConfigError(f"the shares of the splits must add up to 1, with some for train; got {astuple(self)}")


def split_groups(members: Iterable[tuple[str, str]], shares: Shares, seed: int) -> dict[str, str]:
    """A split for every group.

    A group belongs to the class it has most images of. Within each class, groups are ordered by a hash of seed and name and cut
    at the shares: new data moves only groups near a cut. Every class keeps a training group; with two or more, one is
    tested (where test has a share).

    Args:
        members: (group, label) of every image.
        shares: of the groups.
        seed: of the hash.

    Returns:
        group -> split.
    """
    labels: dict[str, Counter[str]] = {}
    for group, label in members:
        labels.setdefault(group, Counter())[label] += 1
    by_class: dict[str, list[str]] = {}
    for group, counts in labels.items():
        main = min(counts, key=lambda label: (-counts[label], label))
        by_class.setdefault(main, []).append(group)
    found: dict[str, str] = {}
    for label in sorted(by_class):
        found.update(_cut(sorted(by_class[label], key=lambda group: (stable_number(seed, group), group)), shares))
    _train_every_class(labels, found, seed)
    return found


def _cut(groups: list[str], shares: Shares) -> dict[str, str]:
    """Cut an ordered list of groups: test first, then val, then train."""
    count = len(groups)
    test = round(count * shares.test)
    if shares.test and count > 1:
        test = max(test, 1)
    val = round(count * shares.val)
    test = min(test, count - 1)
    val = min(val, count - 1 - test)
    return {group: "test" if place < test else "val" if place < test + val else "train" for place, group in enumerate(groups)}


def _train_every_class(labels: dict[str, Counter[str]], found: dict[str, str], seed: int) -> None:
    """Classes that only come as a minority within groups may miss train: move one of their groups there."""
    trained = {label for group, counts in labels.items() if found[group] == "train" for label in counts}
    for label in sorted({label for counts in labels.values() for label in counts} - trained):
        groups = [group for group, counts in labels.items() if label in counts]
        found[min(groups, key=lambda group: (stable_number(seed, group), group))] = "train"
