"""Intervals: they cover the truth as often as they say, contain their estimate, and follow from true derivatives."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.evaluation import Rows, average_precision, calibration_error, compare_auc, reliability
from recsys.evaluation.checks import group_codes
from recsys.evaluation.intervals import POSITIVE, SHARE, comparison, draws_of, interval, quantile
from recsys.evaluation.means import SCALES, compare_means, mean_intervals, row_draws
from recsys.evaluation.paired import compare_queries, compare_rows
from recsys.evaluation.precision_recall import average_precision_influence, thresholds
from recsys.evaluation.queries import Queries, summarize_queries
from recsys.evaluation.ranking import rank_gains
from recsys.evaluation.ratios import mean_intervals as ratio_intervals
from recsys.evaluation.slices import by_value
from recsys.evaluation.summary import summarize, summarize_slices


def sample(generator, size, num_users=None):
    """Calibrated logits, labels and users whose rows share a taste."""
    users = np.arange(size) if num_users is None else generator.integers(0, num_users, size)
    logits = generator.normal(-1, 1, size) + (0 if num_users is None else generator.normal(size=num_users)[users])
    return Rows(generator.random(size) < 1 / (1 + np.exp(-logits)), logits, None, {}, logits=True), users


@pytest.mark.parametrize("num_users", [None, 40], ids=["rows", "users"])
def test_intervals_cover_the_truth_as_often_as_they_say(num_users):
    generator = np.random.default_rng(0)
    many, users = sample(generator, 300_000, None if num_users is None else 6_000)
    groups = None if num_users is None else users
    truth = {metric.name: metric.value for metric in summarize(many, groups, 0.9)}
    truth["expected_calibration_error"] = 0.0  # of a calibrated model
    covered = dict.fromkeys(truth, 0)
    for _ in range(300):
        rows, users = sample(generator, 500, num_users)
        for metric in summarize(rows, None if num_users is None else users, 0.9):
            covered[metric.name] += metric.low <= truth[metric.name] <= metric.high
    assert covered.pop("expected_calibration_error") >= 0.9 * 300
    for name, count in covered.items():
        assert 0.84 <= count / 300 <= 0.97, name


def test_the_calibration_error_of_a_model_that_is_off_is_covered():
    generator = np.random.default_rng(1)

    def off(size):
        logits = generator.normal(-1, 1, size)
        return generator.random(size) < 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-0.6 * logits))

    truth = reliability(*off(1_000_000)).expected_calibration_error
    found = [calibration_error(*off(1_500)) for _ in range(300)]
    assert sum(each.low <= truth <= each.high for each in found) >= 0.9 * 300
    assert all(each.low <= each.value <= each.high for each in found)
    assert np.mean([each.low > 0 for each in found]) > 0.9, "that it is off is seen"


def test_p_values_of_paired_metrics_are_uniform_without_a_difference():
    generator = np.random.default_rng(2)
    small = dict.fromkeys(["auc", "pr_auc", "log_loss", "normalised_entropy", "rmse", "calibration", "gauc"], 0)
    for _ in range(200):
        rows, users = sample(generator, 400, 60)
        models = [Rows(rows.is_positive, rows.scores + generator.normal(size=400), None, {}, True) for _ in range(2)]
        for name, found in compare_rows(*models, users, 0.95).items():
            small[name] += found.p_value < 0.1
    for name, count in small.items():
        assert 0.04 <= count / 200 <= 0.18, name


@st.composite
def any_rows(draw):
    """A few rows of any kind: one label only, certain, equal, with weights and groups or without."""
    size = draw(st.integers(1, 12))
    of = lambda values: np.array(draw(st.lists(st.sampled_from(values), min_size=size, max_size=size)))  # noqa: E731
    logits = draw(st.booleans())
    scores = of([-800.0, -3.0, -0.0, 0.0, 1e-9, 2.0, 40.0] if logits else [0.0, 1e-12, 0.3, 0.5, 1.0])
    weights = draw(st.sampled_from([None, (1.0, 2.0, 3.0), (0.3, 1.7), (1e-300, 5e-300), (1e300, 1e250)]))
    groups = of([0, 1, 2, 3]) if draw(st.booleans()) else None
    rows = Rows(of([0, 1]) == 1, scores, None if weights is None else of(weights), {}, logits)
    return rows.that_weigh(), groups, draw(st.sampled_from([0.01, 0.5, 0.95, 0.999999]))


@given(any_rows())
@settings(deadline=None, max_examples=100)
def test_no_interval_fails_to_contain_its_estimate(found):
    rows, groups, confidence = found
    cuts = {"label": by_value(pa.array(rows.is_positive), "label", rows.weights)}
    metrics = list(summarize_slices(rows, groups, cuts, confidence))
    if 0 < rows.is_positive.sum() < len(rows):
        metrics += summarize(rows, groups, confidence)
        other = Rows(rows.is_positive, rows.scores[::-1], rows.weights, {}, rows.logits)
        for compared in compare_rows(rows, other, groups, confidence).values():
            assert math.isnan(compared.low) or compared.low <= compared.difference <= compared.high
            assert math.isnan(compared.p_value) or 0 <= compared.p_value <= 1
            assert math.isnan(compared.low) or compared.low < compared.high
    for metric in metrics:
        assert math.isnan(metric.low) == math.isnan(metric.high), metric
        assert math.isnan(metric.low) or metric.low <= metric.value <= metric.high, metric
        assert math.isnan(metric.low) or math.isfinite(metric.high), metric


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 3), st.sampled_from([1.0, 2.0])), min_size=1
    ),
    st.sampled_from([0.01, 0.5, 0.95, 0.999999]),
    st.booleans(),
)
@settings(deadline=None)
def test_no_interval_of_a_ranking_fails_to_contain_its_estimate(rows, confidence, with_groups):
    first, second, users, weights = (np.array(column) for column in zip(*rows, strict=True))
    models = [
        Queries(rank_gains(r, (1, 10)), np.arange(len(r)), np.ones(len(r), int), weights) for r in (first, second)
    ]
    groups = users if with_groups else None
    for metric in summarize_queries(models[0], groups, {"user": by_value(pa.array(users), "user")}, confidence):
        assert math.isnan(metric.low) or 0 <= metric.low <= metric.value <= metric.high <= 1
    for found in compare_queries(*models, groups, confidence).values():
        assert math.isnan(found.low) or found.low <= found.difference <= found.high
        assert math.isnan(found.p_value) or 0 <= found.p_value <= 1


@given(st.floats(1e-12, 1 - 1e-12), st.floats(0, 10), st.floats(0.001, 0.999), st.integers(2, 50))
def test_intervals_of_shares_stay_between_nought_and_one(value, deviation, confidence, num_draws):
    found = interval(value, deviation, confidence, SHARE, num_draws)
    assert math.isnan(found.low) or 0 <= found.low <= value <= found.high <= 1
    found = interval(1e6 * value, deviation, confidence, POSITIVE, num_draws)
    assert math.isnan(found.low) or 0 <= found.low <= found.value <= found.high


def test_at_the_end_of_a_scale_and_among_equals_there_is_no_interval():
    for value, deviation, scale in ((0.0, 0.0, SHARE), (1.0, 0.1, SHARE), (0.0, 0.1, POSITIVE), (0.5, 0.0, SHARE)):
        assert math.isnan(interval(value, deviation, 0.95, scale, 100).low)
    assert comparison(0.5, 0.5, 0.0, 0.95, 10).p_value == 1.0
    assert math.isnan(comparison(0.5, 0.75, 0.0, 0.95, 2).p_value), "two draws that agree prove nothing"


def test_few_draws_have_the_quantile_of_student():
    assert quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert quantile(0.95, 5) == pytest.approx(2.776445, abs=1e-6)
    assert quantile(0.95, 10**9) == pytest.approx(1.959964, abs=1e-6)
    for wrong in (0.0, 1.0, math.nan, -1.0, 95):
        with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\)"):
            quantile(wrong)


def test_whole_groups_are_drawn():
    generator = np.random.default_rng(2)
    labels, groups = np.repeat(generator.random(50) < 0.4, 40), np.repeat(np.arange(50), 40)
    rows = Rows(labels, np.full(2000, 0.4), None, {})
    by_group, by_row = (mean_intervals(row_draws([rows], each), 0.95)["log_loss"] for each in (groups, None))
    assert (by_group.high - by_group.low) > 4 * (by_row.high - by_row.low)


def test_the_interval_of_a_mean_is_students_up_to_its_scale():
    values = np.random.default_rng(3).random(30)
    draws = draws_of(np.stack([values, np.ones(30)], axis=1), None, None)
    found = ratio_intervals(["mean"], draws, 0.95)["mean"]
    reach = quantile(0.95, 30) * values.std(ddof=1) / math.sqrt(30)
    logits = [math.log(each / (1 - each)) for each in (found.low, values.mean(), found.high)]
    assert logits[2] - logits[1] == pytest.approx(reach / (values.mean() * (1 - values.mean())))
    assert logits[1] - logits[0] == pytest.approx(logits[2] - logits[1])


def test_a_paired_comparison_sees_what_separate_intervals_hide():
    generator = np.random.default_rng(3)
    p = generator.beta(1, 3, 3_000)
    labels = generator.random(3_000) < p
    worse = np.clip(p + generator.normal(0, 0.05, 3_000), 0.001, 0.999)
    models = [Rows(labels, scores, None, {}) for scores in (p, worse)]
    found = compare_means(row_draws(models), 0.95)["log_loss"]
    assert found.difference > 0
    assert found.p_value < 0.01
    assert compare_means(row_draws([models[0], models[0]]), 0.95)["log_loss"].p_value == 1.0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(1, 3)), min_size=2, max_size=30))
def test_the_influence_on_average_precision_is_its_derivative(rows):
    labels, scores, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if 0 < labels.sum() < len(labels):
        influence = average_precision_influence(thresholds(labels == 1, scores, weights), labels == 1)
        for row in range(len(labels)):
            aside = [
                average_precision(labels, scores, weights + side * np.eye(len(rows))[row]) for side in (1e-6, -1e-6)
            ]
            assert influence[row] == pytest.approx((aside[0] - aside[1]) / 2e-6, rel=1e-4, abs=1e-7)
        assert (weights * influence).sum() == pytest.approx(0, abs=1e-12)


def test_a_missing_user_is_nobody_elses():
    codes = group_codes(pa.array(["a", None, "None", "a", None]))
    assert len(set(codes[[0, 1, 2, 4]])) == 4
    assert codes[0] == codes[3]
    labels, scores = [0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9]
    alone = compare_auc(labels, scores, scores[::-1], groups=[None] * 4)
    expected = compare_auc(labels, scores, scores[::-1], groups=[0, 1, 2, 3])
    assert alone == expected


def test_every_mean_has_a_scale():
    assert set(SCALES) == {"log_loss", "normalised_entropy", "rmse", "calibration", "label_rate"}
