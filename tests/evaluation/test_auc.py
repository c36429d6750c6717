"""AUC, its interval and its comparison against pairs counted one by one, scikit-learn and a simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from recsys.evaluation import auc, auc_interval, average_precision, compare_auc, pair_counts_of_batches, roc_points
from recsys.evaluation.auc import pair_counts
from recsys.evaluation.external import ordered_bits

rows = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([-3.5, -0.0, 0.0, 0.25, 0.5, 7.0]), st.integers(0, 3)), min_size=2
).filter(lambda rows: len({label for label, _, _ in rows}) == 2)


def columns(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    return labels, scores, weights.astype(float)


def slow_pairs(labels, scores, weights):
    wins = total = 0.0
    for p in np.flatnonzero(labels == 1):
        for n in np.flatnonzero(labels == 0):
            wins += weights[p] * weights[n] * (1.0 if scores[p] > scores[n] else 0.5 if scores[p] == scores[n] else 0.0)
            total += weights[p] * weights[n]
    return wins / total


@given(rows)
def test_equals_pairs_counted_one_by_one(rows):
    labels, scores, _ = columns(rows)
    assert auc(labels, scores) == slow_pairs(labels, scores, np.ones(len(labels)))


@given(rows)
def test_weighted_equals_weighted_pairs(rows):
    labels, scores, weights = columns(rows)
    if weights[labels == 1].sum() and weights[labels == 0].sum():
        assert auc(labels, scores, weights) == pytest.approx(slow_pairs(labels, scores, weights), abs=1e-12)
    else:
        with pytest.raises(ValueError, match="weigh 0 in all"):
            auc(labels, scores, weights)


@given(rows)
def test_pr_auc_equals_scikit_learn(rows):
    labels, scores, weights = columns(rows)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    if weights[labels == 1].sum() and weights[labels == 0].sum():
        expected = average_precision_score(labels, scores, sample_weight=weights)
        assert average_precision(labels, scores, weights) == pytest.approx(expected, abs=1e-12)


def test_equals_scikit_learn_to_twelve_digits_on_many_rows():
    generator = np.random.default_rng(0)
    labels = generator.random(300_000) < 0.2
    scores = (generator.normal(size=300_000) + labels).astype(np.float32).round(2)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(rows, st.integers(1, 9), st.integers(1, 5))
def test_streaming_counts_what_memory_counts(rows, memory_rows, batch_rows):
    labels, scores, _ = columns(rows)
    is_positive = labels == 1

    def batches():
        for start in range(0, len(scores), batch_rows):
            yield is_positive[start : start + batch_rows], scores[start : start + batch_rows]

    streamed, held = pair_counts_of_batches(batches, memory_rows), pair_counts(is_positive, scores)
    assert streamed.twice_wins == held.twice_wins
    assert streamed.positive_squares == pytest.approx(held.positive_squares)
    assert streamed.negative_squares == pytest.approx(held.negative_squares)


def test_streaming_splits_values_that_differ_in_their_last_bits():
    generator = np.random.default_rng(0)
    scores = 1.0 + generator.integers(0, 40, 2_000) * np.finfo(float).eps
    is_positive = generator.random(2_000) < 0.3
    streamed = pair_counts_of_batches(lambda: [(is_positive, scores)], memory_rows=100)
    assert streamed.auc == auc(is_positive, scores)


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_ordered_bits_compare_as_the_scores_do(scores):
    values = np.array(scores)
    bits = ordered_bits(values)
    assert np.array_equal(bits[:-1] < bits[1:], values[:-1] < values[1:])
    assert np.array_equal(bits[:-1] == bits[1:], values[:-1] == values[1:])


def slow_delong(labels, scores):
    wins = (scores[labels == 1][:, None] > scores[labels == 0]) + 0.5 * (
        scores[labels == 1][:, None] == scores[labels == 0]
    )
    return wins.mean(), wins.mean(1), wins.mean(0)


def test_the_variance_is_delongs():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 60)
    scores = (generator.normal(size=60) + labels).round(1)
    area, positive, negative = slow_delong(labels, scores)
    expected = np.var(positive, ddof=1) / len(positive) + np.var(negative, ddof=1) / len(negative)
    counts = pair_counts(labels == 1, scores)
    assert counts.auc == pytest.approx(area)
    assert counts.variance == pytest.approx(expected)


def test_intervals_cover_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(2)
    truth = auc(np.repeat([0, 1], 400_000), generator.normal(size=800_000) + np.repeat([0.0, 1.0], 400_000))
    covered = 0
    for _ in range(400):
        labels = generator.random(250) < 0.3
        interval = auc_interval(labels, generator.normal(size=250) + labels, confidence=0.9)
        covered += interval.low <= truth <= interval.high
    assert 0.86 <= covered / 400 <= 0.94


def test_a_paired_comparison_is_delongs_and_finds_no_difference_where_there_is_none():
    generator = np.random.default_rng(3)
    labels = (generator.random(400) < 0.4).astype(int)
    first, second = (generator.normal(size=400) + labels for _ in range(2))
    found = compare_auc(labels, first, second)
    (a, a_positive, a_negative), (b, b_positive, b_negative) = slow_delong(labels, first), slow_delong(labels, second)
    variance = np.var(b_positive - a_positive, ddof=1) / len(a_positive)
    variance += np.var(b_negative - a_negative, ddof=1) / len(a_negative)
    assert found.difference == pytest.approx(b - a)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * variance**0.5, rel=1e-6)
    assert compare_auc(labels, first, first).p_value == 1.0


def test_p_values_are_uniform_without_a_difference():
    generator = np.random.default_rng(4)
    small = 0
    for _ in range(300):
        labels = (generator.random(200) < 0.4).astype(int)
        signal = generator.normal(size=200) + labels
        noise = generator.normal(size=(2, 200))
        small += compare_auc(labels, signal + noise[0], signal + noise[1]).p_value < 0.1
    assert 0.05 <= small / 300 <= 0.16


def test_the_roc_curve_encloses_the_auc():
    generator = np.random.default_rng(5)
    labels = generator.random(5_000) < 0.3
    scores = generator.normal(size=5_000) + labels
    points = roc_points(labels, scores, num_points=5_000)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(auc(labels, scores), abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, np.nan], "NaN in row 1"),
        ([0, 2], [0.1, 0.2], "0 or 1, got 2 in row 1"),
        ([1, 1], [0.1, 0.2], "all 2 rows have label 1"),
        ([], [], "at least one row"),
    ],
)
def test_bad_rows_are_named(labels, scores, message):
    for function in (auc, auc_interval, average_precision):
        with pytest.raises(ValueError, match=message):
            function(labels, scores)


def test_bad_weights_are_named():
    with pytest.raises(ValueError, match=r"at least 0, got -1.0 in row 1"):
        auc([0, 1], [0.1, 0.2], [1, -1])
    with pytest.raises(ValueError, match=r"shape \[2\], got \[1\]"):
        auc([0, 1], [0.1, 0.2], [1])
