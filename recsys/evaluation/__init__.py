"""Offline evaluation of predictions, without torch: exact metrics, intervals, slices, comparisons and a report."""

from recsys.evaluation.auc import auc, auc_interval, compare_auc
from recsys.evaluation.calibration import Reliability, calibration_error, reliability
from recsys.evaluation.external import pair_counts_of_batches
from recsys.evaluation.files import Names, PredictionFiles, Rows
from recsys.evaluation.grouped import GroupedAUC, gauc
from recsys.evaluation.intervals import Comparison, Interval
from recsys.evaluation.means import calibration, log_loss, normalised_entropy, rmse
from recsys.evaluation.precision_recall import average_precision, roc_points
from recsys.evaluation.ranking import ListMetrics, list_metrics, ranking_metrics

__all__ = [
    "Comparison",
    "GroupedAUC",
    "Interval",
    "ListMetrics",
    "Names",
    "PredictionFiles",
    "Reliability",
    "Rows",
    "auc",
    "auc_interval",
    "average_precision",
    "calibration",
    "calibration_error",
    "compare_auc",
    "gauc",
    "list_metrics",
    "log_loss",
    "normalised_entropy",
    "pair_counts_of_batches",
    "ranking_metrics",
    "reliability",
    "rmse",
    "roc_points",
]
