"""All metrics of a set of rows, each with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.evaluation import bootstrap
from recsys.evaluation.auc import Interval, auc, auc_interval, interval_of
from recsys.evaluation.calibration import reliability
from recsys.evaluation.checks import require_both_labels
from recsys.evaluation.external import pair_counts_of_batches
from recsys.evaluation.files import PredictionFiles, Rows
from recsys.evaluation.lists import list_metrics
from recsys.evaluation.means import mean_metrics, row_sums
from recsys.evaluation.precision_recall import average_precision
from recsys.evaluation.ratios import gauc_sums, list_sums, ratios_to_last
from recsys.evaluation.row_bootstrap import row_intervals
from recsys.evaluation.slices import Slices

_CHUNK = 1 << 21
SLICE_METRICS = ("auc", "log_loss", "calibration")


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


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Args:
        logits: scores are logits.
        confidence: of the intervals.
        seed: of the bootstrap.
        cutoffs: list lengths of ranking metrics.
        ranking: groups are queries, labels mark their relevant items.
    """

    logits: bool = False
    confidence: float = 0.95
    seed: int = 0
    cutoffs: tuple[int, ...] = (5, 10, 20)
    ranking: bool = False


def probabilities(scores: NDArray[np.floating], logits: bool) -> NDArray[np.float64]:
    """Scores as probabilities in float64."""
    values = scores.astype(np.float64)
    if not logits:
        return values
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-values))


def group_codes(column: pa.Array | None) -> NDArray[np.int64] | None:
    """Groups numbered from 0, a missing value being a group of its own."""
    if column is None:
        return None
    encoded = column.dictionary_encode(null_encoding="encode")
    codes: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def shared_codes(first: pa.Array, second: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups of two files numbered from 0, a group of both with one number.

    Raises:
        ValueError: if the columns hold different types.
    """
    if first.type != second.type:
        raise ValueError(f"the groups of the two files have different types, {first.type} and {second.type}.")
    codes = group_codes(pa.chunked_array([first, second]).combine_chunks())
    assert codes is not None
    return codes[: len(first)], codes[len(first) :]


def summarize(rows: Rows, groups: NDArray[np.int64] | None, settings: Settings) -> list[Metric]:
    """Every metric of all rows.

    Raises:
        ValueError: if the rows have one label only.
    """
    if settings.ranking:
        assert groups is not None, "ranking metrics have queries"
        return _grouped(rows, groups, settings)
    require_both_labels(rows.is_positive)
    found = [_metric("all", "all", "auc", area_of(rows, groups, settings), len(rows))]
    p = probabilities(rows.scores, settings.logits)
    bounds = row_intervals(rows.is_positive, p, rows.weights, groups, settings.confidence, settings.seed)
    area = average_precision(rows.is_positive, rows.scores, rows.weights)
    found.append(_metric("all", "all", "pr_auc", Interval(area, *bounds["pr_auc"]), len(rows)))
    found += _mean_metrics("all", "all", rows, groups, settings)
    error = reliability(rows.is_positive, p, rows.weights).expected_calibration_error
    name = "expected_calibration_error"
    found.append(_metric("all", "all", name, Interval(error, *bounds[name]), len(rows)))
    if groups is not None:
        found += _grouped(rows, groups, settings)
    return found


def summarize_slices(
    rows: Rows, groups: NDArray[np.int64] | None, cuts: Mapping[str, Slices], settings: Settings
) -> Iterator[Metric]:
    """AUC, log loss and calibration of every slice that has rows; AUC is NaN where a slice has one label only."""
    for cut, slices in cuts.items():
        for part, inside in slices.items():
            if not inside.any():
                continue
            chosen = select(rows, inside)
            some_groups = None if groups is None else np.unique(groups[inside], return_inverse=True)[1]
            num_positives = int(np.count_nonzero(chosen.is_positive))
            has_both = 0 < num_positives < len(chosen)
            area = area_of(chosen, some_groups, settings) if has_both else Interval(np.nan, np.nan, np.nan)
            yield _metric(cut, part, "auc", area, len(chosen))
            for metric in _mean_metrics(cut, part, chosen, some_groups, settings):
                if metric.name in SLICE_METRICS:
                    yield metric


def summarize_stream(files: PredictionFiles, settings: Settings, memory_rows: int) -> list[Metric]:
    """AUC and the metrics that follow from sums, of more rows than memory holds.

    Raises:
        ValueError: if the rows have one label only.
    """
    counts = pair_counts_of_batches(
        lambda: ((rows.is_positive, rows.scores) for rows in files.batches()), memory_rows=memory_rows
    )
    if not counts.num_positives or not counts.num_negatives:
        raise ValueError("all rows have one label; AUC needs rows of both.")
    num_rows = counts.num_positives + counts.num_negatives
    sums = sum(
        _padded(bootstrap.group_sums(_row_sums(rows, settings), None, settings.seed + number))
        for number, rows in enumerate(files.batches())
    )
    found = [_metric("all", "all", "auc", interval_of(counts, settings.confidence), num_rows)]
    means = bootstrap.intervals(np.asarray(sums), mean_metrics, settings.confidence, settings.seed)
    return found + [_metric("all", "all", name, interval, num_rows) for name, interval in means.items()]


def area_of(rows: Rows, groups: NDArray[np.int64] | None, settings: Settings) -> Interval:
    """AUC with DeLong's interval, clustered by groups where there are any; with weights, without one."""
    if rows.weights is not None:
        return Interval(auc(rows.is_positive, rows.scores, rows.weights), np.nan, np.nan)
    return auc_interval(rows.is_positive, rows.scores, settings.confidence, groups)


def select(rows: Rows, inside: NDArray[np.bool_]) -> Rows:
    """The rows where ``inside`` is true, without further columns."""
    weights = None if rows.weights is None else rows.weights[inside]
    return Rows(rows.is_positive[inside], rows.scores[inside], weights, {})


def sums_by_group(rows: Rows, groups: NDArray[np.int64] | None, settings: Settings) -> NDArray[np.float64]:
    """Sums of the rows by group, a bounded number of rows at a time, [G, 5]."""
    num_groups = min(len(rows), bootstrap.NUM_RANDOM_GROUPS) if groups is None else int(groups.max()) + 1
    total = np.zeros((num_groups, 5))
    for number, start in enumerate(range(0, len(rows), _CHUNK)):
        chunk = slice(start, start + _CHUNK)
        weights = None if rows.weights is None else rows.weights[chunk]
        values = _row_sums(Rows(rows.is_positive[chunk], rows.scores[chunk], weights, {}), settings)
        part = bootstrap.group_sums(values, None if groups is None else groups[chunk], settings.seed + number)
        total[: len(part)] += part
    return total


def _row_sums(rows: Rows, settings: Settings) -> NDArray[np.float64]:
    return row_sums(rows.is_positive, probabilities(rows.scores, settings.logits), rows.weights)


def _padded(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(sums, ((0, bootstrap.NUM_RANDOM_GROUPS - len(sums)), (0, 0)))


def _mean_metrics(
    cut: str, part: str, rows: Rows, groups: NDArray[np.int64] | None, settings: Settings
) -> list[Metric]:
    sums = sums_by_group(rows, groups, settings)
    means = bootstrap.intervals(sums, mean_metrics, settings.confidence, settings.seed)
    return [_metric(cut, part, name, interval, len(rows)) for name, interval in means.items()]


def _grouped(rows: Rows, groups: NDArray[np.int64], settings: Settings) -> list[Metric]:
    """GAUC, or the ranking metrics of queries; their intervals draw groups."""
    if settings.ranking:
        lists = list_metrics(rows.is_positive, rows.scores, groups, settings.cutoffs)
        names, sums = list(lists.values), list_sums(lists)
    else:
        names, sums = ["gauc"], gauc_sums(rows, groups)
    if not len(sums):
        return [_metric("all", "all", name, Interval(np.nan, np.nan, np.nan), 0) for name in names]
    intervals = bootstrap.intervals(sums, ratios_to_last(names), settings.confidence, settings.seed)
    return [_metric("all", "all", name, intervals[name], len(sums)) for name in names]


def _metric(cut: str, part: str, name: str, interval: Interval, num_rows: int) -> Metric:
    return Metric(cut, part, name, interval.value, interval.low, interval.high, num_rows)


def value_of(metrics: Sequence[Metric], name: str) -> float:
    """The value of a metric over all rows."""
    return next(metric.value for metric in metrics if metric.cut == "all" and metric.name == name)
