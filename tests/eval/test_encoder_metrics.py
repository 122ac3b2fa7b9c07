"""Metrics of encoders beside scikit-learn, statsmodels and counting by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from eosin.eval.metrics.auroc import macro_auroc
from eosin.eval.metrics.bootstrap import Resampling, intervals, resampled
from eosin.eval.metrics.concordance import concordance
from eosin.eval.metrics.draws import over_draws
from eosin.eval.metrics.ranks import first_positive_ranks, recall_at
from eosin.eval.metrics.statistic import balanced_accuracy, difference, mean_of
from eosin.eval.metrics.weighted_f1 import weighted_f1
from eosin.eval.paired_tests import bootstrap_p, holm, mcnemar


def questions(seed: int, count: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, classes, count)
    gold[:classes] = np.arange(classes)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[gold]
    return gold, np.round(logits, 1) if classes == 2 else logits


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_weighted_f1_balanced_accuracy_and_auroc_are_scikit_learns(seed: int, classes: int) -> None:
    gold, logits = questions(seed, classes=classes)
    said = logits.argmax(axis=1)
    none = np.zeros(len(gold), dtype=bool)
    assert weighted_f1(gold, said, classes).score == pytest.approx(f1_score(gold, said, average="weighted"), abs=1e-12)
    assert balanced_accuracy(gold, said == gold).score == pytest.approx(balanced_accuracy_score(gold, said), abs=1e-12)
    probabilities = softmax(logits, axis=1)
    wanted = roc_auc_score(gold, logits[:, 1] - logits[:, 0]) if classes == 2 else roc_auc_score(gold, probabilities, multi_class="ovr")
    assert macro_auroc(gold, logits, none).score == pytest.approx(wanted, abs=1e-9)


def test_auroc_of_shares_ranks_the_shares_themselves() -> None:
    gold, logits = questions(7)
    shares = np.round(softmax(logits, axis=1), 1)
    shares /= shares.sum(axis=1, keepdims=True)
    found = macro_auroc(gold, shares, np.zeros(len(gold), dtype=bool), logits=False).score
    assert found == pytest.approx(roc_auc_score(gold, shares, multi_class="ovr"), abs=1e-12)
    assert found != pytest.approx(macro_auroc(gold, shares, np.zeros(len(gold), dtype=bool)).score, abs=1e-4)


def test_a_resample_weighs_auroc_as_scikit_learn_does() -> None:
    gold, logits = questions(3, classes=2)
    weights = np.random.default_rng(0).integers(0, 4, (5, len(gold))).astype(float)
    found = macro_auroc(gold, logits, np.zeros(len(gold), dtype=bool)).value(weights)
    wanted = [roc_auc_score(gold, logits[:, 1] - logits[:, 0], sample_weight=row) for row in weights]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_auroc_tells_apart_what_saturated_probabilities_would_tie() -> None:
    gold = np.array([0, 0, 1, 1])
    logits = np.array([[100.0, 0.0], [95.0, 0.0], [90.0, 0.0], [80.0, 0.0]])
    assert len(set(softmax(logits, axis=1)[:, 0].tolist())) == 1
    assert macro_auroc(gold, logits, np.zeros(4, dtype=bool)).score == 1.0


def test_a_failed_question_is_wrong_in_auroc_too() -> None:
    gold, logits = np.array([0, 0, 1, 1]), np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    failed = np.array([True, False, False, False])
    assert macro_auroc(gold, logits, failed).score == pytest.approx(0.5)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=25))
def test_concordance_counts_pairs_as_harrell_does(cases: list[tuple[int, bool, int]]) -> None:
    right = pairs = 0.0
    for (t1, e1, r1), (t2, e2, r2) in itertools.permutations(cases, 2):
        if e1 and (t1 < t2 or (t1 == t2 and not e2)):
            pairs += 1
            right += 1.0 if r1 > r2 else 0.5 if r1 == r2 else 0.0
    times, events, risks = (np.array(column) for column in zip(*cases, strict=True))
    found = concordance(times.astype(float), events.astype(bool), risks.astype(float)).score
    assert found == pytest.approx(right / pairs) if pairs else np.isnan(found)


def test_several_positives_never_push_each_other_down_and_ties_count_against() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.5, 0.5, 0.5, 0.5]])
    positives = np.array([[True, True, False, False], [False, True, False, True]])
    assert first_positive_ranks(scores, positives).tolist() == [1, 3]
    positives = np.array([[False, False, True, True], [True, True, True, True]])
    assert first_positive_ranks(scores, positives).tolist() == [3, 1]
    lost = np.array([[-np.inf, 0.3, 0.1], [-np.inf, -np.inf, 0.1]])
    assert first_positive_ranks(lost, np.array([[True, False, False], [True, False, True]])).tolist() == [np.inf, 1]
    found = recall_at(np.array([1.0, 5.0, 6.0, np.inf]))
    assert [found[f"recall_at_{k}"].score for k in (1, 5, 10, 50)] == [0.25, 0.5, 0.75, 0.75]


def test_draws_give_the_median_of_their_scores_and_its_interval_is_resampled() -> None:
    gold = np.arange(40) % 2
    rng = np.random.default_rng(0)
    said = [np.where(rng.random(40) < share, gold, 1 - gold) for share in (0.5, 0.7, 0.9)]
    scores = sorted(float((answers == gold).mean()) for answers in said)
    found = over_draws("accuracy", [mean_of(answers == gold) for answers in said], "median")
    assert found["accuracy"].score == scores[1]
    assert found["accuracy_q1"].score == pytest.approx(np.quantile(scores, 0.25))
    mean = over_draws("accuracy", [mean_of(answers == gold) for answers in said], "mean")
    assert mean["accuracy"].score == pytest.approx(np.mean(scores))
    assert mean["accuracy_spread"].score == pytest.approx(np.std(scores))
    interval = intervals(found, [str(number) for number in range(40)], Resampling(200))["accuracy"]
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < scores[1] < interval.high


def test_a_score_of_pairs_is_resampled_by_group_like_any_other() -> None:
    gold, logits = questions(5, classes=2)
    groups = [str(number // 3) for number in range(len(gold))]
    area = macro_auroc(gold, logits, np.zeros(len(gold), dtype=bool))
    right = mean_of(logits.argmax(axis=1) == gold)
    found = resampled({"auroc": area, "accuracy": right}, groups, Resampling(50, seed=4))
    rng = np.random.default_rng(4)
    names = sorted(set(groups))
    for number in range(50):
        drawn = rng.integers(0, len(names), size=(1, len(names)))[0]
        rows = np.concatenate([[row for row, group in enumerate(groups) if group == names[place]] for place in drawn])
        assert found["auroc"][number] == pytest.approx(roc_auc_score(gold[rows], (logits[:, 1] - logits[:, 0])[rows]))  # type: ignore[index]
        assert found["accuracy"][number] == pytest.approx((logits.argmax(axis=1) == gold)[rows].mean())  # type: ignore[index]


def test_the_difference_of_a_score_with_itself_is_nothing() -> None:
    gold, logits = questions(6, classes=2)
    area = macro_auroc(gold, logits, np.zeros(len(gold), dtype=bool))
    assert difference(area, area).score == 0.0
    assert difference(area.taken(np.arange(30)), mean_of(np.ones(30))).score == pytest.approx(area.taken(np.arange(30)).score - 1)


def test_mcnemar_and_holm_are_statsmodels_own() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(80) < 0.8, rng.random(80) < 0.6
    table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    assert mcnemar(first, second) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)
    values = [0.04, 0.001, 0.3, 0.02]
    np.testing.assert_allclose(np.array(holm(values), dtype=float), multipletests(values, method="holm")[1])
    assert holm([None, 0.5]) == [None, 0.5]


def test_a_bootstrap_p_is_small_only_where_all_resamples_agree() -> None:
    assert bootstrap_p(np.full(999, 0.2)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.array([-1.0, 1.0] * 50)) == 1.0
    assert bootstrap_p(None) is None
