"""What is audited: training data on one side, evaluation data on the other, each a data artefact or one split of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eosin.artefacts import Artefact, InputRef, open_artefact
from eosin.data_builders.duplicates.fingerprints import DATA_KINDS
from eosin.errors import InputError
from eosin.records import SPLITS


@dataclass(frozen=True)
class DataSet:
    """One data set of the audit.

    Attributes:
        name: its place on the command line: `train[0]`, `against[1]`.
        artefact: the data.
        split: the only split that is looked at, or None for all.
        trained: whether it is training data.
    """

    name: str
    artefact: Artefact
    split: str | None
    trained: bool

    @property
    def ref(self) -> InputRef:
        """How a plan names it."""
        return self.artefact.ref(self.name)


def open_sides(train: Sequence[str], against: Sequence[str]) -> list[DataSet]:
    """The data sets of both sides, training data first.

    Args:
        train: folders; `DIR:SPLIT` is one split.
        against: likewise.

    Raises:
        ArtefactError: a folder is no data artefact, or has no such split.
        InputError: the same records are on both sides.
    """
    found = [_open(f"train[{number}]", path, True) for number, path in enumerate(train)]
    found += [_open(f"against[{number}]", path, False) for number, path in enumerate(against)]
    for one in found:
        for other in found:
            same = one.artefact.digest == other.artefact.digest and (one.split is None or other.split is None or one.split == other.split)
            if one.trained and not other.trained and same:
                raise InputError(
                    f"{one.name} and {other.name} are the same records ({one.artefact.path}); name a split of each: DIR:train, DIR:test"
                )
    return found


def _open(name: str, path: str, trained: bool) -> DataSet:
    folder, colon, split = path.rpartition(":")
    if not colon or split not in SPLITS or Path(path).exists():
        return DataSet(name, open_artefact(path, *DATA_KINDS), None, trained)
    artefact = open_artefact(folder, *DATA_KINDS)
    artefact.shards(split)
    return DataSet(name, artefact, split, trained)
