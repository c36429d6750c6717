"""Metrics from sums, reliability and the bootstrap, against scikit-learn, definitions and simulations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from recsys.evaluation import (
    average_precision,
    bootstrap,
    log_loss,
    normalised_entropy,
    reliability,
    rmse,
    row_bootstrap,
)
from recsys.evaluation.means import mean_metrics, row_sums
from recsys.evaluation.row_bootstrap import row_intervals

rows = st.lists(st.tuples(st.integers(0, 1), st.floats(0.001, 0.999), st.floats(0.0, 3.0)), min_size=1)


@given(rows)
def test_means_equal_their_definitions(rows):
    labels, p, weights = (np.array(column) for column in zip(*rows, strict=True))
    assert log_loss(labels, p) == pytest.approx(sklearn_log_loss(labels, p, labels=[0, 1]))
    assert rmse(labels, p) == pytest.approx(np.sqrt(np.mean((p - labels) ** 2)))
    if weights.sum():
        expected = sklearn_log_loss(labels, p, labels=[0, 1], sample_weight=weights)
        assert log_loss(labels, p, weights) == pytest.approx(expected)
    if len(set(labels)) == 2:
        constant = np.full(len(labels), labels.mean())
        assert normalised_entropy(labels, constant) == pytest.approx(1.0)


def test_a_wrong_certainty_costs_infinitely_much():
    assert log_loss([0, 1], [0.0, 0.0]) == np.inf
    assert log_loss([0, 1], [0.0, 1.0]) == 0.0


def test_probabilities_outside_the_unit_interval_are_named():
    with pytest.raises(ValueError, match=r"got 1.5 in row 1 .* logits"):
        log_loss([0, 1], [0.5, 1.5])


@given(rows, st.integers(1, 8))
def test_reliability_bins_cover_all_rows(rows, num_bins):
    labels, p, _ = (np.array(column) for column in zip(*rows, strict=True))
    bins = reliability(labels, p, num_bins=num_bins)
    assert bins.weight.sum() == len(p)
    assert len(bins.weight) <= num_bins
    assert (bins.weight @ bins.predicted) == pytest.approx(p.sum())
    assert (bins.weight @ bins.observed) == pytest.approx(labels.sum())
    assert np.all(np.diff(bins.predicted) > 0)


def test_calibration_error_of_a_calibrated_and_of_a_halved_model():
    generator = np.random.default_rng(0)
    p = generator.beta(1, 4, 400_000)
    labels = generator.random(400_000) < p
    assert reliability(labels, p).expected_calibration_error < 0.003
    assert reliability(labels, p / 2).expected_calibration_error == pytest.approx(p.mean() / 2, abs=0.003)


def metric(sums):
    return {"log_loss": mean_metrics(sums)["log_loss"]}


def test_bootstrap_intervals_cover_the_truth():
    generator = np.random.default_rng(1)
    truth, covered = -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)), 0
    for seed in range(200):
        labels = generator.random(500) < 0.3
        sums = bootstrap.group_sums(row_sums(labels, np.full(500, 0.3)), None, seed)
        interval = bootstrap.intervals(sums, metric, confidence=0.9, seed=seed)["log_loss"]
        covered += interval.low <= truth <= interval.high
    assert 0.84 <= covered / 200 <= 0.96


def test_whole_groups_are_drawn():
    labels, groups = np.repeat(np.random.default_rng(2).random(50) < 0.4, 40), np.repeat(np.arange(50), 40)
    values = row_sums(labels, np.full(2000, 0.4))
    by_group = bootstrap.intervals(bootstrap.group_sums(values, groups), metric)["log_loss"]
    by_row = bootstrap.intervals(bootstrap.group_sums(values, None), metric)["log_loss"]
    assert (by_group.high - by_group.low) > 4 * (by_row.high - by_row.low)


def test_a_paired_comparison_sees_what_separate_intervals_hide():
    generator = np.random.default_rng(3)
    p = generator.beta(1, 3, 3_000)
    labels = generator.random(3_000) < p
    worse = np.clip(p + generator.normal(0, 0.05, 3_000), 0.001, 0.999)
    sums = [bootstrap.group_sums(row_sums(labels, s), None) for s in (p, worse)]
    found = bootstrap.compare(*sums, metric)["log_loss"]
    assert found.difference > 0
    assert found.p_value < 0.01
    assert bootstrap.compare(sums[0], sums[0], metric)["log_loss"].p_value == 1.0


def test_the_seed_decides_the_interval():
    sums = np.random.default_rng(4).random((300, 5))
    first, again = (bootstrap.replicates(sums, 20, seed=7) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, bootstrap.replicates(sums, 20, seed=8))


@pytest.mark.parametrize("with_groups", [False, True])
def test_row_bootstrap_spreads_as_new_samples_do(with_groups):
    def sample(seed):
        generator = np.random.default_rng(seed)
        z = generator.normal(-1, 1, 1_000)
        return generator.random(1_000) < 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-0.8 * z))

    groups = np.arange(1_000) // 2 if with_groups else None
    areas = [average_precision(*sample(seed)) for seed in range(300)]
    low, high = row_intervals(*sample(0), None, groups)["pr_auc"]
    assert (high - low) == pytest.approx(2 * 1.96 * np.std(areas), rel=0.25)
    low, high = row_intervals(*sample(0), None, groups)["expected_calibration_error"]
    assert 0 < low < high < 0.2


def test_row_bootstrap_of_weights_one_is_the_metric():
    generator = np.random.default_rng(5)
    labels, p = generator.random(500) < 0.3, generator.random(500).round(1)
    ones = np.ones(500)
    assert row_bootstrap._average_precision(labels, p)(ones) == pytest.approx(average_precision(labels, p))
    expected = reliability(labels, p).expected_calibration_error
    assert row_bootstrap._calibration_error(labels, p)(ones) == pytest.approx(expected)
