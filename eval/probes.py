"""Classifiers on frozen vectors. `PROBES` names them; each learns from vectors and class numbers, and scores every class."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eosin.errors import InputError, MissingDependency

Numbers = NDArray[np.int64]
Scores = NDArray[np.float64]
# Of the mean loss's gradient, its largest number: scikit-learn's own 1e-4 stops so early that rounding of the vectors decides answers.
_GRADIENT = 1e-7
_STEPS = 20_000


class Probe(Protocol):
    """A fitted classifier: vectors [n, d] -> scores [n, classes], the highest is the answer."""

    def __call__(self, vectors: NDArray[np.floating]) -> Scores: ...


def _unchanged(scores: Scores) -> Scores:
    return scores


@dataclass(frozen=True)
class Fitted:
    """A probe.

    Attributes:
        probe: see `Probe`.
        notes: what was chosen on the way.
        shown: scores -> what is recorded of them: without what only breaks ties.
    """

    probe: Probe
    notes: dict[str, object]
    shown: Callable[[Scores], Scores] = _unchanged


@dataclass(frozen=True)
class Part:
    """Vectors [n, d] with their class numbers [n]."""

    vectors: NDArray[np.floating]
    labels: Numbers


def logistic(train: Part, val: Part | None, costs: tuple[float, ...], classes: int) -> Fitted:
    """Logistic regression, its C the one with the best balanced accuracy on `val`; of equal ones the smallest.

    Fitted on `train` alone, without standardisation: a vector's length and axes mean something already.

    Raises:
        InputError: the training part lacks a class, or `val` is missing where there is a choice.
        MissingDependency: scikit-learn is not installed.
    """
    missing = sorted(set(range(classes)) - set(train.labels.tolist()))
    if missing:
        raise InputError(f"the training split has no vector of {len(missing)} of {classes} classes, such as class number {missing[0]}")
    found = [(cost, *_fit_logistic(train, cost)) for cost in sorted(costs)]
    notes: dict[str, object] = {"not_converged": [cost for cost, _, converged in found if not converged]}
    if len(found) > 1:
        if val is None:
            raise InputError(f"one of {len(costs)} costs is chosen on a validation split, and there is none")
        scores = [balanced(probe(val.vectors).argmax(axis=1), val.labels) for _, probe, _ in found]
        best = int(np.argmax(scores))
        notes["validation"] = {f"{cost:g}": round(score, 6) for (cost, _, _), score in zip(found, scores, strict=True)}
    else:
        best = 0
    return Fitted(found[best][1], {"cost": found[best][0], **notes})


def _fit_logistic(train: Part, cost: float) -> tuple[Probe, bool]:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise MissingDependency("scikit-learn", "eval") from error
    model = LogisticRegression(C=cost, max_iter=_STEPS, tol=_GRADIENT)
    features = np.asarray(train.vectors, dtype=np.float64)
    with warnings.catch_warnings():
        # The gradient tells it, also where the line search gave up without a warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, train.labels)
    errors = model.predict_proba(features) - np.eye(len(model.classes_))[np.searchsorted(model.classes_, train.labels)]
    # Of two classes scikit-learn fits one weight vector, the second's.
    errors = errors[:, -len(model.coef_) :]
    slope = errors.T @ features / len(features) + model.coef_ / (cost * len(features))
    steepest = max(np.abs(slope).max(), np.abs(errors.mean(axis=0)).max())

    def probe(vectors: NDArray[np.floating]) -> Scores:
        return np.asarray(model.predict_log_proba(np.asarray(vectors, dtype=np.float64)), dtype=np.float64)

    # What rounding adds to a gradient that met the tolerance.
    return probe, bool(steepest <= 1.01 * _GRADIENT)


def balanced(said: Numbers, labels: Numbers) -> float:
    """Mean recall over the classes present."""
    return float(np.mean([(said[labels == number] == number).mean() for number in np.unique(labels)]))


def nearest(train: Part, neighbours: int, classes: int) -> Fitted:
    """Majority vote of the nearest by cosine; of equally many votes, the class with the larger sum of cosines.

    Raises:
        InputError: there are fewer training vectors than neighbours.
    """
    if len(train.labels) < neighbours:
        raise InputError(f"neighbours={neighbours}, but there are {len(train.labels)} training vectors; ask for fewer")

    def probe(vectors: NDArray[np.floating]) -> Scores:
        found = [_votes(block @ train.vectors.T, train.labels, neighbours, classes) for block in _blocks(vectors)]
        return np.concatenate(found) if found else np.zeros((0, classes))

    # The sum of cosines adds less than half a vote.
    return Fitted(probe, {"neighbours": neighbours}, lambda scores: np.asarray(np.rint(scores * neighbours) / neighbours))


def _votes(cosines: NDArray[np.floating], labels: Numbers, neighbours: int, classes: int) -> Scores:
    """Share of votes [n, classes]; the sum of cosines, weighed too little to outdo a vote, breaks ties."""
    places = np.argpartition(-cosines, neighbours - 1, axis=1)[:, :neighbours]
    near = np.take_along_axis(np.asarray(cosines, dtype=np.float64), places, axis=1)
    votes = np.zeros((len(cosines), classes))
    sums = np.zeros((len(cosines), classes))
    rows = np.repeat(np.arange(len(cosines)), neighbours)
    np.add.at(votes, (rows, labels[places].ravel()), 1.0)
    np.add.at(sums, (rows, labels[places].ravel()), near.ravel())
    return (votes + sums / (4.0 * neighbours)) / neighbours


def _blocks(vectors: NDArray[np.floating], size: int = 1024) -> list[NDArray[np.floating]]:
    return [vectors[start : start + size] for start in range(0, len(vectors), size)]


def simpleshot(train: Part, classes: int) -> Fitted:
    """SimpleShot (Wang et al. 2019, arXiv:1911.04623): subtract the training mean, scale to unit length, take the nearest class mean.

    Raises:
        InputError: the training part lacks a class.
    """
    if len(set(train.labels.tolist())) < classes:
        raise InputError(f"the training split holds {len(set(train.labels.tolist()))} of {classes} classes; SimpleShot needs each")
    middle = np.asarray(train.vectors, dtype=np.float64).mean(axis=0)

    def centred(vectors: NDArray[np.floating]) -> Scores:
        moved = np.asarray(vectors, dtype=np.float64) - middle
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12))

    seen = centred(train.vectors)
    means = np.stack([seen[train.labels == number].mean(axis=0) for number in range(classes)])

    def probe(vectors: NDArray[np.floating]) -> Scores:
        found = centred(vectors)
        return np.asarray(-np.linalg.norm(found[:, None] - means[None], axis=2))

    return Fitted(probe, {})


@dataclass(frozen=True)
class Settings:
    """What the probes are told.

    Attributes:
        costs: of `logistic`.
        neighbours: of `knn`.
        classes: how many there are.
    """

    costs: tuple[float, ...]
    neighbours: int
    classes: int


PROBES: dict[str, Callable[[Part, Part | None, Settings], Fitted]] = {
    "logistic": lambda train, val, settings: logistic(train, val, settings.costs, settings.classes),
    "knn": lambda train, val, settings: nearest(train, settings.neighbours, settings.classes),
    "simpleshot": lambda train, val, settings: simpleshot(train, settings.classes),
}


def few(labels: Numbers, shots: int, seed: int, classes: int) -> Numbers:
    """`shots` places of each class, drawn at random.

    Raises:
        InputError: a class has fewer.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for number in range(classes):
        places = np.flatnonzero(labels == number)
        if len(places) < shots:
            raise InputError(f"shots={shots}, but class number {number} has {len(places)} training vectors; ask for fewer")
        chosen.append(rng.choice(places, shots, replace=False))
    return np.sort(np.concatenate(chosen))
