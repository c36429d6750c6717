"""All metrics of a set of rows, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.auc import auc_interval, interval_of
from recsys.evaluation.calibration import calibration_error
from recsys.evaluation.checks import require_both_labels
from recsys.evaluation.external import pair_counts_of_batches
from recsys.evaluation.files import PredictionFiles, Rows
from recsys.evaluation.grouped import gauc
from recsys.evaluation.intervals import SHARE, Draws, Interval, draws_of, if_enough, interval, num_draws_of
from recsys.evaluation.means import mean_intervals, probabilities, row_draws, row_values
from recsys.evaluation.numbering import Codes
from recsys.evaluation.precision_recall import average_precision_influence, thresholds
from recsys.evaluation.ratios import mean_intervals as ratio_intervals
from recsys.evaluation.slices import Slices

SLICE_METRICS = ("auc", "log_loss", "calibration")
NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    Args:
        cut: what the rows were cut by; "all" for all of them.
        part: the slice.
        name: of the metric.
        value: of the metric; NaN where the rows do not define it.
        low: lower bound of the confidence interval, NaN where there is none.
        high: upper bound.
        num_rows: rows, or groups or queries, that it is computed of.
    """

    cut: str
    part: str
    name: str
    value: float
    low: float
    high: float
    num_rows: int

    @classmethod
    def of(cls, cut: str, part: str, name: str, found: Interval, num_rows: int) -> Metric:
        """With the value and the bounds of an interval."""
        return cls(cut, part, name, found.value, found.low, found.high, num_rows)


def summarize(rows: Rows, groups: Codes | None, confidence: float) -> list[Metric]:
    """Every metric of all rows.

    Args:
        rows: that weigh something.
        groups: [N] users, numbered from 0, whose rows are drawn together; adds GAUC.
        confidence: of the intervals.

    Raises:
        ValueError: if the rows have one label only.
    """
    require_both_labels(rows.is_positive)
    p = probabilities(rows.scores, rows.logits)
    found = {
        "auc": auc_interval(rows.is_positive, rows.scores, confidence, groups, rows.weights),
        "pr_auc": _precision_interval(rows, groups, confidence),
        **mean_intervals(row_draws([rows], groups), confidence),
        "expected_calibration_error": calibration_error(rows.is_positive, p, confidence, groups, rows.weights),
    }
    found = if_enough(found, num_draws_of(len(rows), rows.weights, groups))
    metrics = [Metric.of("all", "all", name, each, len(rows)) for name, each in found.items()]
    if groups is not None:
        draws, num_groups = gauc_draws([rows], groups)
        within = ratio_intervals(["gauc"], draws, confidence) if num_groups else {"gauc": NOTHING}
        metrics.append(Metric.of("all", "all", "gauc", if_enough(within, num_groups)["gauc"], num_groups))
    return metrics


def summarize_slices(
    rows: Rows, groups: Codes | None, cuts: Mapping[str, Slices], confidence: float
) -> Iterator[Metric]:
    """AUC, log loss and calibration of every slice that has rows; AUC is NaN where a slice has one label only."""
    for cut, slices in cuts.items():
        for part, inside in slices.items():
            if not inside.any():
                continue
            chosen = rows.take(inside)
            mine = None if groups is None else groups[inside]
            found = mean_intervals(row_draws([chosen], mine), confidence)
            has_both = 0 < np.count_nonzero(chosen.is_positive) < len(chosen)
            found["auc"] = (
                auc_interval(chosen.is_positive, chosen.scores, confidence, mine, chosen.weights)
                if has_both
                else NOTHING
            )
            found = if_enough(found, num_draws_of(len(chosen), chosen.weights, mine))
            for name in SLICE_METRICS:
                yield Metric.of(cut, part, name, found[name], len(chosen))


def summarize_stream(files: PredictionFiles, confidence: float, memory_rows: int) -> list[Metric]:
    """AUC and the metrics that follow from sums, of more rows than memory holds.

    Raises:
        ValueError: if the rows have one label only.
    """
    counts = pair_counts_of_batches(
        lambda: ((rows.is_positive, rows.scores) for rows in files.batches()), memory_rows=memory_rows
    )
    if not counts.num_positives or not counts.num_negatives:
        raise ValueError("all rows have one label; AUC needs rows of both.")
    draws = Draws(lambda: ((row_values(rows.is_positive, rows.scores, rows.logits), None) for rows in files.batches()))
    found = {"auc": interval_of(counts, confidence), **mean_intervals(draws, confidence)}
    found = if_enough(found, draws.number)
    return [Metric.of("all", "all", name, each, int(draws.number)) for name, each in found.items()]


def gauc_draws(models: Sequence[Rows], groups: Codes) -> tuple[Draws, int]:
    """Weight x AUC and weight of every group with both labels, model beside model; and how many groups these are."""
    within = [gauc(rows.is_positive, rows.scores, groups, rows.weights) for rows in models]
    values = [np.stack([each.num_rows * each.areas, each.num_rows.astype(np.float64)], axis=1) for each in within]
    return draws_of(np.concatenate(values, axis=1), None, None), len(within[0].areas)


def precision_influence(rows: Rows) -> tuple[float, np.ndarray]:
    """PR-AUC, and what each row moves it by, [N]."""
    found = thresholds(rows.is_positive, rows.scores, rows.weights)
    return found.average_precision, average_precision_influence(found, rows.is_positive)


def _precision_interval(rows: Rows, groups: Codes | None, confidence: float) -> Interval:
    area, influence = precision_influence(rows)
    draws = draws_of(influence[:, None], rows.weights, groups)
    return interval(area, float(draws.deviations(np.ones((1, 1)))[0]), confidence, SHARE, draws.number)


def value_of(metrics: Sequence[Metric], name: str) -> float:
    """The value of a metric over all rows."""
    return next(metric.value for metric in metrics if metric.cut == "all" and metric.name == name)
