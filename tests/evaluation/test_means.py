"""Metrics that follow from sums, of probabilities and of logits, against scikit-learn, definitions and small steps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from recsys.evaluation import calibration, log_loss, normalised_entropy, rmse
from recsys.evaluation.files import Rows
from recsys.evaluation.means import SCALES, gradients, mean_metrics, row_draws, row_values

rows = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.001, 0.999), st.sampled_from([0.0, 0.25, 1.0, 3.0])), min_size=1
)


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
        assert calibration(labels, constant) == pytest.approx(1.0)


def test_a_wrong_certainty_costs_infinitely_much():
    assert log_loss([0, 1], [0.0, 0.0]) == np.inf
    assert log_loss([0, 1], [0.0, 1.0]) == 0.0
    assert log_loss([0, 1], [-np.inf, np.inf], logits=True) == 0.0
    assert log_loss([0, 1], [-np.inf, -np.inf], logits=True) == np.inf


def test_the_loss_of_logits_does_not_pass_through_probabilities():
    # ln(1 + e^40) = 40 + e^-40; ln(1 + e^-1) twice; ln(1 + e^-2).
    expected = (40 + 2 * math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 4
    for dtype in (np.float32, np.float64):
        assert log_loss([0, 1, 0, 1], np.array([40, 1, -1, 2], dtype), logits=True) == pytest.approx(
            expected, rel=1e-15
        )
    assert round(expected, 4) == 10.1884
    rate = 0.5
    entropy = -2 * rate * math.log(rate)
    found = normalised_entropy([0, 1, 0, 1], [40.0, 1, -1, 2], logits=True)
    assert found == pytest.approx(expected / entropy, rel=1e-15)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30)), min_size=1))
def test_logits_and_their_probabilities_agree(rows):
    labels, z = (np.array(column) for column in zip(*rows, strict=True))
    p = 1 / (1 + np.exp(-z))
    for function in (rmse, calibration):
        assert function(labels, z, logits=True) == pytest.approx(function(labels, p), rel=1e-12, nan_ok=True)
    assert log_loss(labels, z, logits=True) == pytest.approx(log_loss(labels, p), rel=1e-2, abs=1e-12)


def test_probabilities_outside_the_unit_interval_are_named():
    with pytest.raises(ValueError, match=r"got 1.5 in row 1 .* logits"):
        log_loss([0, 1], [0.5, 1.5])


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-5, 5)), min_size=3, max_size=40))
def test_the_derivatives_are_those_of_small_steps(rows):
    labels, z = (np.array(column) for column in zip(*rows, strict=True))
    sums = row_values(labels == 1, z, logits=True).sum(0)
    derivatives, step = gradients(sums), 1e-6
    values = mean_metrics(sums)
    for place in range(len(sums)):
        aside = [mean_metrics(sums + side * step * np.eye(len(sums))[place]) for side in (1, -1)]
        for metric, name in enumerate(SCALES):
            slope = (aside[0][name] - aside[1][name]) / (2 * step)
            if np.isfinite(derivatives[place, metric]) and np.isfinite(slope) and 0.01 < values["label_rate"] < 0.99:
                assert derivatives[place, metric] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("weighs", [False, True])
def test_groups_change_intervals_and_no_digit_of_a_value(weighs):
    generator = np.random.default_rng(0)
    labels, groups = generator.random(999) < 0.3, generator.integers(0, 40, 999)
    weights = generator.integers(0, 4, 999).astype(np.float64) if weighs else None
    rows = Rows(labels, generator.normal(size=999).astype(np.float32), weights, {}, logits=True)
    alone, grouped = row_draws([rows]), row_draws([rows], groups)
    assert grouped.number == 40 != alone.number
    assert np.array_equal(grouped.total, alone.total)


def test_nothing_is_known_of_no_rows():
    assert all(math.isnan(value) for value in mean_metrics(np.zeros(5)).values())
