"""Metrics against independent references, and the hard cases one by one."""

from __future__ import annotations

import itertools
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from eosin.eval.metrics.bleu import bleu
from eosin.eval.metrics.bootstrap import Resampling, intervals
from eosin.eval.metrics.exact_match import exact_match
from eosin.eval.metrics.grounding import grounding, pairwise_iou, parse_boxes
from eosin.eval.metrics.mcq import parse_choice
from eosin.eval.metrics.normalise import normalise
from eosin.eval.metrics.rouge_l import rouge_l
from eosin.eval.metrics.statistic import balanced_accuracy, difference, mean_of
from eosin.eval.metrics.token_f1 import token_overlap
from eosin.eval.metrics.yes_no import parse_yes_no

WORDS = st.text(alphabet="ab yes no The,-.9", max_size=30)


@pytest.mark.parametrize(
    ("reply", "decided"),
    [
        ("Yes.", "yes"),
        ("no", "no"),
        ("**Yes**", "yes"),
        ("No, there is none.", "no"),
        ("Yes, no necrosis is seen.", "yes"),
        ("There is no tumour.", "no"),
        ("I would say yes", "yes"),
        ("yes yes", "yes"),
        ("yes or no", None),
        ("Yes/No", None),
        ("Yes, no.", None),
        ("No. Yes.", None),
        ("The answer is yes, no doubt", None),
        ("Not seen", None),
        ("nothing", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_yes_and_no_are_read_strictly(reply: str, decided: str | None) -> None:
    assert parse_yes_no(reply) == decided


OPTIONS = ("tumour", "tumour stroma", "a lymphocyte", "mucus")


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("B", 1),
        ("b", 1),
        ("(B)", 1),
        ("[D]", 3),
        ("B.", 1),
        ("b)", 1),
        ("**B**", 1),
        ("B) anything", 1),
        ("B. mucus", 1),
        ("B\ntumour", 1),
        ("Answer: B", 1),
        ("The answer is: C", 2),
        ("The correct answer is D.", 3),
        ("I see a tumour. Option B", 1),
        ("C: mucus", 2),
        ("A tumour", 0),
        ("A lymphocyte", 2),
        ("The answer is a tumour", 0),
        ("tumour stroma", 1),
        ("It is tumour stroma.", 1),
        ("it is mucus", 3),
        ("Mucus!", 3),
        ("D mucus", 3),
        ("E", None),
        ("A or B", None),
        ("A, B", None),
        ("(A) or (B)", None),
        ("B.\nC.", None),
        ("tumour and mucus", None),
        ("fat", None),
        ("", None),
    ],
)
def test_a_choice_is_read_by_letter_then_by_text(reply: str, choice: int | None) -> None:
    assert parse_choice(reply, OPTIONS) == choice


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The colon, well-differentiated.", "colon well differentiated"),
        ("HER2 3+", "her2 3+"),
        ("0.5 mm", "0.5 mm"),
        ("type A thymoma", "type a thymoma"),
        ("A", "a"),
        ("grade 2/3", "grade 2 3"),
        ("  ＥＲ  positive ", "er positive"),
    ],
)
def test_normalising_keeps_what_carries_meaning(text: str, words: str) -> None:
    assert normalise(text) == words


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_exact_match_ignores_form_and_nothing_else() -> None:
    assert exact_match("The Colon Adenocarcinoma.", "colon adenocarcinoma")
    assert not exact_match("colon adenocarcinoma, likely", "colon adenocarcinoma")
    assert not exact_match("", "")


@given(WORDS, WORDS)
def test_word_overlap_is_symmetric_bounded_and_exact_for_equal_texts(first: str, second: str) -> None:
    overlap, back = token_overlap(first, second), token_overlap(second, first)
    assert overlap.f1 == pytest.approx(back.f1)
    assert overlap.precision == back.recall
    low, high = sorted([overlap.precision, overlap.recall])
    assert 0.0 <= low <= overlap.f1 + 1e-12
    assert overlap.f1 - 1e-12 <= high <= 1.0
    assert token_overlap(first, first).f1 == 1.0


@given(st.lists(st.sampled_from(["tumour", "cells", "fat", "grade", "2"]), min_size=1, max_size=6), st.data())
def test_word_overlap_is_squads_where_their_normalisers_agree(reply: list[str], data: st.DataObject) -> None:
    gold = data.draw(st.lists(st.sampled_from(["tumour", "cells", "fat", "grade", "2"]), min_size=1, max_size=6))
    same = sum((Counter(reply) & Counter(gold)).values())
    precision, recall = same / len(reply), same / len(gold)
    squad = 2 * precision * recall / (precision + recall) if same else 0.0
    assert token_overlap(" ".join(reply).title() + ".", " ".join(gold)).f1 == pytest.approx(squad)


def reference_iou(first: list[int], second: list[int]) -> float:
    cells = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (first, second)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def test_iou_counts_shared_cells() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        boxes = [sorted(rng.choice(20, 2, replace=False)) + sorted(rng.choice(20, 2, replace=False)) for _ in range(2)]
        first, second = ([int(x0), int(y0), int(x1), int(y1)] for x0, x1, y0, y1 in boxes)
        assert pairwise_iou(np.array([first], float), np.array([second], float))[0, 0] == pytest.approx(reference_iou(first, second))


def test_boxes_are_matched_one_to_one_and_surplus_costs() -> None:
    gold = "[0, 0, 99, 99]; [500, 500, 599, 599]"
    assert grounding(gold, gold) == grounding("[500,500,599,599] and [0,0,99,99]", gold)
    assert grounding("[0, 0, 99, 99]", gold).acc50 == 0.5
    assert grounding(gold + "; [1, 1, 50, 50]", gold).acc50 == pytest.approx(2 / 3)
    assert grounding("[0,0,99,99]; [0,0,99,99]", gold).iou == 0.5
    assert grounding("at the top", gold) == grounding("[9, 9, 2, 2]", gold)
    assert not grounding("at the top", gold).valid
    assert len(parse_boxes("[1, 2, 3, 4] [1000, 2, 3, 4] [5, 5, 5, 9]")) == 1


def test_balanced_accuracy_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    gold, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    correct = gold == said
    assert balanced_accuracy(gold, correct).score == pytest.approx(balanced_accuracy_score(gold, said))
    assert mean_of(correct).score == pytest.approx(accuracy_score(gold, said))


def test_bleu_is_sacrebleus_for_the_corpus_and_for_any_resample() -> None:
    golds = ["colon adenocarcinoma with mucin pools", "normal colon mucosa with round glands", "fat", "a b c d e f"]
    replies = ["colon adenocarcinoma with pools of mucin", "normal mucosa with round glands", "", "a b c d e f g"]
    statistic, signature = bleu(replies, golds)
    assert statistic.score == pytest.approx(corpus_bleu(replies, [golds]).score / 100)
    assert "tok:13a" in signature
    assert "version:" in signature
    drawn = [0, 0, 3]
    again = corpus_bleu([replies[n] for n in drawn], [[golds[n] for n in drawn]]).score / 100
    assert statistic.value(statistic.columns[drawn].sum(axis=0, keepdims=True))[0] == pytest.approx(again)


def test_rouge_l_is_rouge_scores() -> None:
    reply, gold = "normal mucosa with round glands", "the normal colon mucosa has round glands"
    expected = RougeScorer(["rougeL"]).score(gold, reply)["rougeL"].fmeasure
    assert rouge_l([reply, gold], [gold, gold]) == pytest.approx([expected, 1.0])


def test_the_bootstrap_over_single_questions_is_scipys_percentile_interval() -> None:
    hits = np.random.default_rng(3).random(300) < 0.7
    mine = intervals({"accuracy": mean_of(hits)}, [str(n) for n in range(300)], Resampling(4000, 1))["accuracy"]
    theirs = bootstrap((hits,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_bootstrap_draws_groups_not_questions() -> None:
    hits = np.repeat(np.arange(20) % 2, 50)
    groups = np.repeat(np.arange(20), 50)
    by_group = intervals({"a": mean_of(hits)}, [str(g) for g in groups], Resampling())["a"]
    by_question = intervals({"a": mean_of(hits)}, [str(n) for n in range(1000)], Resampling())["a"]
    assert by_group.high - by_group.low > 4 * (by_question.high - by_question.low)


def test_intervals_say_why_there_is_none() -> None:
    one = intervals({"a": mean_of(np.ones(5))}, ["same"] * 5, Resampling())["a"]
    assert (one.value, one.low, one.high) == (1.0, None, None)
    assert "one group" in str(one.reason)
    none = intervals({"a": mean_of(np.zeros(0))}, [], Resampling())["a"]
    assert none.value is None
    flat = intervals({"a": mean_of(np.ones(5))}, list("abcde"), Resampling())["a"]
    assert (flat.low, flat.high) == (1.0, 1.0)
    assert "no width" in str(flat.reason)


def test_a_paired_difference_is_narrower_than_two_intervals_suggest() -> None:
    rng = np.random.default_rng(5)
    first = rng.random(400) < 0.5
    second = first ^ (rng.random(400) < 0.03)
    groups = [str(n) for n in range(400)]
    found = intervals({"d": difference(mean_of(first), mean_of(second)), "a": mean_of(first)}, groups, Resampling())
    assert found["d"].value == pytest.approx(first.mean() - second.mean())
    assert found["d"].high - found["d"].low < 0.5 * (found["a"].high - found["a"].low)


def test_the_same_seed_draws_the_same_interval_in_whatever_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, groups = np.random.default_rng(7).random(600) < 0.4, [str(n // 2) for n in range(600)]
    whole = intervals({"a": mean_of(hits)}, groups, Resampling())
    monkeypatch.setattr("eosin.eval.metrics.bootstrap._DRAWS_AT_ONCE", 1000)
    assert intervals({"a": mean_of(hits)}, groups, Resampling()) == whole
    assert intervals({"a": mean_of(hits)}, groups, Resampling(seed=1)) != whole


def test_every_letter_form_reads_alike() -> None:
    forms = ["{}", "({})", "{}.", "{})", "{}:", "[{}]", "Answer: {}", "The answer is {}.", "Option {}"]
    for form, (number, letter) in itertools.product(forms, enumerate(string.ascii_uppercase[:4])):
        assert parse_choice(form.format(letter), OPTIONS) == number, form
